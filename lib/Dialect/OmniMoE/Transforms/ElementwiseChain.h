//===- ElementwiseChain.h - What follows a sum of a token --------*- C++
//-*-===//

#ifndef OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_ELEMENTWISECHAIN_H
#define OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_ELEMENTWISECHAIN_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace mlir::omnimoe {

/// True if all loops are parallel and there is at least one.
inline bool isElementwise(Operation *op) {
  auto linalgOp = dyn_cast_or_null<linalg::LinalgOp>(op);
  return linalgOp && linalgOp.getNumLoops() > 0 &&
         linalgOp.getNumParallelLoops() == linalgOp.getNumLoops();
}

/// The element-wise operations after `op`, whose result is [T, D], in order:
/// each is the only user of the one before and keeps its tokens and columns.
inline SmallVector<Operation *> getElementwiseChain(Operation *op) {
  SmallVector<Operation *> chain;
  for (Operation *last = op; last->getNumResults() == 1 && last->hasOneUse();
       last = chain.back()) {
    OpOperand &use = *last->use_begin();
    auto next = dyn_cast<linalg::LinalgOp>(use.getOwner());
    if (!next || !isElementwise(next) || next->getNumResults() != 1 ||
        next.getNumLoops() != 2 || next->getBlock() != op->getBlock() ||
        next.isDpsInit(&use) ||
        !next.getMatchingIndexingMap(&use).isIdentity() ||
        !next.getMatchingIndexingMap(next.getDpsInitOperand(0)).isIdentity())
      break;
    chain.push_back(next);
  }
  return chain;
}

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_ELEMENTWISECHAIN_H
