//===- ThreadTeam.cpp - Threads that work together ------------------------===//

#include "ThreadTeam.h"
#include "BlockEmitter.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::omnimoe;
using Predicate = arith::CmpIPredicate;

// The maximum and minimum of the LLVM dialect are instructions; those of arith
// that ignore NaN would become calls of CUDA's device library.

//===----------------------------------------------------------------------===//
// Warp
//===----------------------------------------------------------------------===//

static Value allLanes(KernelBuilder &k) { return k.i32(-1); }

Value omnimoe::shuffleXor(KernelBuilder &k, Value value, int64_t mask,
                          int64_t width) {
  return gpu::ShuffleOp::create(k, value, mask, width, gpu::ShuffleMode::XOR)
      .getShuffleResult();
}

Value omnimoe::ballot(KernelBuilder &k, Value predicate) {
  return NVVM::VoteSyncOp::create(k, k.getI32Type(), allLanes(k), predicate,
                                  NVVM::VoteSyncKind::ballot);
}

Value omnimoe::anyLane(KernelBuilder &k, Value predicate) {
  return NVVM::VoteSyncOp::create(k, k.getI1Type(), allLanes(k), predicate,
                                  NVVM::VoteSyncKind::any);
}

static Value reduceLanes(KernelBuilder &k, Value value, NVVM::ReduxKind kind) {
  return NVVM::ReduxOp::create(k, k.getI32Type(), value, kind, allLanes(k));
}

Value omnimoe::sumLanes(KernelBuilder &k, Value value) {
  return reduceLanes(k, value, NVVM::ReduxKind::ADD);
}

Value omnimoe::maxLanes(KernelBuilder &k, Value value) {
  return reduceLanes(k, value, NVVM::ReduxKind::MAX);
}

Value omnimoe::countBits(KernelBuilder &k, Value bits) {
  return math::CtPopOp::create(k, bits);
}

Value omnimoe::keepInLoop(KernelBuilder &k, Value value) {
  return NVVM::ShflOp::create(k, k.getI32Type(), allLanes(k), value, k.i32(0),
                              k.i32(kWarp - 1), NVVM::ShflKind::bfly,
                              UnitAttr());
}

void omnimoe::syncWarp(KernelBuilder &k) {
  NVVM::SyncWarpOp::create(k, allLanes(k));
}

//===----------------------------------------------------------------------===//
// Sort
//
// Batcher's bitonic sorter in the form where every comparison puts the higher
// value in the lower place: a merge of two sorted runs begins by comparing
// their places from opposite ends. Places are blocked, several neighbours to a
// lane, so that most comparisons are between registers of one lane.
//===----------------------------------------------------------------------===//

/// Compares the places whose numbers differ in the bits of `mask`.
static void compareExchange(KernelBuilder &k, SmallVectorImpl<Value> &values,
                            Value lane, int64_t lanes, int64_t mask) {
  int64_t count = values.size();
  int64_t laneMask = mask / count, registerMask = mask % count;
  bool isFloat = values.front().getType().isF32();
  auto high = [&](Value a, Value b) -> Value {
    return isFloat ? Value(LLVM::MaxNumOp::create(k, a, b)) : k.max(a, b);
  };
  auto low = [&](Value a, Value b) -> Value {
    return isFloat ? Value(LLVM::MinNumOp::create(k, a, b)) : k.min(a, b);
  };
  if (laneMask == 0) {
    for (int64_t i = 0; i < count; ++i) {
      int64_t j = i ^ registerMask;
      if (i > j)
        continue;
      Value a = values[i], b = values[j];
      values[i] = high(a, b);
      values[j] = low(a, b);
    }
    return;
  }
  Value side = k.both(lane, k.i32(llvm::bit_floor<uint64_t>(laneMask)));
  Value isLower = k.compare(Predicate::eq, side, k.i32(0));
  SmallVector<Value> before(values.begin(), values.end());
  for (int64_t i = 0; i < count; ++i) {
    Value other = shuffleXor(k, before[i ^ registerMask], laneMask, kWarp);
    values[i] =
        k.choose(isLower, high(before[i], other), low(before[i], other));
  }
}

void omnimoe::sortInRegisters(KernelBuilder &k, SmallVectorImpl<Value> &values,
                              Value lane, int64_t lanes) {
  int64_t places = values.size() * lanes;
  for (int64_t run = 2; run <= places; run *= 2) {
    compareExchange(k, values, lane, lanes, run - 1);
    for (int64_t stride = run / 4; stride > 0; stride /= 2)
      compareExchange(k, values, lane, lanes, stride);
  }
}

//===----------------------------------------------------------------------===//
// Team
//===----------------------------------------------------------------------===//

ThreadTeam::ThreadTeam(KernelBuilder &k, Value rank, int64_t size,
                       Value partials)
    : k(k), threads(size), threadRank(rank), partials(partials) {
  threadLane = k.both(rank, k.i32(kWarp - 1));
  threadWarp = arith::ShRUIOp::create(k, rank, k.i32(llvm::Log2_64(kWarp)));
}

int64_t ThreadTeam::warps() const { return threads / kWarp; }

void ThreadTeam::sync() {
  if (isWarp())
    syncWarp(k);
  else
    gpu::BarrierOp::create(k);
}

/// Sum of the first `count` partials, between barriers.
Value ThreadTeam::sumPartials(Value count) {
  sync();
  Value sum = k.loop(k.index(0), count, 1, k.i32(0),
                     [&](Value i, ValueRange before) -> SmallVector<Value> {
                       return {k.add(before[0], k.load(partials, i))};
                     })[0];
  sync();
  return sum;
}

Value ThreadTeam::sum(Value value) {
  Value lanes = sumLanes(k, value);
  if (isWarp())
    return lanes;
  k.when(k.compare(Predicate::eq, threadLane, k.i32(0)),
         [&] { k.store(lanes, partials, k.toIndex(threadWarp)); });
  return sumPartials(k.index(warps()));
}

Value ThreadTeam::sumOfWarpsBefore(Value value) {
  if (isWarp())
    return k.i32(0);
  k.when(k.compare(Predicate::eq, threadLane, k.i32(0)),
         [&] { k.store(value, partials, k.toIndex(threadWarp)); });
  return sumPartials(k.toIndex(threadWarp));
}

void ThreadTeam::forEach(Value count, llvm::function_ref<void(Value)> body) {
  k.loop(threadRank, count, k.i32(threads), body);
}
