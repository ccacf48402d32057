//===- WarpgroupProduct.h - Dense products at the hardware's full rate C++
//-===//
//
// A kernel of as many blocks as the chip has multiprocessors, each with three
// warpgroups. One of them, the producer, lets the tensor memory accelerator
// copy tiles of the operands into a ring of stages; the other two, the
// consumers, multiply them (wgmma), 64 rows each. A block takes one tile of the
// result after the other. Rows of the left operand that indices pick are copied
// by the producer's threads. Results in 16 bits stay in registers until the
// next tile is under way, so that storing them costs no time of their own.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPPRODUCT_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPPRODUCT_H

#include "Utils/KernelBuilder.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RowGather.h"

namespace mlir::omnimoe {

/// A tile of one or two products of the same left operand, and the matrices
/// that it is cut from.
struct WarpgroupTile {
  scf::ForallOp forall;
  SmallVector<MatrixProduct> products;
  Value left;                ///< [rows, summed], or what rows are taken of
  SmallVector<Value> rights; ///< [columns, summed], one for each product
  Value result;              ///< [rows, columns]
  /// The loops of `forall` that run along rows and columns; -1 if one tile
  /// covers all.
  int64_t rowLoop, columnLoop;
  /// Which rows of `left` the tile's are, if not its own, and all indices.
  std::optional<RowGather> gather;
  Value indices;
  /// Blocks, a cluster, that take a part of the summed loop each.
  int64_t parts = 1;
};

/// `forall` as such a tile, if the kernel can compute it.
std::optional<WarpgroupTile> matchWarpgroupTile(scf::ForallOp forall);

/// The number of tiles, an index.
Value getNumTiles(KernelBuilder &k, const WarpgroupTile &tile);

/// Replaces the loop by a launch of the kernel `name`.
LogicalResult convertWarpgroupTile(RewriterBase &rewriter,
                                   const WarpgroupTile &tile, StringRef name,
                                   TargetAttr target, FlatSymbolRefAttr module);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPPRODUCT_H
