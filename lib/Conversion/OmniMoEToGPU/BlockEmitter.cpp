//===- BlockEmitter.cpp - Operations computed by one thread block ---------===//

#include "BlockEmitter.h"
#include "Utils/VectorPayload.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
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

/// Elements of the last loop that a thread takes at a time: what makes its
/// narrowest access 16 bytes, as long as every thread still has work.
static int64_t getVectorElements(linalg::LinalgOp op,
                                 ArrayRef<VectorOperand> operands,
                                 int64_t threads) {
  int64_t length = op.getStaticLoopRanges().back();
  if (ShapedType::isDynamic(length) || !hasVectorPayload(op))
    return 1;
  int64_t elements = kAccessBytes;
  for (const VectorOperand &operand : operands)
    if (operand.access == Access::Vector)
      elements =
          std::min(elements,
                   getAccessElements(
                       length, getElementTypeOrSelf(operand.memref.getType())));
  while (elements > 1 && length / elements < threads)
    elements /= 2;
  return elements;
}

/// Threads stride over the last loop, the other loops are sequential: values
/// in a tile are a token or few, so the last loop is the long one.
LogicalResult BlockEmitter::emitElementwise(linalg::LinalgOp op) {
  if (op.getNumLoops() == 0 || op.getNumParallelLoops() != op.getNumLoops())
    return failure();
  SmallVector<VectorOperand> operands;
  for (OpOperand &operand : op->getOpOperands()) {
    FailureOr<VectorOperand> classified = classifyOperand(op, operand);
    if (failed(classified) ||
        (op.isDpsInit(&operand) && classified->access != Access::Vector))
      return failure();
    operands.push_back(*classified);
  }
  int64_t elements = getVectorElements(op, operands, threads);

  SmallVector<Value> lengths = getLoopLengths(k, op, operands), ivs;
  auto indices = [&](const VectorOperand &operand) {
    return getIndices(k, operand, ivs);
  };
  auto alignment = [&](VectorType type) {
    int64_t bytes = elements * type.getElementTypeBitWidth() / 8;
    return llvm::MaybeAlign(std::min(bytes, kAccessBytes));
  };
  auto load = [&](const VectorOperand &operand) -> Value {
    auto memref = dyn_cast<MemRefType>(operand.memref.getType());
    if (elements == 1)
      return memref ? k.load(operand.memref, indices(operand)) : operand.memref;
    Type scalar = memref ? memref.getElementType() : operand.memref.getType();
    auto type = VectorType::get({elements}, scalar);
    if (operand.access == Access::Vector)
      return vector::LoadOp::create(k, type, operand.memref, indices(operand),
                                    /*nontemporal=*/false, alignment(type));
    return k.broadcast(type, memref ? k.load(operand.memref, indices(operand))
                                    : operand.memref);
  };
  auto emitElements = [&] {
    IRMapping mapping;
    Block *payload = op.getBlock();
    for (auto [argument, operand] :
         llvm::zip(payload->getArguments(), operands))
      if (!argument.use_empty())
        mapping.map(argument, load(operand));
    auto outputs = ArrayRef(operands).drop_front(op.getNumDpsInputs());
    if (elements == 1) {
      for (Operation &inner : payload->without_terminator())
        k.clone(inner, mapping);
      for (auto [value, out] :
           llvm::zip(payload->getTerminator()->getOperands(), outputs))
        k.store(mapping.lookupOrDefault(value), out.memref, indices(out));
      return;
    }
    for (auto [vector, out] : llvm::zip(
             clonePayloadOnVectors(k, payload, mapping, elements), outputs))
      vector::StoreOp::create(k, vector, out.memref, indices(out),
                              /*nontemporal=*/false,
                              alignment(cast<VectorType>(vector.getType())));
  };
  std::function<void(unsigned)> emitLoop = [&](unsigned depth) {
    bool last = depth + 1 == op.getNumLoops();
    Value from = last ? k.mul(threadId, elements) : k.index(0);
    k.loop(from, lengths[depth], last ? threads * elements : 1, [&](Value iv) {
      ivs.push_back(iv);
      last ? emitElements() : emitLoop(depth + 1);
      ivs.pop_back();
    });
  };
  emitLoop(0);
  return success();
}
