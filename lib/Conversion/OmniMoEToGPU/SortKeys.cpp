//===- SortKeys.cpp - Sorting by the lanes of a warp ----------------------===//
//
// Few keys a lane are compared across lanes by shuffles, in Batcher's bitonic
// sorter: first short ones, which are the values but for their last bits and
// the number of a key, then what these stand for, until all are in order. More
// are sorted within each lane by a network, then runs of lanes are
// merged pair by pair in shared memory: each lane finds by binary search where
// its part of the result begins in both runs, and merges that many keys one
// after the other.
//
//===----------------------------------------------------------------------===//

#include "SortKeys.h"
#include "BlockEmitter.h"
#include "ThreadTeam.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RoutePlan.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::omnimoe;
using Predicate = arith::CmpIPredicate;

//===----------------------------------------------------------------------===//
// Keys
//===----------------------------------------------------------------------===//

/// Flips all bits but the sign of negative floats, whose order is reversed.
static Value emitTurn(KernelBuilder &k, Value bits) {
  Value sign = arith::ShRSIOp::create(k, bits, k.i32(31));
  return arith::XOrIOp::create(k, bits, k.both(sign, k.i32(0x7fffffff)));
}

Value omnimoe::emitOrderedBits(KernelBuilder &k, Value value) {
  return emitTurn(k, arith::BitcastOp::create(k, k.getI32Type(), value));
}

Value omnimoe::emitOrderedValue(KernelBuilder &k, Value bits) {
  return arith::BitcastOp::create(k, k.getF32Type(), emitTurn(k, bits));
}

/// An i64 of two i32, and its halves.
static Value join(KernelBuilder &k, Value low, Value high) {
  Type i64 = k.getI64Type();
  return k.either(arith::ShLIOp::create(k, arith::ExtUIOp::create(k, i64, high),
                                        k.integer(i64, 32)),
                  arith::ExtUIOp::create(k, i64, low));
}

static Value lowHalf(KernelBuilder &k, Value key) {
  return arith::TruncIOp::create(k, k.getI32Type(), key);
}

static Value highHalf(KernelBuilder &k, Value key) {
  return lowHalf(k,
                 arith::ShRUIOp::create(k, key, k.integer(k.getI64Type(), 32)));
}

static Value emitNot(KernelBuilder &k, Value bits) {
  return arith::XOrIOp::create(k, bits, k.i32(-1));
}

Value omnimoe::emitKey(KernelBuilder &k, Value value, Value id) {
  return join(k, emitNot(k, id), emitOrderedBits(k, value));
}

Value omnimoe::emitKeyValue(KernelBuilder &k, Value key) {
  return emitOrderedValue(k, highHalf(k, key));
}

Value omnimoe::emitKeyId(KernelBuilder &k, Value key) {
  return emitNot(k, lowHalf(k, key));
}

Value omnimoe::emitPadding(KernelBuilder &k) {
  return k.integer(k.getI64Type(), std::numeric_limits<int64_t>::min());
}

//===----------------------------------------------------------------------===//
// Within a lane, and by shuffles
//===----------------------------------------------------------------------===//

/// Puts the higher of two keys into the first place. The lower one of long ones
/// is what the higher one leaves of both: LLVM would make a minimum of a
/// choice, which compares a second time.
static void exchange(KernelBuilder &k, Value &first, Value &second) {
  Value high = k.max(first, second);
  if (first.getType().isInteger(32)) {
    second = k.min(first, second);
    first = high;
    return;
  }
  Value both = arith::XOrIOp::create(k, first, second);
  second = arith::XOrIOp::create(k, both, high);
  first = high;
}

/// Batcher's merge exchange (Knuth 5.2.2, algorithm M), for any number of keys.
static void sortLane(KernelBuilder &k, SmallVectorImpl<Value> &keys) {
  int64_t count = keys.size(), top = llvm::PowerOf2Ceil(count) / 2;
  for (int64_t p = top; p > 0; p /= 2) {
    int64_t q = top, r = 0, distance = p;
    while (true) {
      for (int64_t i = 0; i < count - distance; ++i)
        if ((i & p) == r)
          exchange(k, keys[i], keys[i + distance]);
      if (q == p)
        break;
      distance = q - p;
      q /= 2;
      r = p;
    }
  }
}

/// `key` of another lane, by a shuffle for each half of a long one.
static Value shuffleKey(KernelBuilder &k, Value key, int64_t distance,
                        gpu::ShuffleMode mode) {
  auto move = [&](Value word) {
    return gpu::ShuffleOp::create(k, word, distance, kWarp, mode)
        .getShuffleResult();
  };
  if (key.getType().isInteger(32))
    return move(key);
  return join(k, move(lowHalf(k, key)), move(highHalf(k, key)));
}

/// The lower of two keys if `isUpper`, else the higher.
static Value keepOne(KernelBuilder &k, Value own, Value other, Value isUpper) {
  if (own.getType().isInteger(32))
    return k.choose(isUpper, k.min(other, own), k.max(other, own));
  Value higher = k.compare(Predicate::sgt, other, own);
  return k.choose(arith::XOrIOp::create(k, higher, isUpper), other, own);
}

/// Compares the places whose numbers differ in the bits of `mask`; every
/// comparison puts the higher key into the lower place.
static void compareExchange(KernelBuilder &k, SmallVectorImpl<Value> &keys,
                            Value lane, int64_t mask) {
  int64_t count = keys.size();
  int64_t laneMask = mask / count, keyMask = mask % count;
  if (laneMask == 0) {
    for (int64_t i = 0; i < count; ++i)
      if (int64_t j = i ^ keyMask; i < j)
        exchange(k, keys[i], keys[j]);
    return;
  }
  Value side = k.both(lane, k.i32(llvm::bit_floor<uint64_t>(laneMask)));
  Value isUpper = k.compare(Predicate::ne, side, k.i32(0));
  SmallVector<Value> before(keys.begin(), keys.end());
  for (int64_t i = 0; i < count; ++i) {
    Value other =
        shuffleKey(k, before[i ^ keyMask], laneMask, gpu::ShuffleMode::XOR);
    keys[i] = keepOne(k, before[i], other, isUpper);
  }
}

/// A merge of two sorted runs begins by comparing their places from opposite
/// ends. Places are blocked, so that most comparisons are within a lane.
static void sortBitonic(KernelBuilder &k, SmallVectorImpl<Value> &keys,
                        Value lane, int64_t lanes) {
  int64_t places = keys.size() * lanes;
  for (int64_t run = 2; run <= places; run *= 2) {
    compareExchange(k, keys, lane, run - 1);
    for (int64_t stride = run / 4; stride > 0; stride /= 2)
      compareExchange(k, keys, lane, stride);
  }
}

namespace {
/// Keys of a group of lanes, and what the lanes beside have next to a lane's.
struct Neighbours {
  Neighbours(KernelBuilder &k, ValueRange keys, Value lane, int64_t lanes)
      : isFirst(k.compare(Predicate::eq, lane, k.i32(0))),
        isLast(k.compare(Predicate::eq, lane, k.i32(lanes - 1))),
        before(shuffleKey(k, keys.back(), 1, gpu::ShuffleMode::UP)),
        behind(shuffleKey(k, keys.front(), 1, gpu::ShuffleMode::DOWN)) {}

  Value isFirst, isLast; ///< of the group
  Value before, behind;  ///< the last of the lane before, the first of the next
};
} // namespace

/// Whether some lane's keys, or its last and the next one's first, are not in
/// order.
static Value isUnsorted(KernelBuilder &k, ValueRange keys, Value lane,
                        int64_t lanes) {
  Neighbours beside(k, keys, lane, lanes);
  Value found = k.both(
      k.compare(Predicate::slt, keys.back(), beside.behind),
      arith::XOrIOp::create(k, beside.isLast, k.integer(k.getI1Type(), 1)));
  for (size_t i = 1; i < keys.size(); ++i)
    found = k.either(found, k.compare(Predicate::slt, keys[i - 1], keys[i]));
  return anyLane(k, found);
}

/// One round of a transposition sort of at least two keys a lane: neighbours
/// within each lane, then across lanes.
static void transpose(KernelBuilder &k, SmallVectorImpl<Value> &keys,
                      Value lane, int64_t lanes) {
  for (size_t first : {0, 1})
    for (size_t i = first; i + 1 < keys.size(); i += 2)
      exchange(k, keys[i], keys[i + 1]);
  Neighbours beside(k, keys, lane, lanes);
  keys.back() =
      k.choose(beside.isLast, keys.back(), k.max(keys.back(), beside.behind));
  keys.front() = k.choose(beside.isFirst, keys.front(),
                          k.min(keys.front(), beside.before));
}

/// Sorts by a key of 32 bits, in which a value's last bits give way to the
/// number of the whole key: half of the shuffles, which are the most of it, and
/// fewer than half of the instructions. What is equal but for these bits may
/// then be in the wrong order, and is among neighbours: rounds mend that,
/// mostly none, of many keys one.
static void sortByShuffles(KernelBuilder &k, SmallVectorImpl<Value> &keys,
                           Value lane, int64_t lanes, Value buffer) {
  if (keys.size() == 1)
    return sortBitonic(k, keys, lane, lanes);
  int64_t last = keys.size() * lanes - 1;
  SmallVector<Value> shorts;
  for (auto [i, key] : llvm::enumerate(keys)) {
    Value number = k.add(lane, i * lanes);
    k.store(key, buffer, k.toIndex(number));
    shorts.push_back(k.either(k.both(highHalf(k, key), k.i32(~last)),
                              k.sub(k.i32(last), number)));
  }
  sortBitonic(k, shorts, lane, lanes);
  syncWarp(k);
  for (auto [key, shortKey] : llvm::zip(keys, shorts))
    key = k.load(buffer,
                 k.toIndex(k.sub(k.i32(last), k.both(shortKey, k.i32(last)))));
  ResultRange sorted = k.loopWhile(
      keys, [&](ValueRange now) { return isUnsorted(k, now, lane, lanes); },
      [&](ValueRange now) {
        SmallVector<Value> next(now.begin(), now.end());
        transpose(k, next, lane, lanes);
        return next;
      });
  keys.assign(sorted.begin(), sorted.end());
}

//===----------------------------------------------------------------------===//
// Merges in shared memory
//===----------------------------------------------------------------------===//

/// Merges the runs of `run` lanes (i32) in pairs. The second run of a pair
/// stands in reverse behind the first, so that neither has an end to look out
/// for: beyond it lie the lowest keys of the other.
static SmallVector<Value> mergeRuns(KernelBuilder &k, ValueRange keys,
                                    Value lane, Value run, Value buffer) {
  int64_t count = keys.size();
  Value inRun = k.both(lane, k.sub(run, 1));
  Value inPair = k.both(lane, k.sub(k.add(run, run), 1));
  Value runKeys = k.mul(run, count), pairKeys = k.add(runKeys, runKeys);
  Value start = k.mul(k.sub(lane, inPair), count),
        skipped = k.mul(inPair, count);
  Value isSecond = k.compare(Predicate::uge, inPair, run);
  Value offset = k.mul(inRun, count), last = k.sub(k.add(start, pairKeys), 1);
  Value base = k.choose(isSecond, k.sub(last, offset), k.add(start, offset));
  Value step = k.choose(isSecond, k.i32(-1), k.i32(1));
  syncWarp(k);
  for (auto [i, key] : llvm::enumerate(keys))
    k.store(key, buffer, k.toIndex(k.add(base, k.mul(step, int64_t(i)))));
  syncWarp(k);

  // Of the keys before the lane's, so many are of the first run.
  Value least = k.max(k.sub(skipped, runKeys), k.i32(0));
  Value most = k.min(skipped, runKeys);
  Value gap = k.sub(pairKeys, skipped);
  ResultRange range = k.loopWhile(
      ValueRange{least, most},
      [&](ValueRange state) {
        return k.compare(Predicate::slt, state[0], state[1]);
      },
      [&](ValueRange state) -> SmallVector<Value> {
        Value middle =
            arith::ShRUIOp::create(k, k.add(state[0], state[1]), k.i32(1));
        Value at = k.add(start, middle);
        Value isBefore =
            k.compare(Predicate::sge, k.load(buffer, k.toIndex(at)),
                      k.load(buffer, k.toIndex(k.add(at, gap))));
        return {k.choose(isBefore, k.add(middle, 1), state[0]),
                k.choose(isBefore, state[1], middle)};
      });
  // One run is walked up and the other one down: after s keys, the places of
  // both are `between` - s apart.
  Value up = k.add(start, range[0]);
  Value between = k.sub(k.sub(pairKeys, 1), skipped);
  Value first = k.load(buffer, k.toIndex(up));
  Value second = k.load(buffer, k.toIndex(k.add(up, between)));
  SmallVector<Value> merged;
  while (true) {
    Value isFirst = k.compare(Predicate::sge, first, second);
    merged.push_back(k.choose(isFirst, first, second));
    int64_t taken = merged.size();
    if (taken == count)
      return merged;
    Value nextUp = k.add(up, 1), nextDown = k.add(k.add(up, between), -taken);
    Value next = k.load(buffer, k.toIndex(k.choose(isFirst, nextUp, nextDown)));
    up = k.choose(isFirst, nextUp, up);
    first = k.choose(isFirst, next, first);
    second = k.choose(isFirst, second, next);
  }
}

void omnimoe::sortKeys(KernelBuilder &k, SmallVectorImpl<Value> &keys,
                       Value lane, int64_t lanes, Value buffer) {
  if (int64_t(keys.size()) <= kMaxShuffledKeys)
    return sortByShuffles(k, keys, lane, lanes, buffer);
  sortLane(k, keys);
  SmallVector<Value> state = {k.i32(1)};
  llvm::append_range(state, keys);
  ResultRange sorted = k.loopWhile(
      state,
      [&](ValueRange now) {
        return k.compare(Predicate::ult, now[0], k.i32(lanes));
      },
      [&](ValueRange now) {
        SmallVector<Value> next = {k.add(now[0], now[0])};
        llvm::append_range(
            next, mergeRuns(k, now.drop_front(), lane, now[0], buffer));
        return next;
      });
  keys.assign(sorted.begin() + 1, sorted.end());
}
