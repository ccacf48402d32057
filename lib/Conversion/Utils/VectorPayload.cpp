//===- VectorPayload.cpp - Element-wise payloads on vectors ---------------===//

#include "Utils/VectorPayload.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

FailureOr<VectorOperand> mlir::omnimoe::classifyOperand(linalg::LinalgOp op,
                                                        OpOperand &operand) {
  AffineMap map = op.getMatchingIndexingMap(&operand);
  Value value = operand.get();
  unsigned last = op.getNumLoops() - 1;
  auto type = dyn_cast<MemRefType>(value.getType());
  if (!type)
    return VectorOperand{value, map, Access::Broadcast};
  if (!map.isProjectedPermutation(/*allowZeroInResults=*/true))
    return failure();
  for (auto [position, expr] : llvm::enumerate(map.getResults())) {
    if (!expr.isFunctionOfDim(last))
      continue;
    bool innermost = position + 1 == map.getNumResults();
    if (!innermost || !type.isLastDimUnitStride())
      return failure();
    return VectorOperand{value, map, Access::Vector};
  }
  return VectorOperand{value, map, Access::Broadcast};
}

SmallVector<Value>
mlir::omnimoe::getLoopLengths(KernelBuilder &k, linalg::LinalgOp op,
                              ArrayRef<VectorOperand> operands) {
  SmallVector<Value> lengths(op.getNumLoops());
  for (const VectorOperand &operand : operands)
    for (auto [position, expr] : llvm::enumerate(operand.map.getResults()))
      if (auto dim = dyn_cast<AffineDimExpr>(expr))
        if (Value &length = lengths[dim.getPosition()]; !length)
          length = memref::DimOp::create(k, operand.memref, position);
  return lengths;
}

SmallVector<Value> mlir::omnimoe::getIndices(KernelBuilder &k,
                                             const VectorOperand &operand,
                                             ArrayRef<Value> ivs) {
  SmallVector<Value> indices;
  for (AffineExpr expr : operand.map.getResults()) {
    auto dim = dyn_cast<AffineDimExpr>(expr);
    indices.push_back(dim ? ivs[dim.getPosition()] : k.index(0));
  }
  return indices;
}

static bool isScalar(Type type) { return type.isIntOrIndexOrFloat(); }

static bool isVectorizable(Operation &op) {
  return llvm::all_of(op.getOperandTypes(), isScalar) &&
         llvm::all_of(op.getResultTypes(), isScalar) &&
         (isa<linalg::YieldOp, arith::ConstantOp>(op) ||
          OpTrait::hasElementwiseMappableTraits(&op));
}

bool mlir::omnimoe::hasVectorPayload(linalg::LinalgOp op) {
  return llvm::all_of(op.getBlock()->getArgumentTypes(), isScalar) &&
         llvm::all_of(*op.getBlock(), isVectorizable);
}

SmallVector<Value> mlir::omnimoe::clonePayloadOnVectors(KernelBuilder &k,
                                                        Block *payload,
                                                        IRMapping &mapping,
                                                        int64_t lanes) {
  auto vectorOf = [&](Type type) { return VectorType::get({lanes}, type); };
  auto lookup = [&](Value value) {
    if (Value mapped = mapping.lookupOrNull(value))
      return mapped;
    // Defined outside of the operation: the same for all lanes.
    return k.broadcast(vectorOf(value.getType()), value);
  };
  for (Operation &inner : payload->without_terminator()) {
    if (auto constant = dyn_cast<arith::ConstantOp>(inner)) {
      auto splat = DenseElementsAttr::get(vectorOf(constant.getType()),
                                          Attribute(constant.getValue()));
      mapping.map(constant.getResult(), arith::ConstantOp::create(k, splat));
      continue;
    }
    OperationState state(inner.getLoc(), inner.getName());
    for (Value operand : inner.getOperands())
      state.addOperands(lookup(operand));
    for (Type type : inner.getResultTypes())
      state.addTypes(vectorOf(type));
    state.addAttributes(
        SmallVector<NamedAttribute>(inner.getDiscardableAttrs()));
    Operation *clone = k.create(state);
    clone->copyProperties(inner.getPropertiesStorage());
    mapping.map(inner.getResults(), clone->getResults());
  }
  SmallVector<Value> yielded;
  for (Value value : payload->getTerminator()->getOperands())
    yielded.push_back(lookup(value));
  return yielded;
}
