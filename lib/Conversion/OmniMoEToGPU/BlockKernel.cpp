//===- BlockKernel.cpp - A launch and what its threads do together --------===//

#include "BlockKernel.h"
#include "BlockEmitter.h"
#include "ThreadTeam.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Neighbouring numbers that a thread adds up by itself.
static constexpr int64_t kMostScannedAtOnce = 8;

BlockKernel::BlockKernel(KernelBuilder &k, StringRef name, Value blocks,
                         int64_t threads)
    : numThreads(threads), numWarps(threads / kWarp), k(k) {
  Value one = k.index(1);
  launch =
      gpu::LaunchOp::create(k, blocks, one, one, k.index(threads), one, one);
  launch.setModuleAttr(FlatSymbolRefAttr::get(k.getContext(), kKernelModule));
  launch.setFunctionAttr(FlatSymbolRefAttr::get(k.getContext(), name));
  k.setInsertionPointToEnd(&launch.getBody().front());
  auto terminator = gpu::TerminatorOp::create(k);
  k.setInsertionPoint(terminator);
  block = launch.getBlockIds().x;
  thread = launch.getThreadIds().x;
  warp = arith::DivUIOp::create(k, thread, k.index(kWarp));
  lane = arith::RemUIOp::create(k, thread, k.index(kWarp));
  Value bit = arith::ShLIOp::create(k, k.i32(1), k.toI32(lane));
  lanesBefore = k.sub(bit, k.i32(1));
}

BlockKernel::~BlockKernel() { k.setInsertionPointAfter(launch); }

Value BlockKernel::shared(Type elementType, ArrayRef<int64_t> shape) {
  auto space =
      gpu::AddressSpaceAttr::get(k.getContext(), gpu::AddressSpace::Workgroup);
  auto type =
      MemRefType::get(shape, elementType, MemRefLayoutAttrInterface(), space);
  return launch.addWorkgroupAttribution(type, k.getLoc());
}

void BlockKernel::barrier() { gpu::BarrierOp::create(k); }

void BlockKernel::syncWarp() { NVVM::SyncWarpOp::create(k, k.i32(-1)); }

Value BlockKernel::broadcast(Value value, int64_t from) {
  return gpu::ShuffleOp::create(k, value, from, kWarp, gpu::ShuffleMode::IDX)
      .getShuffleResult();
}

Value BlockKernel::laneBefore(Value value, Value first) {
  auto shuffle =
      gpu::ShuffleOp::create(k, value, 1, kWarp, gpu::ShuffleMode::UP);
  return k.choose(shuffle.getValid(), shuffle.getShuffleResult(), first);
}

Value BlockKernel::match(Value value, int64_t bits, Value lanes) {
  for (int64_t bit = 0; bit < bits; ++bit) {
    Value isSet = k.compare(arith::CmpIPredicate::ne,
                            k.both(value, k.i32(int64_t(1) << bit)), k.i32(0));
    Value others = k.choose(isSet, k.i32(0), k.i32(-1));
    lanes = k.both(lanes, arith::XOrIOp::create(k, ballot(k, isSet), others));
  }
  return lanes;
}

Value BlockKernel::countBefore(Value lanes) {
  return countBits(k, k.both(lanes, lanesBefore));
}

BlockKernel::Scan BlockKernel::scan(Value value) {
  Value before = sumLanesBefore(k, value);
  if (!warpTotals)
    warpTotals = shared(k.getI32Type(), {numWarps});
  k.when(k.compare(arith::CmpIPredicate::eq, lane, k.index(kWarp - 1)),
         [&] { k.store(k.add(before, value), warpTotals, warp); });
  barrier();
  Value total = k.i32(0);
  for (int64_t other = 0; other < numWarps; ++other) {
    Value sum = k.load(warpTotals, k.index(other));
    Value isEarlier =
        k.compare(arith::CmpIPredicate::ugt, warp, k.index(other));
    before = k.add(before, k.choose(isEarlier, sum, k.i32(0)));
    total = k.add(total, sum);
  }
  // The totals may be written again from here on.
  barrier();
  return {before, total};
}

Value BlockKernel::scanAll(Value size, llvm::function_ref<Value(Value)> value,
                           llvm::function_ref<void(Value, Value, Value)> body) {
  // A known size of a few numbers a thread takes one turn.
  std::optional<int64_t> known = getConstantIntValue(size);
  bool isOneTurn = known && *known <= kMostScannedAtOnce * numThreads;
  int64_t each = isOneTurn ? llvm::divideCeil(*known, numThreads) : 1;
  auto turn = [&](Value base, Value earlier) -> Value {
    Value first = k.add(base, k.mul(thread, each)), sum = k.i32(0);
    SmallVector<Value> at, exist, own;
    for (int64_t i = 0; i < each; ++i) {
      at.push_back(k.add(first, i));
      exist.push_back(k.compare(arith::CmpIPredicate::ult, at[i], size));
      // Threads without a number look at the last one.
      Value found = value(k.min(at[i], k.sub(size, 1)));
      own.push_back(k.choose(exist[i], found, k.i32(0)));
      sum = k.add(sum, own[i]);
    }
    Scan sums = scan(sum);
    Value before = k.add(earlier, sums.before);
    for (int64_t i = 0; i < each; ++i) {
      k.when(exist[i], [&] { body(at[i], own[i], before); });
      before = k.add(before, own[i]);
    }
    return k.add(earlier, sums.total);
  };
  if (isOneTurn)
    return turn(k.index(0), k.i32(0));
  return k
      .loop(k.index(0), size, numThreads, ValueRange{k.i32(0)},
            [&](Value base, ValueRange carried) -> SmallVector<Value> {
              return {turn(base, carried[0])};
            })
      .front();
}
