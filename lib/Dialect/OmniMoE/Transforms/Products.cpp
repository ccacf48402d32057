//===- Products.cpp - Products of two matrices ----------------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::omnimoe;

static bool isSupportedFloat(Value value) {
  Type type = getElementTypeOrSelf(value.getType());
  return type.isF32() || type.isF16() || type.isBF16();
}

std::optional<MatrixProduct>
mlir::omnimoe::matchMatrixProduct(Operation *operation) {
  auto op = dyn_cast<linalg::LinalgOp>(operation);
  if (!op || op.getNumLoops() != 3 || op.getNumDpsInputs() != 2 ||
      op.getNumDpsInits() != 1 || !linalg::isaContractionOpInterface(op) ||
      !llvm::all_of(op->getOperands(), isSupportedFloat))
    return std::nullopt;
  FailureOr<linalg::ContractionDimensions> dims =
      linalg::inferContractionDims(op);
  if (failed(dims) || !dims->batch.empty() || dims->m.size() != 1 ||
      dims->n.size() != 1 || dims->k.size() != 1)
    return std::nullopt;

  MatrixProduct product{op,
                        nullptr,
                        nullptr,
                        op.getDpsInitOperand(0),
                        /*leftTransposed=*/false,
                        /*rightTransposed=*/false,
                        0,
                        0};
  auto loopOf = [&](OpOperand *operand, unsigned dim) {
    return op.getMatchingIndexingMap(operand).getDimPosition(dim);
  };
  product.rowLoop = loopOf(product.result, 0);
  product.columnLoop = loopOf(product.result, 1);
  for (OpOperand *operand : op.getDpsInputOperands()) {
    bool transposed = loopOf(operand, 0) == dims->k.front();
    unsigned loop = loopOf(operand, transposed ? 1 : 0);
    if (loop == product.rowLoop) {
      product.left = operand;
      product.leftTransposed = transposed;
    } else {
      product.right = operand;
      product.rightTransposed = transposed;
    }
  }
  return product;
}

bool mlir::omnimoe::suitsTensorCores(const MatrixProduct &product) {
  Type left = getElementTypeOrSelf(product.left->get().getType());
  Type right = getElementTypeOrSelf(product.right->get().getType());
  return left == right && (left.isF16() || left.isBF16());
}

/// The static number of columns of the result, or kDynamic.
static int64_t getNumColumns(const MatrixProduct &product) {
  return cast<ShapedType>(product.result->get().getType()).getDimSize(1);
}

bool mlir::omnimoe::isNarrow(const MatrixProduct &product) {
  int64_t columns = getNumColumns(product);
  return suitsTensorCores(product) && !ShapedType::isDynamic(columns) &&
         columns <= kMostNarrowColumns;
}

/// Elements of a row that the hardware's copies take at a time, and columns
/// that it permutes among each other.
static constexpr int64_t kCopiedElements = 8, kPermutedColumns = 32;
/// With fewer elements to sum, or fewer columns, most of a large tile would be
/// empty or idle.
static constexpr int64_t kMinSummed = 64, kMinColumns = 256;

/// True if `value` is a whole matrix of static rows of `kCopiedElements`, with
/// no gap between them.
static bool hasCopiableRows(Value value) {
  auto type = dyn_cast<ShapedType>(value.getType());
  if (!type || type.getRank() != 2 || type.isDynamicDim(1) ||
      type.getDimSize(1) % kCopiedElements != 0)
    return false;
  if (auto memref = dyn_cast<MemRefType>(value.getType()))
    return memref.getLayout().isIdentity();
  Operation *op = value.getDefiningOp();
  return !op || !isa<tensor::ExtractSliceOp, tensor::CollapseShapeOp,
                     tensor::ExpandShapeOp>(op);
}

bool mlir::omnimoe::canCopyTiles(Value left, Value right) {
  Type type = getElementTypeOrSelf(left.getType());
  return type == getElementTypeOrSelf(right.getType()) &&
         (type.isF16() || type.isBF16()) && hasCopiableRows(left) &&
         hasCopiableRows(right);
}

bool mlir::omnimoe::canWarpgroupsMultiply(Value left, Value right) {
  auto rightType = cast<ShapedType>(right.getType());
  return canCopyTiles(left, right) && !rightType.isDynamicDim(0) &&
         rightType.getDimSize(0) % kPermutedColumns == 0 &&
         rightType.getDimSize(1) > 0;
}

bool mlir::omnimoe::suitsWarpgroups(ArrayRef<MatrixProduct> products) {
  return kWarpgroupTileColumns % products.size() == 0 &&
         llvm::all_of(products, [&](const MatrixProduct &product) {
           Value left = product.left->get(), right = product.right->get();
           auto rightType = cast<ShapedType>(right.getType());
           return !product.leftTransposed && !product.rightTransposed &&
                  product.rowLoop < product.columnLoop &&
                  left == products.front().left->get() &&
                  canWarpgroupsMultiply(left, right) &&
                  rightType.getDimSize(0) >= kMinColumns &&
                  rightType.getDimSize(1) >= kMinSummed;
         });
}

ProductTile mlir::omnimoe::chooseProductTile(ArrayRef<MatrixProduct> products,
                                             int64_t rows, TargetAttr target) {
  if (!target.isGPU())
    return {kSmallTileSize, kSmallTileSize};
  // A row of small tiles reads as much as one of large tiles, on more
  // multiprocessors.
  if (suitsWarpgroups(products)) {
    if (rows <= kFewRows)
      return {kFewRows, kFewRows};
    return {kWarpgroupTileRows,
            kWarpgroupTileColumns / int64_t(products.size())};
  }
  if (llvm::all_of(products, isNarrow))
    return {
        kNarrowTileRows,
        std::max<int64_t>(llvm::PowerOf2Ceil(getNumColumns(products.front())),
                          kNarrowTileRows)};
  return {kSmallTileSize, kSmallTileSize};
}

SmallVector<ProductParts>
mlir::omnimoe::chooseProductParts(ArrayRef<MatrixProduct> products,
                                  TargetAttr target) {
  // A part is long enough for its pipeline to fill and for adding the parts up
  // to matter little beside it.
  constexpr int64_t kLeastSummed = 512;
  if (!target.isGPU() || products.size() != 1 || !suitsWarpgroups(products))
    return {};
  auto right = cast<ShapedType>(products.front().right->get().getType());
  int64_t summed = right.getDimSize(1);
  int64_t tiles = llvm::divideCeil(right.getDimSize(0), kWarpgroupTileColumns);
  SmallVector<ProductParts> choices;
  for (int64_t parts : {4, 2}) {
    // The blocks of a cluster are neighbours, and not every multiprocessor has
    // three others left that are; pairs have.
    int64_t units = target.getUnits();
    if (parts > 2)
      units -= units / 8;
    int64_t rows = units / (parts * tiles) * kWarpgroupTileRows;
    if (summed % (parts * kWarpgroupTileDepth) == 0 &&
        summed >= parts * kLeastSummed && rows > kFewRows)
      choices.push_back({parts, rows});
  }
  return choices;
}
