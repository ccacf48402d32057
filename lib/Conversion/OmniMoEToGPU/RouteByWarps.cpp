//===- RouteByWarps.cpp - The router, a warp to a token -------------------===//
//
// Half of the warp sorts the rows, the other half the columns, at the same
// time. Sorts move bare floats; the place of each element is then found by
// binary search in the sorted values, which takes fewer instructions than
// moving indices along.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "Route.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;
using Predicate = arith::CmpIPredicate;
using FloatPredicate = arith::CmpFPredicate;

/// Lanes that sort an axis.
static constexpr int64_t kAxisLanes = kWarp / 2;
/// Floats of an access of a thread.
static constexpr int64_t kAccessFloats = kAccessBytes / 4;

namespace {

class RouteByWarps {
public:
  RouteByWarps(KernelBuilder &k, RouteOp op, const RoutePlan &plan,
               Value threadId)
      : k(k), op(op), plan(plan), registers(plan.axisLength / kAxisLanes),
        ranks(std::max(plan.rows, plan.cols)) {
    Value thread = k.toI32(threadId);
    lane = k.both(thread, k.i32(kWarp - 1));
    warp = arith::ShRUIOp::create(k, threadId, k.index(llvm::Log2_64(kWarp)));
    isCol = k.compare(Predicate::uge, lane, k.i32(kAxisLanes));
    axisLane = k.both(lane, k.i32(kAxisLanes - 1));
    lowest = k.real(k.getF32Type(), -std::numeric_limits<double>::infinity());
    bool aligned =
        plan.numRows % kAccessFloats == 0 && plan.numCols % kAccessFloats == 0;
    access = aligned ? std::min(registers, kAccessFloats) : 1;
  }

  void emit() {
    auto launch = op->getParentOfType<gpu::LaunchOp>();
    auto shared = [&](ArrayRef<int64_t> shape, Type element) -> Value {
      auto space = gpu::AddressSpaceAttr::get(k.getContext(),
                                              gpu::AddressSpace::Workgroup);
      auto type =
          MemRefType::get(shape, element, MemRefLayoutAttrInterface(), space);
      return launch.addWorkgroupAttribution(type, op.getLoc());
    };
    Type f32 = k.getF32Type(), i32 = k.getI32Type();
    int64_t warps = plan.tokensPerBlock;
    Value values = shared({warps, 2, plan.axisLength}, f32);
    Value ids = shared({warps, 2, ranks}, i32);
    Value sums = shared({warps, plan.capacity}, f32);
    Value pairs = shared({warps, plan.capacity}, i32);

    Value row = k.index(0), col = k.index(1);
    axes.rowValues = emitRow(k, values, {warp, row}, plan.axisLength);
    axes.colValues = emitRow(k, values, {warp, col}, plan.axisLength);
    axes.rowIds = emitRow(k, ids, {warp, row}, ranks);
    axes.colIds = emitRow(k, ids, {warp, col}, ranks);
    Value axis = k.bitToIndex(isCol);
    axisValues = emitRow(k, values, {warp, axis}, plan.axisLength);
    axisIds = emitRow(k, ids, {warp, axis}, ranks);
    keptSums = emitRow(k, sums, {warp}, plan.capacity);
    keptPairs = emitRow(k, pairs, {warp}, plan.capacity);

    Value tokens = memref::DimOp::create(k, op.getScores(), 0);
    k.loop(warp, tokens, warps, [&](Value token) {
      emitSortAxes(token);
      emitChoose(emitRow(k, op.getScores(), token, plan.topK),
                 emitRow(k, op.getExperts(), token, plan.topK));
      syncWarp(k);
    });
  }

private:
  //===--- Axes -----------------------------------------------------------===//

  /// The number of the entry that a lane loads into register `i`.
  Value entryOf(int64_t i) {
    int64_t base = i / access * access * kAxisLanes + i % access;
    return k.add(k.mul(axisLane, k.i32(access)), k.i32(base));
  }
  /// The least number that is beyond what all lanes load into register `i`.
  int64_t endOf(int64_t i) { return (i / access + 1) * access * kAxisLanes; }

  SmallVector<Value> loadAxis(Value logits, Value token, int64_t count) {
    SmallVector<Value> loaded;
    auto type = VectorType::get({access}, k.getF32Type());
    for (int64_t i = 0; i < registers; i += access) {
      bool whole = endOf(i) <= count;
      if (endOf(i) - access * kAxisLanes >= count) {
        loaded.append(access, lowest);
        continue;
      }
      Value entry = entryOf(i), valid;
      if (!whole) {
        valid = k.compare(Predicate::ult, entry, k.i32(count));
        entry = k.choose(valid, entry, k.i32(0));
      }
      Value vector = vector::LoadOp::create(
          k, type, logits, ValueRange{token, k.toIndex(entry)},
          /*nontemporal=*/false, llvm::MaybeAlign(4 * access));
      for (int64_t j = 0; j < access; ++j) {
        Value logit =
            vector::ExtractOp::create(k, vector, ArrayRef<int64_t>{j});
        logit = emitCleanLogit(k, logit);
        loaded.push_back(whole ? logit : k.choose(valid, logit, lowest));
      }
    }
    return loaded;
  }

  /// A number that may differ between the axes.
  Value ofAxis(int64_t row, int64_t col) {
    return row == col ? k.i32(row) : k.choose(isCol, k.i32(col), k.i32(row));
  }

  void storeSorted(ArrayRef<Value> sorted, Value memref, Value ofLane) {
    int64_t count = sorted.size();
    int64_t step = std::min(count, kAccessFloats);
    auto type = VectorType::get({step}, k.getF32Type());
    for (int64_t i = 0; i < count; i += step) {
      Value vector =
          vector::FromElementsOp::create(k, type, sorted.slice(i, step));
      Value at = k.add(k.mul(ofLane, k.i32(count)), k.i32(i));
      vector::StoreOp::create(k, vector, memref, k.toIndex(at),
                              /*nontemporal=*/false,
                              llvm::MaybeAlign(4 * step));
    }
  }

  /// Number of sorted values above `value`, counted up to `limit` - 1 at least.
  Value search(Value sorted, Value value, int64_t limit) {
    Value place = k.i32(0);
    for (int64_t step = llvm::PowerOf2Ceil(limit) / 2; step > 0; step /= 2) {
      Value probe = k.load(sorted, k.toIndex(k.add(place, step - 1)));
      Value above = arith::CmpFOp::create(k, FloatPredicate::OGT, probe, value);
      place = k.choose(above, k.add(place, step), place);
    }
    return place;
  }

  /// Whether two of the first `wanted` + 1 sorted values are equal; `count` is
  /// their number in all. Takes `lanes` lanes from `first` on.
  Value anyEqual(Value sorted, Value first, int64_t lanes, int64_t most,
                 Value wanted, Value count, int64_t length) {
    Value found = k.integer(k.getI1Type(), 0);
    for (int64_t i = 0; i < most; i += lanes) {
      Value at = k.add(first, i), next = k.add(at, 1);
      Value valid = k.both(k.compare(Predicate::slt, at, wanted),
                           k.compare(Predicate::slt, next, count));
      if (i + lanes >= length) {
        at = k.min(at, k.i32(length - 1));
        next = k.min(next, k.i32(length - 1));
      }
      Value equal = arith::CmpFOp::create(k, FloatPredicate::OEQ,
                                          k.load(sorted, k.toIndex(at)),
                                          k.load(sorted, k.toIndex(next)));
      found = k.either(found, k.both(valid, equal));
    }
    return anyLane(k, found);
  }

  void emitSortAxes(Value token) {
    SmallVector<Type> types(registers, k.getF32Type());
    SmallVector<Value> logits = llvm::to_vector_of<Value>(k.branch(
        types, isCol,
        [&] { return loadAxis(op.getColLogits(), token, plan.numCols); },
        [&] { return loadAxis(op.getRowLogits(), token, plan.numRows); }));
    SmallVector<Value> sorted(logits);
    sortInRegisters(k, sorted, lane, kAxisLanes);
    storeSorted(sorted, axisValues, axisLane);
    syncWarp(k);

    Value wanted = ofAxis(plan.rows, plan.cols);
    Value count = ofAxis(plan.numRows, plan.numCols);
    Value last = k.load(axisValues, k.toIndex(k.sub(wanted, 1)));
    int64_t shortAxis = std::min(plan.numRows, plan.numCols);
    int64_t longAxis = std::max(plan.numRows, plan.numCols);
    // Calls `body` with each entry that is among the best, the condition that
    // it is, and its place if no other is equal.
    auto forEachBest =
        [&](llvm::function_ref<void(int64_t, Value, Value, Value)> body) {
          for (auto [i, logit] : llvm::enumerate(logits)) {
            if (endOf(i) - access * kAxisLanes >= longAxis)
              break;
            Value entry = entryOf(i);
            Value best =
                arith::CmpFOp::create(k, FloatPredicate::OGE, logit, last);
            if (endOf(i) > shortAxis)
              best = k.both(best, k.compare(Predicate::slt, entry, count));
            body(i, entry, best, search(axisValues, logit, ranks));
          }
        };
    Value tied = anyEqual(axisValues, axisLane, kAxisLanes, ranks, wanted,
                          count, plan.axisLength);
    k.when(
        tied, [&] { emitTiedIds(forEachBest, wanted); },
        [&] {
          forEachBest([&](int64_t, Value entry, Value best, Value place) {
            k.when(best, [&] { k.store(entry, axisIds, k.toIndex(place)); });
          });
        });
    syncWarp(k);
  }

  /// Sorts once more by (place, entry), which floats hold exactly.
  template <typename ForEachBest>
  void emitTiedIds(ForEachBest forEachBest, Value wanted) {
    SmallVector<Value> order(registers, lowest);
    forEachBest([&](int64_t i, Value entry, Value best, Value place) {
      Value number = k.add(k.mul(place, k.i32(plan.axisLength)), entry);
      Value negative = k.sub(k.i32(0), number);
      order[i] = k.choose(
          best, arith::SIToFPOp::create(k, k.getF32Type(), negative), lowest);
    });
    sortInRegisters(k, order, lane, kAxisLanes);
    for (auto [i, number] : llvm::enumerate(order)) {
      Value place = k.add(k.mul(axisLane, k.i32(registers)), int64_t(i));
      k.when(k.compare(Predicate::slt, place, wanted), [&] {
        Value negative = arith::FPToSIOp::create(k, k.getI32Type(), number);
        Value entry =
            k.both(k.sub(k.i32(0), negative), k.i32(plan.axisLength - 1));
        k.store(entry, axisIds, k.toIndex(place));
      });
    }
  }

  //===--- Candidates -----------------------------------------------------===//

  void emitChoose(Value scores, Value experts) {
    ThreadTeam team(k, lane, kWarp, /*partials=*/nullptr);
    RouteCandidates candidates(k, plan, team, axes);
    Threshold low;
    Value tied;
    if (plan.candidates <= plan.capacity) {
      // Any key will do for all of them.
      low = {candidates.key(lowest), k.i32(plan.candidates)};
      tied = emitSortAll(candidates, scores, experts);
    } else {
      low =
          candidates.raise({candidates.lowerBound(), k.i32(-1)}, plan.capacity);
      Value tooMany =
          k.compare(Predicate::sgt, low.count, k.i32(plan.capacity));
      tied = k.branch(
          k.getI1Type(), tooMany,
          [&]() -> SmallVector<Value> { return {tooMany}; },
          [&]() -> SmallVector<Value> {
            return {emitSortReaching(candidates, team, low, scores, experts)};
          })[0];
    }
    k.when(tied, [&] {
      syncWarp(k);
      emitExactChoice(k, plan, team, candidates, axes, low, keptSums, keptPairs,
                      scores, experts);
    });
  }

  /// Sorts all candidates. Returns whether ties are in the way; otherwise the
  /// results are written.
  Value emitSortAll(RouteCandidates &candidates, Value scores, Value experts) {
    SmallVector<int32_t> pairs;
    for (int64_t row = 0; row < plan.rows; ++row)
      for (int64_t col = 0; col < std::min(plan.topK / (row + 1), plan.cols);
           ++col)
        pairs.push_back(row * plan.cols + col);
    pairs.resize(plan.capacity, 0);
    Value table = emitTable(k, "route_pairs", pairs);
    SmallVector<Value> sums, pairOf;
    for (int64_t i = 0; i < plan.capacity; i += kWarp) {
      Value at = k.add(lane, i);
      pairOf.push_back(k.load(table, k.toIndex(at)));
      auto [row, col] = candidates.ranks(pairOf.back());
      Value sum = candidates.sum(row, col);
      if (i + kWarp > plan.candidates)
        sum = k.choose(k.compare(Predicate::slt, at, k.i32(plan.candidates)),
                       sum, lowest);
      sums.push_back(sum);
    }
    return emitSortAndWrite(
        candidates, sums, k.i32(plan.candidates),
        [&](int64_t i) { return pairOf[i]; }, scores, experts);
  }

  /// The same of the candidates that reach a threshold.
  Value emitSortReaching(RouteCandidates &candidates, ThreadTeam &team,
                         Threshold low, Value scores, Value experts) {
    Value below = k.sub(arith::ShLIOp::create(k, k.i32(1), lane), 1);
    candidates.forEachReaching(
        candidates.value(low.key), k.i32(0),
        [&](Value row, Value col, Value sum, Value reached,
            ValueRange place) -> SmallVector<Value> {
          Value bits = ballot(k, reached);
          Value at =
              k.toIndex(k.add(place[0], countBits(k, k.both(bits, below))));
          k.when(reached, [&] {
            k.store(sum, keptSums, at);
            k.store(candidates.pair(row, col), keptPairs, at);
          });
          return {k.add(place[0], countBits(k, bits))};
        });
    syncWarp(k);
    SmallVector<Value> sums;
    for (int64_t i = 0; i < plan.capacity; i += kWarp) {
      Value at = k.add(lane, i);
      Value sum = k.load(keptSums, k.toIndex(at));
      if (i + kWarp > plan.topK)
        sum = k.choose(k.compare(Predicate::slt, at, low.count), sum, lowest);
      sums.push_back(sum);
    }
    syncWarp(k);
    return emitSortAndWrite(
        candidates, sums, low.count,
        [&](int64_t i) {
          return k.load(keptPairs, k.toIndex(k.add(lane, i * kWarp)));
        },
        scores, experts);
  }

  Value emitSortAndWrite(RouteCandidates &candidates, ArrayRef<Value> sums,
                         Value count, llvm::function_ref<Value(int64_t)> pairOf,
                         Value scores, Value experts) {
    SmallVector<Value> sorted(sums);
    sortInRegisters(k, sorted, lane, kWarp);
    storeSorted(sorted, keptSums, lane);
    syncWarp(k);
    Value wanted = k.i32(plan.topK);
    Value tied = anyEqual(keptSums, lane, kWarp, plan.topK, wanted, count,
                          plan.capacity);
    Value clear = k.compare(Predicate::eq, tied, k.integer(k.getI1Type(), 0));
    k.when(clear, [&] {
      Value last = k.load(keptSums, k.index(plan.topK - 1));
      for (auto [i, sum] : llvm::enumerate(sums)) {
        Value chosen = arith::CmpFOp::create(k, FloatPredicate::OGE, sum, last);
        Value exists =
            k.compare(Predicate::slt, k.add(lane, int64_t(i) * kWarp), count);
        k.when(k.both(chosen, exists), [&] {
          auto [row, col] = candidates.ranks(pairOf(i));
          k.store(candidates.expert(row, col), experts,
                  k.toIndex(search(keptSums, sum, plan.topK)));
        });
      }
      k.loop(lane, wanted, k.i32(kWarp), [&](Value i) {
        k.store(k.load(keptSums, k.toIndex(i)), scores, k.toIndex(i));
      });
    });
    return tied;
  }

  KernelBuilder &k;
  RouteOp op;
  const RoutePlan &plan;
  int64_t registers; // of a lane that hold an axis
  int64_t ranks;     // the more of rows and columns that take part
  int64_t access;    // logits that a lane loads at a time
  Value lane, warp, isCol, axisLane, lowest;
  SortedAxes axes;
  Value axisValues, axisIds; // of the lane's own axis
  Value keptSums, keptPairs;
};

} // namespace

void omnimoe::emitRouteByWarps(KernelBuilder &k, RouteOp op,
                               const RoutePlan &plan, Value threadId) {
  RouteByWarps(k, op, plan, threadId).emit();
}
