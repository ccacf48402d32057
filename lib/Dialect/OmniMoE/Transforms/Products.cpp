//===- Products.cpp - Products of two matrices ----------------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

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

/// Small tiles: every multiprocessor has some, also for few tokens.
static constexpr ProductTile kSmallTile = {64, 64};

ProductTile mlir::omnimoe::chooseProductTile(const MatrixProduct &product,
                                             TargetAttr target) {
  return kSmallTile;
}
