//===- BlockEmitter.cpp - Operations computed by one thread block ---------===//

#include "BlockEmitter.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace mlir::omnimoe;

void BlockEmitter::barrier() { gpu::BarrierOp::create(k); }

LogicalResult BlockEmitter::emit(Operation *op) {
  k.setInsertionPoint(op);
  if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
    if (matmul.isDispatched())
      return failure();
    emitGroupedMatmul(matmul);
  } else if (auto combine = dyn_cast<CombineOp>(op)) {
    if (combine.isDispatched() || !combine.isToTokens() ||
        !getElementTypeOrSelf(combine.getOut().getType()).isF32())
      return failure();
    emitCombineToTokens(combine);
  } else if (auto elementwise = dyn_cast<linalg::LinalgOp>(op)) {
    if (failed(emitElementwise(elementwise)))
      return failure();
  } else {
    return failure();
  }
  barrier();
  op->erase();
  return success();
}

/// Threads stride over the last loop, the other loops are sequential: values
/// in a tile are a token or few, so the last loop is the long one.
LogicalResult BlockEmitter::emitElementwise(linalg::LinalgOp op) {
  if (op.getNumLoops() == 0 || op.getNumParallelLoops() != op.getNumLoops())
    return failure();
  for (AffineMap map : op.getIndexingMapsArray())
    if (!map.isProjectedPermutation(/*allowZeroInResults=*/true))
      return failure();

  SmallVector<Value> sizes(op.getNumLoops());
  for (OpOperand &operand : op->getOpOperands())
    for (auto [position, expr] :
         llvm::enumerate(op.getMatchingIndexingMap(&operand).getResults()))
      if (auto dim = dyn_cast<AffineDimExpr>(expr))
        if (!sizes[dim.getPosition()])
          sizes[dim.getPosition()] =
              memref::DimOp::create(k, operand.get(), position);

  SmallVector<Value> ivs;
  auto indices = [&](OpOperand &operand) {
    SmallVector<Value> result;
    for (AffineExpr expr : op.getMatchingIndexingMap(&operand).getResults()) {
      auto dim = dyn_cast<AffineDimExpr>(expr);
      result.push_back(dim ? ivs[dim.getPosition()] : k.index(0));
    }
    return result;
  };
  auto emitElement = [&] {
    IRMapping mapping;
    for (auto [argument, operand] :
         llvm::zip(op.getBlock()->getArguments(), op->getOpOperands()))
      if (!argument.use_empty())
        mapping.map(argument, isa<MemRefType>(operand.get().getType())
                                  ? k.load(operand.get(), indices(operand))
                                  : operand.get());
    for (Operation &inner : op.getBlock()->without_terminator())
      k.clone(inner, mapping);
    for (auto [value, init] :
         llvm::zip(op.getBlock()->getTerminator()->getOperands(),
                   op.getDpsInitsMutable()))
      k.store(mapping.lookupOrDefault(value), init.get(), indices(init));
  };
  std::function<void(unsigned)> emitLoop = [&](unsigned depth) {
    bool last = depth + 1 == op.getNumLoops();
    k.loop(last ? threadId : k.index(0), sizes[depth], last ? threads : 1,
           [&](Value iv) {
             ivs.push_back(iv);
             last ? emitElement() : emitLoop(depth + 1);
             ivs.pop_back();
           });
  };
  emitLoop(0);
  return success();
}
