//===- RouteByWarps.cpp - The router, a warp to a token -------------------===//
//
// Half of the warp sorts the rows, the other half the columns, at the same
// time, as keys of value and number: their order is that of the router, ties
// included. So are candidates sorted, as keys of sum and expert. Where rounding
// made sums equal that is not yet their order: `reorderTies`.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "Route.h"
#include "SortKeys.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;
using Predicate = arith::CmpIPredicate;
using FloatPredicate = arith::CmpFPredicate;

/// Lanes that share a long row of candidates.
static constexpr int64_t kRowLanes = 8;
/// Candidates of one sum that are put into order at once.
static constexpr int64_t kMostTies = 4;
/// Keys a lane of an axis that is short.
static constexpr int64_t kShortAxisKeys = 9;

namespace {

class RouteByWarps {
public:
  RouteByWarps(KernelBuilder &k, RouteOp op, const RoutePlan &plan,
               Value threadId)
      : k(k), op(op), plan(plan) {
    warpLane = k.both(k.toI32(threadId), k.i32(kWarp - 1));
    warp = arith::ShRUIOp::create(k, threadId, k.index(llvm::Log2_64(kWarp)));
  }

  /// The warp's token is number `ownToken`, if there are as many.
  void emitToken(Value ownToken, const LogitRows &ownLogits,
                 llvm::function_ref<Value(int64_t, Type)> reserve) {
    reserveAll(reserve);
    emitIfAny(ownToken, ownLogits);
  }

  void emit(bool one) {
    auto launch = op->getParentOfType<gpu::LaunchOp>();
    reserveAll([&](int64_t size, Type element) -> Value {
      auto space = gpu::AddressSpaceAttr::get(k.getContext(),
                                              gpu::AddressSpace::Workgroup);
      auto type = MemRefType::get({plan.tokensPerBlock, size}, element,
                                  MemRefLayoutAttrInterface(), space);
      return launch.addWorkgroupAttribution(type, op.getLoc());
    });
    if (one)
      return emitIfAny(warp, getLogits(warp));
    Value tokens = memref::DimOp::create(k, op.getScores(), 0);
    k.loop(warp, tokens, plan.tokensPerBlock, [&](Value token) {
      // What hangs on the lane alone would be moved out of the loop and fill
      // the registers from there.
      emitOne(token, getLogits(token),
              k.both(keepInLoop(k, warpLane), k.i32(kWarp - 1)));
    });
  }

private:
  void reserveAll(llvm::function_ref<Value(int64_t, Type)> reserve) {
    keys = reserve(plan.keyRoom(), k.getI64Type());
    values = reserve(2 * plan.axisRoom(), k.getF32Type());
    ids = reserve(2 * plan.axisRoom(), k.getI32Type());
  }

  LogitRows getLogits(Value ownToken) {
    return {op.getRowLogits(), op.getColLogits(), ownToken};
  }

  void emitIfAny(Value ownToken, const LogitRows &ownLogits) {
    Value tokens = memref::DimOp::create(k, op.getScores(), 0);
    k.when(k.compare(Predicate::slt, ownToken, tokens),
           [&] { emitOne(ownToken, ownLogits, warpLane); });
  }

  void emitOne(Value tokenOfWarp, const LogitRows &ownLogits,
               Value laneOfWarp) {
    logits = ownLogits;
    lane = laneOfWarp;
    isCol = k.compare(Predicate::uge, lane, k.i32(kAxisLanes));
    axisLane = k.both(lane, k.i32(kAxisLanes - 1));
    int64_t room = plan.axisRoom();
    auto rows = k.getIndexAttr(0), cols = k.getIndexAttr(room);
    axes = {emitPart(k, values, warp, rows, room),
            emitPart(k, ids, warp, rows, room),
            emitPart(k, values, warp, cols, room),
            emitPart(k, ids, warp, cols, room)};
    Value ofAxis = k.choose(isCol, k.index(room), k.index(0));
    emitSortAxes(emitPart(k, keys, warp, ofAxis, room),
                 emitPart(k, values, warp, ofAxis, room),
                 emitPart(k, ids, warp, ofAxis, room));
    buffer = emitPart(k, keys, warp, k.getIndexAttr(0), plan.keyRoom());
    emitChoose(
        emitPart(k, op.getScores(), tokenOfWarp, k.getIndexAttr(0), plan.topK),
        emitPart(k, op.getExperts(), tokenOfWarp, k.getIndexAttr(0),
                 plan.topK));
    syncWarp(k);
  }

  //===--- Axes -----------------------------------------------------------===//

  /// The logits of a token that a lane holds: entry i of lane l is number
  /// i * kAxisLanes + l.
  SmallVector<Value> loadAxis(Value ofAxis, int64_t count) {
    SmallVector<Value> loaded;
    for (int64_t i = 0; i < plan.axisKeys; ++i) {
      int64_t first = i * kAxisLanes;
      if (first >= count) {
        loaded.push_back(k.real(k.getF32Type(), 0.0));
        continue;
      }
      Value number = k.add(axisLane, first);
      if (first + kAxisLanes > count)
        number = k.min(number, k.i32(count - 1));
      loaded.push_back(k.load(ofAxis, {logits.number, k.toIndex(number)}));
    }
    return loaded;
  }

  void emitSortAxes(Value buffer, Value values, Value ids) {
    SmallVector<Type> types(plan.axisKeys, k.getF32Type());
    ResultRange loaded = k.branch(
        types, isCol, [&] { return loadAxis(logits.cols, plan.numCols); },
        [&] { return loadAxis(logits.rows, plan.numRows); });
    int64_t shortAxis = std::min(plan.numRows, plan.numCols);
    int64_t longAxis = std::max(plan.numRows, plan.numCols);
    Value count =
        plan.numRows == plan.numCols
            ? k.i32(plan.numRows)
            : k.choose(isCol, k.i32(plan.numCols), k.i32(plan.numRows));
    SmallVector<Value> keys;
    for (auto [i, logit] : llvm::enumerate(loaded)) {
      int64_t first = i * kAxisLanes;
      if (first >= longAxis) {
        keys.push_back(emitPadding(k));
        continue;
      }
      Value number = k.add(axisLane, first);
      Value key = emitKey(k, emitCleanLogit(k, logit), number);
      if (first + kAxisLanes > shortAxis)
        key = k.choose(k.compare(Predicate::slt, number, count), key,
                       emitPadding(k));
      keys.push_back(key);
    }
    sortKeys(k, keys, axisLane, kAxisLanes, buffer);
    for (auto [i, key] : llvm::enumerate(keys)) {
      Value place = k.toIndex(placeOf(axisLane, keys.size(), i));
      k.store(emitKeyValue(k, key), values, place);
      k.store(emitKeyId(k, key), ids, place);
    }
    syncWarp(k);
  }

  /// Where `sortKeys` leaves key `i` of a lane.
  Value placeOf(Value lane, int64_t keys, int64_t i) {
    return k.add(k.mul(lane, keys), i);
  }

  //===--- Candidates -----------------------------------------------------===//

  void emitChoose(Value scores, Value experts) {
    ThreadTeam team(k, lane, kWarp, /*partials=*/nullptr);
    RouteCandidates candidates(k, plan, team, axes);
    Threshold low;
    Value exactly;
    if (plan.sortsAll) {
      low = {emitOrderedBits(k, lowest()), k.i32(plan.candidates)};
      exactly = emitSortAndWrite(candidates, loadAll(candidates), low.count,
                                 scores, experts);
    } else {
      low = candidates.raise({candidates.lowerBound(), k.i32(-1)},
                             plan.capacity());
      Value tooMany =
          k.compare(Predicate::sgt, low.count, k.i32(plan.capacity()));
      exactly = k.branch(
          k.getI1Type(), tooMany,
          [&]() -> SmallVector<Value> { return {tooMany}; },
          [&]() -> SmallVector<Value> {
            emitKeep(candidates, emitOrderedValue(k, low.key));
            return {emitSortAndWrite(candidates, loadKept(low.count), low.count,
                                     scores, experts)};
          })[0];
    }
    k.when(exactly, [&] {
      syncWarp(k);
      emitExactChoice(k, plan, team, candidates, axes, low, scores, experts,
                      scores, experts);
    });
  }

  Value lowest() {
    return k.real(k.getF32Type(), -std::numeric_limits<double>::infinity());
  }

  Value keyOf(RouteCandidates &candidates, Value row, Value col) {
    return emitKey(k, candidates.sum(row, col), candidates.expert(row, col));
  }

  /// All candidates, from a table of their pairs: key i of lane l is number
  /// i * 32 + l.
  SmallVector<Value> loadAll(RouteCandidates &candidates) {
    SmallVector<int32_t> pairs;
    for (int64_t row = 0; row < plan.rows; ++row)
      for (int64_t col = 0; col < std::min(plan.topK / (row + 1), plan.cols);
           ++col)
        pairs.push_back(row * plan.cols + col);
    pairs.resize(plan.capacity(), 0);
    Value table = emitTable(k, "route_pairs", pairs);
    SmallVector<Value> keys;
    for (int64_t i = 0; i < plan.capacity(); i += kWarp) {
      Value at = k.add(lane, i);
      auto [row, col] = candidates.ranks(k.load(table, k.toIndex(at)));
      Value key = keyOf(candidates, row, col);
      if (i + kWarp > plan.candidates)
        key = k.choose(k.compare(Predicate::slt, at, k.i32(plan.candidates)),
                       key, emitPadding(k));
      keys.push_back(key);
    }
    return keys;
  }

  /// Writes the keys of the candidates that reach `limit` to the buffer. Long
  /// rows are shared by a few lanes each, a lane has short ones to itself.
  void emitKeep(RouteCandidates &candidates, Value limit) {
    SmallVector<Value> lengths = candidates.countRows(limit), starts;
    Value own = k.i32(0);
    for (Value length : lengths) {
      starts.push_back(own);
      own = k.add(own, length);
    }
    Value before = sumLanesBefore(k, own);
    for (Value &start : starts)
      start = k.add(start, before);

    auto keepRow = [&](Value row, Value from, int64_t step, Value start,
                       Value length) {
      k.loop(from, length, k.i32(step), [&](Value col) {
        k.store(keyOf(candidates, row, col), buffer,
                k.toIndex(k.add(start, col)));
      });
    };
    int64_t atOnce = kWarp / kRowLanes;
    Value rowOfLanes = arith::DivUIOp::create(k, lane, k.i32(kRowLanes));
    Value laneOfRow = arith::RemUIOp::create(k, lane, k.i32(kRowLanes));
    k.loop(k.i32(0), k.i32(std::min(plan.rows, kWarp)), k.i32(atOnce),
           [&](Value first) {
             Value row = k.add(first, rowOfLanes);
             keepRow(row, laneOfRow, kRowLanes, laneValue(k, starts[0], row),
                     laneValue(k, lengths[0], row));
           });
    for (size_t i = 1; i < lengths.size(); ++i)
      keepRow(k.add(lane, int64_t(i) * kWarp), k.i32(0), 1, starts[i],
              lengths[i]);
    syncWarp(k);
  }

  SmallVector<Value> loadKept(Value count) {
    SmallVector<Value> keys;
    for (int64_t i = 0; i < plan.capacity(); i += kWarp) {
      Value at = k.add(lane, i);
      Value key = k.load(buffer, k.toIndex(at));
      if (i + kWarp > plan.topK)
        key =
            k.choose(k.compare(Predicate::slt, at, count), key, emitPadding(k));
      keys.push_back(key);
    }
    return keys;
  }

  /// True if what belongs to logit `id` ranks before what belongs to `other`,
  /// or is the same: it has the higher logit or, of equal ones, the lower id.
  Value ranksFirst(Value ofAxis, Value id, Value other) {
    auto load = [&](Value at) {
      return emitCleanLogit(k, k.load(ofAxis, {logits.number, k.toIndex(at)}));
    };
    Value own = load(id), its = load(other);
    Value higher = arith::CmpFOp::create(k, FloatPredicate::OGT, own, its);
    Value equal = arith::CmpFOp::create(k, FloatPredicate::OEQ, own, its);
    return k.either(higher,
                    k.both(equal, k.compare(Predicate::sle, id, other)));
  }

  Value rowOf(Value id) {
    return arith::DivUIOp::create(k, id, k.i32(plan.numCols));
  }
  Value colOf(Value id) {
    return arith::RemUIOp::create(k, id, k.i32(plan.numCols));
  }

  /// True if a pair beats another, or is the same.
  Value beats(Value id, Value other) {
    Value inRow = ranksFirst(logits.rows, rowOf(id), rowOf(other));
    return k.both(inRow, ranksFirst(logits.cols, colOf(id), colOf(other)));
  }

  Value loadId(Value place) {
    return emitKeyId(k, k.load(buffer, k.toIndex(place)));
  }

  /// The highest id among a pair and those of equal sum that beat it, which are
  /// the candidates from `from` to `to`.
  Value emitTieKey(Value id, Value from, Value to) {
    return k.rolledLoop(
        from, to, k.i32(1), {id},
        [&](Value place, ValueRange best) -> SmallVector<Value> {
          Value other = loadId(place);
          Value counts = beats(other, id);
          return {k.max(best[0], k.choose(counts, other, best[0]))};
        })[0];
  }

  /// The order of pairs of equal sum: by tie key, then by row, then by column.
  Value goesFirst(Value id, Value tieKey, Value other, Value otherTieKey) {
    Value row = rowOf(id), otherRow = rowOf(other);
    Value sameRow = k.compare(Predicate::eq, row, otherRow);
    Value inGrid =
        k.choose(sameRow, ranksFirst(logits.cols, colOf(id), colOf(other)),
                 ranksFirst(logits.rows, row, otherRow));
    Value sameKey = k.compare(Predicate::eq, tieKey, otherTieKey);
    return k.either(k.compare(Predicate::slt, tieKey, otherTieKey),
                    k.both(sameKey, inGrid));
  }

  /// Writes sorted candidates with equal sums once more, in their right order,
  /// and returns whether a lane found more of them than it looks at.
  Value reorderTies(Value count, Value scores, Value experts) {
    Value zero = k.i32(0), one = k.i32(1);
    auto sumAt = [&](Value place) {
      return emitKeyValue(k, k.load(buffer, k.toIndex(place)));
    };
    // Where the candidates with the sum of `place` end, in steps of `step`.
    auto findEnd = [&](Value place, int64_t step) {
      Value sum = sumAt(place), end = place,
            goesOn = k.integer(k.getI1Type(), 1);
      for (int64_t i = 1; i < kMostTies; ++i) {
        Value next = k.add(place, i * step);
        Value exists = k.both(k.compare(Predicate::sge, next, zero),
                              k.compare(Predicate::slt, next, count));
        Value known = k.choose(exists, next, place);
        Value equal =
            arith::CmpFOp::create(k, FloatPredicate::OEQ, sumAt(known), sum);
        goesOn = k.both(goesOn, k.both(exists, equal));
        end = k.choose(goesOn, next, end);
      }
      return std::pair(end, goesOn);
    };
    return k.rolledLoop(
        lane, count, k.i32(kWarp), {k.integer(k.getI1Type(), 0)},
        [&](Value place, ValueRange found) -> SmallVector<Value> {
          // The assembler would spill for the sake of more warps.
          if (plan.axisKeys <= kShortAxisKeys)
            keepRegisters(k);
          auto [first, before] = findEnd(place, -1);
          auto [last, behind] = findEnd(place, 1);
          Value to = k.add(last, 1);
          k.when(k.compare(Predicate::sgt, k.sub(to, first), one), [&] {
            Value id = loadId(place), tieKey = emitTieKey(id, first, to);
            Value right = k.rolledLoop(
                first, to, one, {first},
                [&](Value other, ValueRange at) -> SmallVector<Value> {
                  Value otherId = loadId(other);
                  Value earlier = goesFirst(
                      otherId, emitTieKey(otherId, first, to), id, tieKey);
                  Value counts =
                      k.both(earlier, k.compare(Predicate::ne, otherId, id));
                  return {k.choose(counts, k.add(at[0], 1), at[0])};
                })[0];
            k.when(k.compare(Predicate::slt, right, k.i32(plan.topK)),
                   [&] { k.store(id, experts, k.toIndex(right)); });
          });
          return {k.either(found[0], k.either(before, behind))};
        })[0];
  }

  /// Sorts candidates and writes the results; returns whether rounding has a
  /// say in the order of ties, so that these do not stand.
  Value emitSortAndWrite(RouteCandidates &candidates, SmallVector<Value> keys,
                         Value count, Value scores, Value experts) {
    sortKeys(k, keys, lane, kWarp, buffer);
    syncWarp(k);
    for (auto [i, key] : llvm::enumerate(keys))
      k.store(key, buffer, k.toIndex(placeOf(lane, keys.size(), i)));
    syncWarp(k);
    int64_t last = plan.capacity() - 1;
    Value tied = k.loop(
        lane, k.i32(plan.topK), k.i32(kWarp), k.integer(k.getI1Type(), 0),
        [&](Value place, ValueRange found) -> SmallVector<Value> {
          Value at = k.toIndex(place),
                next = k.min(k.add(place, 1), k.i32(last));
          Value key = k.load(buffer, at);
          Value sum = emitKeyValue(k, key);
          Value nextSum = emitKeyValue(k, k.load(buffer, k.toIndex(next)));
          k.store(sum, scores, at);
          k.store(emitKeyId(k, key), experts, at);
          Value equal =
              arith::CmpFOp::create(k, FloatPredicate::OEQ, sum, nextSum);
          Value exists = k.compare(Predicate::slt, k.add(place, 1), count);
          return {k.either(found[0], k.both(equal, exists))};
        })[0];
    auto no = [&]() -> SmallVector<Value> {
      return {k.integer(k.getI1Type(), 0)};
    };
    auto mayRound = [&]() -> SmallVector<Value> {
      return {candidates.mayRoundTogether()};
    };
    // Ties are rare, and many of one sum are more so.
    return k.branch(
        k.getI1Type(), anyLane(k, tied),
        [&]() -> SmallVector<Value> {
          syncWarp(k);
          Value tooMany = anyLane(k, reorderTies(count, scores, experts));
          return {k.branch(k.getI1Type(), tooMany, mayRound, no)[0]};
        },
        no)[0];
  }

  KernelBuilder &k;
  RouteOp op;
  const RoutePlan &plan;
  Value warpLane, warp;
  Value keys, values, ids; // shared memory, a row for each warp
  LogitRows logits;        // of the token that code is emitted for
  Value lane, isCol, axisLane;
  SortedAxes axes;
  Value buffer; // of the warp, for keys
};

} // namespace

void omnimoe::emitRouteByWarps(KernelBuilder &k, RouteOp op,
                               const RoutePlan &plan, Value threadId,
                               bool one) {
  RouteByWarps(k, op, plan, threadId).emit(one);
}

void omnimoe::emitRouteOfWarp(
    KernelBuilder &k, RouteOp op, const RoutePlan &plan, Value threadId,
    Value token, const LogitRows &logits,
    llvm::function_ref<Value(int64_t, Type)> reserve) {
  RouteByWarps(k, op, plan, threadId).emitToken(token, logits, reserve);
}
