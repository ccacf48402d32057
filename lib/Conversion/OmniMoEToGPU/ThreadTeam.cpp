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

Value omnimoe::getUniformWarp(KernelBuilder &k, Value thread) {
  Value own = arith::ShRUIOp::create(k, thread, k.i32(llvm::Log2_64(kWarp)));
  return NVVM::ShflOp::create(k, k.getI32Type(), k.i32(-1), own, k.i32(0),
                              k.i32(kWarp - 1), NVVM::ShflKind::idx,
                              UnitAttr());
}

Value omnimoe::laneValue(KernelBuilder &k, Value value, Value lane) {
  return gpu::ShuffleOp::create(k, value, lane, k.i32(kWarp),
                                gpu::ShuffleMode::IDX)
      .getShuffleResult();
}

Value omnimoe::sumLanesBefore(KernelBuilder &k, Value value) {
  Value upTo = value;
  for (int64_t distance = 1; distance < kWarp; distance *= 2) {
    auto other =
        gpu::ShuffleOp::create(k, upTo, distance, kWarp, gpu::ShuffleMode::UP);
    upTo = k.add(
        upTo, k.choose(other.getValid(), other.getShuffleResult(), k.i32(0)));
  }
  return k.sub(upTo, value);
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
