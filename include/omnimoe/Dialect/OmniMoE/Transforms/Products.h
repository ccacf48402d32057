//===- Products.h - Products of two matrices ---------------------*- C++
//-*-===//
//
// What the passes that tile and lower dense products need to know of a linalg
// contraction: which operand holds the rows of the result and which its
// columns, and along which of their dimensions they are summed.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PRODUCTS_H
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PRODUCTS_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {

/// `result[row, column] += sum over k of left[row, k] * right[column, k]`, with
/// each operand stored either way around.
struct MatrixProduct {
  linalg::LinalgOp op;
  OpOperand *left, *right, *result;
  bool leftTransposed;  ///< stored [k, row]
  bool rightTransposed; ///< stored [k, column]
  unsigned rowLoop, columnLoop;
};

/// `op` as a product of two matrices of floats, or nothing.
std::optional<MatrixProduct> matchMatrixProduct(Operation *op);

/// Rows and columns of the result that one tile of a product has.
struct ProductTile {
  int64_t rows, columns;
};

/// The tile of the kernel for few rows and for odd shapes.
inline constexpr int64_t kSmallTileSize = 64;
/// The tile of the kernel for whole warpgroups; several products share the
/// columns.
inline constexpr int64_t kWarpgroupTileRows = 128;
inline constexpr int64_t kWarpgroupTileColumns = 256;
/// What it takes of the summed loop at a time.
inline constexpr int64_t kWarpgroupTileDepth = 64;

/// Rows of a tile of a product of few columns, and what few columns are: one
/// tile covers them.
inline constexpr int64_t kNarrowTileRows = 32;
inline constexpr int64_t kMostNarrowColumns = 128;
/// Rows of a tile of two such products of the same rows, and up to how many
/// columns of each: half as many tiles read half as much of the right operands.
inline constexpr int64_t kSiblingTileRows = 64;
inline constexpr int64_t kMostSiblingColumns = 64;
/// The most rows for which they are few, and the tile, of so many rows, of a
/// product with them and many columns.
inline constexpr int64_t kFewRows = 32;

/// True if tensor cores take the operands: two matrices of one short type.
bool suitsTensorCores(const MatrixProduct &product);

/// True if `product` has so few columns that a block holds whole rows of the
/// result, and tensor cores can compute it.
bool isNarrow(const MatrixProduct &product);

/// True if the hardware can copy tiles of the rows of two matrices, which
/// tensor cores can multiply.
bool canCopyTiles(Value left, Value right);

/// True if warpgroups can multiply the matrices [rows, summed] and [columns,
/// summed], tensors or memrefs.
bool canWarpgroupsMultiply(Value left, Value right);

/// True if warpgroups can compute `products`, which have the same shape, in one
/// tile.
bool suitsWarpgroups(ArrayRef<MatrixProduct> products);

/// On the loop over a product's tiles: blocks that share the sums of one.
inline constexpr llvm::StringLiteral kPartsAttrName = "omnimoe.parts";

/// On a `grouped_matmul` of a fused expert block whose products are needed in
/// memory besides.
inline constexpr llvm::StringLiteral kKeptProductsAttrName = "omnimoe.kept";

/// On a `grouped_matmul` or `combine` that goes token by token and has an
/// expert for few of its pairs.
inline constexpr llvm::StringLiteral kFewPairsAttrName = "omnimoe.few_pairs";

/// On a `combine to_tokens` of an expert-centric block of a GPU, which starts
/// from zeros: results are the same every time.
inline constexpr llvm::StringLiteral kExactSumsAttrName = "omnimoe.exact";
/// The most choices a token may have there: a token that chose an expert so
/// often still has 9 bits of the sum of its coefficients.
inline constexpr int64_t kMostExactChoices = 8192;

/// In how many parts the sums of a large tile are computed, up to how many rows
/// of the result: the fewer tiles there are, the more parts.
struct ProductParts {
  int64_t parts, mostRows;
};
SmallVector<ProductParts> chooseProductParts(ArrayRef<MatrixProduct> products,
                                             TargetAttr target);

/// The tile that suits `products` of `rows` rows on `target`.
ProductTile chooseProductTile(ArrayRef<MatrixProduct> products, int64_t rows,
                              TargetAttr target);

} // namespace mlir::omnimoe

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PRODUCTS_H
