//===- ExpertVectors.cpp - Rows of expert vectors -------------------------===//

#include "Utils/ExpertVectors.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

Value mlir::omnimoe::collapseExperts(KernelBuilder &k, Value vectors) {
  if (cast<MemRefType>(vectors.getType()).getRank() == 2)
    return vectors;
  SmallVector<ReassociationIndices> groups = {{0, 1}, {2}};
  return memref::CollapseShapeOp::create(k, vectors, groups);
}

Value mlir::omnimoe::collapsePairs(KernelBuilder &k, Value values) {
  if (cast<MemRefType>(values.getType()).getRank() == 2)
    return values;
  SmallVector<ReassociationIndices> groups = {{0}, {1, 2}};
  return memref::CollapseShapeOp::create(k, values, groups);
}

ExpertRow mlir::omnimoe::loadExpertRow(KernelBuilder &k, Value experts,
                                       Value token, Value column,
                                       int64_t numExperts, int64_t width) {
  Value choice = column, part;
  if (width > 1) {
    choice = arith::DivUIOp::create(k, column, k.index(width));
    part = arith::RemUIOp::create(k, column, k.index(width));
  }
  Value id = k.load(experts, {token, choice});
  // Unsigned, so that negative ids fail too; an i32 names no more than 2^31.
  int64_t known = std::min<int64_t>(numExperts, int64_t(1) << 31);
  Value valid = k.compare(arith::CmpIPredicate::ult, id,
                          k.i32(static_cast<int32_t>(known)));
  Value row = k.toIndex(k.choose(valid, id, k.i32(0)));
  if (width > 1)
    row = k.add(k.mul(row, width), part);
  return {row, valid};
}

Value mlir::omnimoe::loadWide(KernelBuilder &k, VectorType type, Value memref,
                              ValueRange indices, Value mask) {
  Type elementType = cast<MemRefType>(memref.getType()).getElementType();
  VectorType loaded = type.clone(elementType);
  Value vector =
      mask ? Value(vector::MaskedLoadOp::create(k, loaded, memref, indices,
                                                mask, k.real(loaded, 0.0)))
           : k.loadVector(loaded, memref, indices);
  if (elementType == type.getElementType())
    return vector;
  return arith::ExtFOp::create(k, type, vector);
}

void mlir::omnimoe::forEachVector(
    KernelBuilder &k, int64_t hiddenSize, int64_t lanes,
    llvm::function_ref<void(Value d, Value mask)> body) {
  int64_t whole = hiddenSize / lanes * lanes;
  k.loop(k.index(0), k.index(whole), lanes, [&](Value d) { body(d, nullptr); });
  if (whole != hiddenSize)
    body(k.index(whole), k.prefixMask(lanes, hiddenSize - whole));
}

SmallVector<Value> mlir::omnimoe::forEachVector(
    KernelBuilder &k, int64_t hiddenSize, int64_t lanes, ValueRange inits,
    llvm::function_ref<SmallVector<Value>(Value d, Value mask,
                                          ValueRange carried)>
        body) {
  int64_t whole = hiddenSize / lanes * lanes;
  SmallVector<Value> results = llvm::to_vector_of<Value>(k.loop(
      k.index(0), k.index(whole), lanes, inits,
      [&](Value d, ValueRange carried) { return body(d, nullptr, carried); }));
  if (whole != hiddenSize)
    results =
        body(k.index(whole), k.prefixMask(lanes, hiddenSize - whole), results);
  return results;
}
