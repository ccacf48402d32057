//===- KernelBuilder.cpp - Helpers to emit scalar and vector loops --------===//

#include "Utils/KernelBuilder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Alignment of scratch buffers: a cache line, and the widest vector.
static constexpr int64_t kAlignment = 64;

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

Value KernelBuilder::index(int64_t value) {
  return arith::ConstantIndexOp::create(*this, value);
}

Value KernelBuilder::integer(Type type, int64_t value) {
  TypedAttr attr = getIntegerAttr(getElementTypeOrSelf(type), value);
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(*this, attr);
}

Value KernelBuilder::real(Type type, double value) {
  TypedAttr attr = getFloatAttr(getElementTypeOrSelf(type), value);
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(*this, attr);
}

Value KernelBuilder::laneNumbers(VectorType type) {
  SmallVector<Attribute> lanes;
  for (int64_t lane = 0; lane < type.getNumElements(); ++lane)
    lanes.push_back(getIntegerAttr(type.getElementType(), lane));
  return arith::ConstantOp::create(*this, DenseElementsAttr::get(type, lanes));
}

Value KernelBuilder::prefixMask(int64_t lanes, int64_t active) {
  SmallVector<bool> mask(lanes, false);
  std::fill_n(mask.begin(), active, true);
  auto type = VectorType::get({lanes}, getI1Type());
  return arith::ConstantOp::create(*this, DenseElementsAttr::get(type, mask));
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

Value KernelBuilder::add(Value a, Value b) {
  return arith::AddIOp::create(*this, a, b);
}
Value KernelBuilder::sub(Value a, Value b) {
  return arith::SubIOp::create(*this, a, b);
}
Value KernelBuilder::mul(Value a, Value b) {
  return arith::MulIOp::create(*this, a, b);
}
Value KernelBuilder::min(Value a, Value b) {
  return arith::MinSIOp::create(*this, a, b);
}
Value KernelBuilder::max(Value a, Value b) {
  return arith::MaxSIOp::create(*this, a, b);
}
Value KernelBuilder::compare(arith::CmpIPredicate predicate, Value a, Value b) {
  return arith::CmpIOp::create(*this, predicate, a, b);
}
Value KernelBuilder::both(Value a, Value b) {
  return arith::AndIOp::create(*this, a, b);
}
Value KernelBuilder::either(Value a, Value b) {
  return arith::OrIOp::create(*this, a, b);
}
Value KernelBuilder::choose(Value condition, Value a, Value b) {
  return arith::SelectOp::create(*this, condition, a, b);
}
Value KernelBuilder::toIndex(Value a) {
  return arith::IndexCastOp::create(*this, getIndexType(), a);
}
Value KernelBuilder::toI32(Value a) {
  return arith::IndexCastOp::create(*this, getI32Type(), a);
}
Value KernelBuilder::bitToIndex(Value bit) {
  return arith::IndexCastUIOp::create(*this, getIndexType(), bit);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value KernelBuilder::load(Value memref, ValueRange indices) {
  return memref::LoadOp::create(*this, memref, indices);
}
void KernelBuilder::store(Value value, Value memref, ValueRange indices) {
  memref::StoreOp::create(*this, value, memref, indices);
}
Value KernelBuilder::loadVector(VectorType type, Value memref,
                                ValueRange indices,
                                llvm::MaybeAlign alignment) {
  return vector::LoadOp::create(*this, type, memref, indices,
                                /*nontemporal=*/false, alignment);
}
void KernelBuilder::storeVector(Value value, Value memref, ValueRange indices,
                                llvm::MaybeAlign alignment) {
  vector::StoreOp::create(*this, value, memref, indices, /*nontemporal=*/false,
                          alignment);
}
Value KernelBuilder::broadcast(VectorType type, Value value) {
  return vector::BroadcastOp::create(*this, type, value);
}

//===----------------------------------------------------------------------===//
// Control flow
//===----------------------------------------------------------------------===//

ResultRange KernelBuilder::loop(Value from, Value to, Value step,
                                ValueRange inits, LoopBody body) {
  assert(!inits.empty() && "a loop that carries nothing has its own overload");
  auto op = scf::ForOp::create(*this, from, to, step, inits);
  InsertionGuard guard(*this);
  setInsertionPointToStart(op.getBody());
  SmallVector<Value> next = body(op.getInductionVar(), op.getRegionIterArgs());
  scf::YieldOp::create(*this, next);
  return op.getResults();
}

ResultRange KernelBuilder::rolledLoop(Value from, Value to, Value step,
                                      ValueRange inits, LoopBody body) {
  ResultRange results = loop(from, to, step, inits, body);
  auto unroll = LLVM::LoopUnrollAttr::get(
      getContext(), /*disable=*/getBoolAttr(true), {}, {}, {}, {}, {}, {});
  // The branch that the loop becomes takes its attributes over.
  results.front().getDefiningOp()->setAttr(
      "loop_annotation",
      LLVM::LoopAnnotationAttr::get(getContext(), {}, {}, {}, unroll, {}, {},
                                    {}, {}, {}, {}, {}, {}, {}, {}, {}));
  return results;
}

void KernelBuilder::loop(Value from, Value to, Value step,
                         llvm::function_ref<void(Value)> body) {
  auto op = scf::ForOp::create(*this, from, to, step);
  InsertionGuard guard(*this);
  setInsertionPointToStart(op.getBody());
  body(op.getInductionVar());
}

ResultRange
KernelBuilder::loopWhile(ValueRange inits,
                         llvm::function_ref<Value(ValueRange)> condition,
                         WhileBody body) {
  auto op = scf::WhileOp::create(*this, inits.getTypes(), inits);
  SmallVector<Location> locs(inits.size(), getLoc());
  InsertionGuard guard(*this);
  Block *before = createBlock(&op.getBefore(), {}, inits.getTypes(), locs);
  Value proceed = condition(before->getArguments());
  scf::ConditionOp::create(*this, proceed, before->getArguments());
  Block *after = createBlock(&op.getAfter(), {}, inits.getTypes(), locs);
  SmallVector<Value> next = body(after->getArguments());
  scf::YieldOp::create(*this, next);
  return op.getResults();
}

void KernelBuilder::when(Value condition, llvm::function_ref<void()> thenBody,
                         llvm::function_ref<void()> elseBody) {
  auto op = scf::IfOp::create(*this, condition,
                              /*withElseRegion=*/static_cast<bool>(elseBody));
  InsertionGuard guard(*this);
  setInsertionPointToStart(op.thenBlock());
  thenBody();
  if (!elseBody)
    return;
  setInsertionPointToStart(op.elseBlock());
  elseBody();
}

ResultRange KernelBuilder::branch(TypeRange types, Value condition,
                                  BranchBody thenBody, BranchBody elseBody) {
  auto op = scf::IfOp::create(*this, types, condition, /*withElseRegion=*/true);
  InsertionGuard guard(*this);
  setInsertionPointToStart(op.thenBlock());
  scf::YieldOp::create(*this, thenBody());
  setInsertionPointToStart(op.elseBlock());
  scf::YieldOp::create(*this, elseBody());
  return op.getResults();
}

//===----------------------------------------------------------------------===//
// Scratch
//===----------------------------------------------------------------------===//

unsigned Scratch::reserve(Type elementType, int64_t count) {
  buffers.emplace_back(MemRefType::get({count}, elementType), bytes);
  bytes += llvm::alignTo(count * elementType.getIntOrFloatBitWidth() / 8,
                         kAlignment);
  return buffers.size() - 1;
}

void Scratch::allocate(KernelBuilder &k) {
  // An alloca in a loop over tiles would take new stack at every turn unless a
  // scope stood around it, and loops within such a scope cannot be lowered.
  block = memref::AllocOp::create(k, MemRefType::get({bytes}, k.getI8Type()),
                                  k.getI64IntegerAttr(kAlignment));
  for (auto [bufferType, offset] : buffers)
    views.push_back(memref::ViewOp::create(k, bufferType, block,
                                           k.index(offset), ValueRange{}));
}

void Scratch::release(KernelBuilder &k) { memref::DeallocOp::create(k, block); }
