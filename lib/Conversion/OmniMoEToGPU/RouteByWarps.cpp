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
/// Registers of a lane that hold entries, of an axis or candidates, from before
/// they are sorted until their places are searched. More are read again.
static constexpr int64_t kMaxHeldRegisters = 8;
/// Candidates that a warp may hold in registers while it looks for a threshold.
static constexpr int64_t kMaxHeld = 16 * kWarp;
/// Searches that a lane has under way at a time. A barrier of the warp, which
/// is free where lanes run together, keeps the assembler from overlapping more
/// at the cost of registers.
static constexpr int64_t kSearchesAtOnce = 4;
/// Lines of candidates that a warp walks along at a time.
static constexpr int64_t kLinesAtOnce = 4;
/// Sorts put the highest first; this minus a number puts the lowest first.
static constexpr int64_t kLast = std::numeric_limits<int32_t>::max();

/// Room for so many entries and a spare one for each lane.
static int64_t withSpare(int64_t entries) {
  return llvm::alignTo(entries, kAccessFloats) + kWarp;
}

namespace {

class RouteByWarps {
public:
  RouteByWarps(KernelBuilder &k, RouteOp op, const RoutePlan &plan,
               Value threadId)
      : k(k), op(op), plan(plan), registers(plan.axisLength / kAxisLanes),
        ranks(std::max(plan.rows, plan.cols)) {
    warpLane = k.both(k.toI32(threadId), k.i32(kWarp - 1));
    warp = arith::ShRUIOp::create(k, threadId, k.index(llvm::Log2_64(kWarp)));
    lowest = k.real(k.getF32Type(), -std::numeric_limits<double>::infinity());
    bool aligned =
        plan.numRows % kAccessFloats == 0 && plan.numCols % kAccessFloats == 0;
    access = aligned ? std::min(registers, kAccessFloats) : 1;
  }

  void emit(bool one) {
    auto launch = op->getParentOfType<gpu::LaunchOp>();
    auto shared = [&](ArrayRef<int64_t> shape, Type element) -> Value {
      auto space = gpu::AddressSpaceAttr::get(k.getContext(),
                                              gpu::AddressSpace::Workgroup);
      auto type =
          MemRefType::get(shape, element, MemRefLayoutAttrInterface(), space);
      return launch.addWorkgroupAttribution(type, op.getLoc());
    };
    // One buffer of floats and one of integers, so that a warp keeps two
    // addresses in registers and not one for each part.
    int64_t warps = plan.tokensPerBlock;
    int64_t rankRoom = withSpare(ranks), sumRoom = withSpare(plan.capacity);
    int64_t pairRoom = withSpare(plan.pairRoom());
    int64_t winnerRoom = withSpare(plan.topK);
    int64_t keptAt = 2 * plan.axisLength, winnersAt = keptAt + sumRoom;
    Value floats = shared({warps, winnersAt + winnerRoom}, k.getF32Type());
    int64_t pairsAt = 2 * rankRoom, winnerIdsAt = pairsAt + pairRoom;
    Value integers = shared({warps, winnerIdsAt + winnerRoom}, k.getI32Type());

    Value tokens = memref::DimOp::create(k, op.getScores(), 0);
    auto emitOne = [&](Value token, Value laneOfWarp) {
      lane = laneOfWarp;
      isCol = k.compare(Predicate::uge, lane, k.i32(kAxisLanes));
      axisLane = k.both(lane, k.i32(kAxisLanes - 1));

      auto floatsAt = [&](OpFoldResult offset, int64_t size) {
        return emitPart(k, floats, warp, offset, size);
      };
      auto integersAt = [&](OpFoldResult offset, int64_t size) {
        return emitPart(k, integers, warp, offset, size);
      };
      auto constant = [&](int64_t value) { return k.getIndexAttr(value); };
      axes = {floatsAt(constant(0), plan.axisLength),
              integersAt(constant(0), rankRoom),
              floatsAt(constant(plan.axisLength), plan.axisLength),
              integersAt(constant(rankRoom), rankRoom)};
      auto ofAxis = [&](int64_t size) {
        return k.choose(isCol, k.index(size), k.index(0));
      };
      axisValues = floatsAt(ofAxis(plan.axisLength), plan.axisLength);
      axisIds = integersAt(ofAxis(rankRoom), rankRoom);
      keptSums = floatsAt(constant(keptAt), sumRoom);
      keptPairs = integersAt(constant(pairsAt), pairRoom);
      winnerSums = floatsAt(constant(winnersAt), winnerRoom);
      winnerIds = integersAt(constant(winnerIdsAt), winnerRoom);
      emitSortAxes(token);
      emitChoose(
          emitPart(k, op.getScores(), token, k.getIndexAttr(0), plan.topK),
          emitPart(k, op.getExperts(), token, k.getIndexAttr(0), plan.topK));
      syncWarp(k);
    };
    if (one) {
      k.when(k.compare(Predicate::slt, warp, tokens),
             [&] { emitOne(warp, warpLane); });
      return;
    }
    k.loop(warp, tokens, warps, [&](Value token) {
      // What hangs on the lane alone would be moved out of the loop and fill
      // the registers from there.
      emitOne(token, k.both(keepInLoop(k, warpLane), k.i32(kWarp - 1)));
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

  /// Stores at `place` or, if not `condition`, at the lane's spare place behind
  /// the `room` of the others: no branch keeps the searches of several entries
  /// from overlapping.
  void storeIf(Value condition, Value value, Value memref, Value place,
               int64_t room) {
    Value spare = k.add(lane, llvm::alignTo(room, kAccessFloats));
    k.store(value, memref, k.toIndex(k.choose(condition, place, spare)));
  }

  /// A number that may differ between the axes.
  Value ofAxis(int64_t row, int64_t col) {
    return row == col ? k.i32(row) : k.choose(isCol, k.i32(col), k.i32(row));
  }

  /// Stores the first `wanted` places, and some, of what `sortInRegisters`
  /// left.
  void storeSorted(ArrayRef<Value> sorted, Value memref, Value ofLane,
                   int64_t lanes, int64_t wanted) {
    int64_t count = sorted.size();
    int64_t step = std::min(count, kAccessFloats);
    auto type = VectorType::get({step}, k.getF32Type());
    for (int64_t i = 0; i < count; i += step) {
      Value at = k.add(k.mul(ofLane, k.i32(count)), k.i32(i));
      auto store = [&] {
        Value vector =
            vector::FromElementsOp::create(k, type, sorted.slice(i, step));
        vector::StoreOp::create(k, vector, memref, k.toIndex(at),
                                /*nontemporal=*/false,
                                llvm::MaybeAlign(4 * step));
      };
      if (wanted >= count * lanes)
        store();
      else
        k.when(k.compare(Predicate::slt, at, k.i32(wanted)), store);
    }
  }

  /// Number of sorted values above `value`, one of the first `wanted`, of which
  /// `length` are there.
  Value search(Value sorted, Value value, int64_t wanted, int64_t length) {
    Value place = k.i32(0);
    int64_t width = llvm::PowerOf2Ceil(wanted);
    for (int64_t step = width / 2; step > 0; step /= 2) {
      Value at = k.add(place, step - 1);
      if (width - 2 >= length)
        at = k.min(at, k.i32(length - 1));
      Value above = arith::CmpFOp::create(k, FloatPredicate::OGT,
                                          k.load(sorted, k.toIndex(at)), value);
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

  /// An entry of an axis that may be among its best: its number, whether it is,
  /// and its place if no other is equal.
  struct AxisEntry {
    Value number, isBest, place;
  };
  using AxisBody = llvm::function_ref<void(int64_t, const AxisEntry &)>;

  void emitSortAxes(Value token) {
    SmallVector<Type> types(registers, k.getF32Type());
    SmallVector<Value> logits = llvm::to_vector_of<Value>(k.branch(
        types, isCol,
        [&] { return loadAxis(op.getColLogits(), token, plan.numCols); },
        [&] { return loadAxis(op.getRowLogits(), token, plan.numRows); }));
    SmallVector<Value> sorted(logits);
    sortInRegisters(k, sorted, lane, kAxisLanes);
    storeSorted(sorted, axisValues, axisLane, kAxisLanes, plan.axisLength);
    syncWarp(k);

    Value wanted = ofAxis(plan.rows, plan.cols);
    Value count = ofAxis(plan.numRows, plan.numCols);
    Value last = k.load(axisValues, k.toIndex(k.sub(wanted, 1)));
    auto emitEntry = [&](Value number, Value logit, bool exists) -> AxisEntry {
      Value best = arith::CmpFOp::create(k, FloatPredicate::OGE, logit, last);
      if (!exists)
        best = k.both(best, k.compare(Predicate::slt, number, count));
      return {number, best, search(axisValues, logit, ranks, plan.axisLength)};
    };
    int64_t shortAxis = std::min(plan.numRows, plan.numCols);
    int64_t longAxis = std::max(plan.numRows, plan.numCols);
    auto forEachHeld = [&](AxisBody body) {
      for (auto [i, logit] : llvm::enumerate(logits)) {
        if (endOf(i) - access * kAxisLanes >= longAxis)
          break;
        if (i % kSearchesAtOnce == 0)
          syncWarp(k);
        body(i, emitEntry(entryOf(i), logit, endOf(i) <= shortAxis));
      }
    };
    // Reads the logits once more rather than to hold so many.
    auto forEachInMemory = [&](AxisBody body) {
      int64_t step = kSearchesAtOnce * kAxisLanes;
      k.loop(k.i32(0), k.i32(longAxis), k.i32(step), [&](Value first) {
        SmallVector<Value> numbers;
        for (int64_t i = 0; i < kSearchesAtOnce; ++i)
          numbers.push_back(k.add(k.add(first, axisLane), i * kAxisLanes));
        auto reload = [&](Value logits, int64_t length) {
          SmallVector<Value> loaded;
          for (Value number : numbers)
            loaded.push_back(emitCleanLogit(
                k,
                k.load(logits,
                       {token, k.toIndex(k.min(number, k.i32(length - 1)))})));
          return loaded;
        };
        types.resize(kSearchesAtOnce);
        ResultRange again = k.branch(
            types, isCol,
            [&] { return reload(op.getColLogits(), plan.numCols); },
            [&] { return reload(op.getRowLogits(), plan.numRows); });
        for (auto [number, logit] : llvm::zip(numbers, again))
          body(-1, emitEntry(number, logit, /*exists=*/false));
      });
    };
    auto forEachEntry = [&](AxisBody body) {
      holdsAxis() ? forEachHeld(body) : forEachInMemory(body);
    };
    Value tied = anyEqual(axisValues, axisLane, kAxisLanes, ranks, wanted,
                          count, plan.axisLength);
    k.when(
        tied, [&] { emitTiedIds(forEachEntry, wanted); },
        [&] {
          forEachEntry([&](int64_t, const AxisEntry &entry) {
            storeIf(entry.isBest, entry.number, axisIds, entry.place, ranks);
          });
        });
    syncWarp(k);
  }

  bool holdsAxis() const { return registers <= kMaxHeldRegisters; }

  /// Sorts once more, by (place, number) ascending.
  void emitTiedIds(llvm::function_ref<void(AxisBody)> forEachEntry,
                   Value wanted) {
    SmallVector<Value> order(registers, k.i32(-1));
    int64_t longAxis = std::max(plan.numRows, plan.numCols);
    Value first = k.choose(isCol, k.i32(plan.axisLength), k.i32(0));
    forEachEntry([&](int64_t i, const AxisEntry &entry) {
      Value number =
          k.add(k.mul(entry.place, k.i32(plan.axisLength)), entry.number);
      Value reversed =
          k.choose(entry.isBest, k.sub(k.i32(kLast), number), k.i32(-1));
      if (holdsAxis())
        order[i] = reversed;
      else
        k.store(reversed, keptPairs, k.toIndex(k.add(first, entry.number)));
    });
    syncWarp(k);
    for (int64_t i = 0; !holdsAxis() && i * kAxisLanes < longAxis; ++i) {
      Value at = k.add(k.add(first, axisLane), i * kAxisLanes);
      order[i] = k.load(keptPairs, k.toIndex(at));
    }
    sortInRegisters(k, order, lane, kAxisLanes);
    for (auto [i, reversed] : llvm::enumerate(order)) {
      Value place = k.add(k.mul(axisLane, k.i32(registers)), int64_t(i));
      Value number = k.sub(k.i32(kLast), reversed);
      storeIf(k.compare(Predicate::slt, place, wanted),
              k.both(number, k.i32(plan.axisLength - 1)), axisIds, place,
              ranks);
    }
  }

  //===--- Candidates -----------------------------------------------------===//

  void emitChoose(Value scores, Value experts) {
    ThreadTeam team(k, lane, kWarp, /*partials=*/nullptr);
    RouteCandidates candidates(k, plan, team, axes);
    bool sortsAll = plan.candidates <= plan.capacity;
    if (sortsAll && holdsCandidates()) {
      Threshold all = {candidates.key(lowest), k.i32(plan.candidates)};
      Value tied = emitSortAndWrite(candidates, emitHold(candidates), all.count,
                                    scores, experts);
      emitExactlyIf(tied, team, candidates, all, scores, experts);
      return;
    }
    Threshold low;
    Held held;
    if (sortsAll) {
      low = {candidates.key(lowest), k.i32(plan.candidates)};
    } else if (plan.candidates <= kMaxHeld) {
      held = emitHold(candidates);
      low =
          candidates.raise({candidates.lowerBound(), k.i32(-1)}, plan.capacity,
                           [&](Value limit) { return countHeld(held, limit); });
    } else {
      low =
          candidates.raise({candidates.lowerBound(), k.i32(-1)}, plan.capacity);
    }
    Value tooMany = k.compare(Predicate::sgt, low.count, k.i32(plan.capacity));
    Value tied = k.branch(
        k.getI1Type(), tooMany,
        [&]() -> SmallVector<Value> { return {tooMany}; },
        [&]() -> SmallVector<Value> {
          Value limit = candidates.value(low.key);
          if (held.sums.empty())
            emitKeepReaching(candidates, limit);
          else
            emitKeepHeld(held, limit);
          syncWarp(k);
          Held kept = loadKept(low.count);
          syncWarp(k);
          return {
              emitSortAndWrite(candidates, kept, low.count, scores, experts)};
        })[0];
    emitExactlyIf(tied, team, candidates, low, scores, experts);
  }

  void emitExactlyIf(Value tied, ThreadTeam &team, RouteCandidates &candidates,
                     Threshold low, Value scores, Value experts) {
    k.when(tied, [&] {
      syncWarp(k);
      emitExactChoice(k, plan, team, candidates, axes, low, keptSums, keptPairs,
                      scores, experts);
    });
  }

  /// Candidates in registers: entry i of lane l is number i * 32 + l. Pairs may
  /// be left in memory.
  struct Held {
    SmallVector<Value> sums, pairs;
    Value pairTable;
  };

  /// All candidates, from a table of their pairs.
  Held emitHold(RouteCandidates &candidates) {
    SmallVector<int32_t> pairs;
    for (int64_t row = 0; row < plan.rows; ++row)
      for (int64_t col = 0; col < std::min(plan.topK / (row + 1), plan.cols);
           ++col)
        pairs.push_back(row * plan.cols + col);
    int64_t length = plan.candidates <= plan.capacity
                         ? plan.capacity
                         : llvm::alignTo(plan.candidates, kWarp);
    pairs.resize(length, 0);
    Value table = emitTable(k, "route_pairs", pairs);
    Held held;
    held.pairTable = table;
    for (int64_t i = 0; i < length; i += kWarp) {
      Value at = k.add(lane, i);
      Value pair = k.load(table, k.toIndex(at));
      auto [row, col] = candidates.ranks(pair);
      Value sum = candidates.sum(row, col);
      if (i + kWarp > plan.candidates)
        sum = k.choose(k.compare(Predicate::slt, at, k.i32(plan.candidates)),
                       sum, lowest);
      held.sums.push_back(sum);
      held.pairs.push_back(pair);
    }
    return held;
  }

  /// Whether register `i` of held candidates is one that reaches `limit`.
  Value reaches(const Held &held, int64_t i, Value limit) {
    Value reached =
        arith::CmpFOp::create(k, FloatPredicate::OGE, held.sums[i], limit);
    if ((i + 1) * kWarp <= plan.candidates)
      return reached;
    return k.both(reached, k.compare(Predicate::slt, k.add(lane, i * kWarp),
                                     k.i32(plan.candidates)));
  }

  Value countHeld(const Held &held, Value limit) {
    Value count = k.i32(0);
    for (size_t i = 0; i < held.sums.size(); ++i)
      count = k.add(count, arith::ExtUIOp::create(k, k.getI32Type(),
                                                  reaches(held, i, limit)));
    return sumLanes(k, count);
  }

  /// Appends what is reached to the kept candidates, of which there are
  /// `count`; returns their number.
  Value emitKeep(Value reached, Value sum, Value pair, Value count) {
    Value below = k.sub(arith::ShLIOp::create(k, k.i32(1), lane), 1);
    Value bits = ballot(k, reached);
    Value place = k.add(count, countBits(k, k.both(bits, below)));
    storeIf(reached, sum, keptSums, place, plan.capacity);
    storeIf(reached, pair, keptPairs, place, plan.capacity);
    return k.add(count, countBits(k, bits));
  }

  void emitKeepHeld(const Held &held, Value limit) {
    Value count = k.i32(0);
    for (size_t i = 0; i < held.sums.size(); ++i)
      count =
          emitKeep(reaches(held, i, limit), held.sums[i], held.pairs[i], count);
  }

  void emitKeepReaching(RouteCandidates &candidates, Value limit) {
    candidates.forEachReaching(
        limit, k.i32(0),
        [&](Value row, Value col, Value sum, Value reached,
            ValueRange count) -> SmallVector<Value> {
          return {emitKeep(reached, sum, candidates.pair(row, col), count[0])};
        },
        kLinesAtOnce);
  }

  Held loadKept(Value count) {
    Held kept;
    for (int64_t i = 0; i < plan.capacity; i += kWarp) {
      Value at = k.add(lane, i);
      Value sum = k.load(keptSums, k.toIndex(at));
      Value pair;
      if (holdsCandidates())
        pair = k.load(keptPairs, k.toIndex(at));
      if (i + kWarp > plan.topK) {
        Value exists = k.compare(Predicate::slt, at, count);
        sum = k.choose(exists, sum, lowest);
        if (pair)
          pair = k.choose(exists, pair, k.i32(0));
      }
      kept.sums.push_back(sum);
      kept.pairs.push_back(pair);
    }
    return kept;
  }

  bool holdsCandidates() const {
    return plan.capacity <= kMaxHeldRegisters * kWarp;
  }

  /// A candidate: its number, whether it is chosen, its place if no other is
  /// equal, and its expert.
  struct Winner {
    Value number, isChosen, place, expert;
  };
  using WinnerBody = llvm::function_ref<void(int64_t, const Winner &)>;

  /// Sorts candidates and writes the results, unless rounding has a say in the
  /// order of ties: then returns true.
  Value emitSortAndWrite(RouteCandidates &candidates, const Held &held,
                         Value count, Value scores, Value experts) {
    SmallVector<Value> sorted(held.sums);
    sortInRegisters(k, sorted, lane, kWarp);
    storeSorted(sorted, winnerSums, lane, kWarp, plan.topK + 1);
    syncWarp(k);
    Value wanted = k.i32(plan.topK);
    Value tied = anyEqual(winnerSums, lane, kWarp, plan.topK, wanted, count,
                          plan.topK + 1);
    Value last = k.load(winnerSums, k.index(plan.topK - 1));
    auto emitWinner = [&](Value number, Value sum, Value pair) -> Winner {
      Value exists = k.compare(Predicate::slt, number, count);
      Value reached = arith::CmpFOp::create(k, FloatPredicate::OGE, sum, last);
      auto [row, col] = candidates.ranks(k.choose(exists, pair, k.i32(0)));
      return {number, k.both(exists, reached),
              search(winnerSums, sum, plan.topK, plan.topK + 1),
              candidates.expert(row, col)};
    };
    auto forEachHeld = [&](WinnerBody body) {
      for (auto [i, sum] : llvm::enumerate(held.sums)) {
        if (i % kSearchesAtOnce == 0)
          syncWarp(k);
        body(i,
             emitWinner(k.add(lane, int64_t(i) * kWarp), sum, held.pairs[i]));
      }
    };
    auto forEachInMemory = [&](WinnerBody body) {
      k.loop(k.i32(0), count, k.i32(kSearchesAtOnce * kWarp), [&](Value first) {
        for (int64_t i = 0; i < kSearchesAtOnce; ++i) {
          Value number = k.add(k.add(first, lane), i * kWarp);
          Value at = k.toIndex(number);
          body(-1,
               emitWinner(number, k.load(keptSums, at), k.load(keptPairs, at)));
        }
      });
    };
    auto forEachCandidate = [&](WinnerBody body) {
      holdsCandidates() ? forEachHeld(body) : forEachInMemory(body);
    };
    Value exactly = k.branch(
        k.getI1Type(), tied,
        [&]() -> SmallVector<Value> {
          return {emitTiedWinners(candidates, count, forEachCandidate)};
        },
        [&]() -> SmallVector<Value> {
          forEachCandidate([&](int64_t, const Winner &winner) {
            storeIf(winner.isChosen, winner.expert, winnerIds, winner.place,
                    plan.topK);
          });
          return {tied};
        })[0];
    syncWarp(k);
    k.when(k.compare(Predicate::eq, exactly, k.integer(k.getI1Type(), 0)), [&] {
      k.loop(lane, wanted, k.i32(kWarp), [&](Value i) {
        Value at = k.toIndex(i);
        k.store(k.load(winnerSums, at), scores, at);
        k.store(k.load(winnerIds, at), experts, at);
      });
    });
    return exactly;
  }

  /// Sorts once more, by (place, expert) ascending, if these decide; otherwise
  /// returns true.
  Value emitTiedWinners(RouteCandidates &candidates, Value count,
                        llvm::function_ref<void(WinnerBody)> forEachCandidate) {
    int64_t idBits = llvm::Log2_64_Ceil(plan.numRows * plan.numCols);
    if (llvm::Log2_64_Ceil(plan.topK) + idBits > 31)
      return k.integer(k.getI1Type(), 1);
    Value rounded = candidates.mayRoundTogether();
    k.when(k.compare(Predicate::eq, rounded, k.integer(k.getI1Type(), 0)), [&] {
      SmallVector<Value> order(plan.capacity / kWarp);
      forEachCandidate([&](int64_t i, const Winner &winner) {
        Value number =
            k.either(arith::ShLIOp::create(k, winner.place, k.i32(idBits)),
                     winner.expert);
        Value reversed =
            k.choose(winner.isChosen, k.sub(k.i32(kLast), number), k.i32(-1));
        if (holdsCandidates())
          order[i] = reversed;
        else
          k.store(reversed, keptPairs, k.toIndex(winner.number));
      });
      syncWarp(k);
      if (!holdsCandidates())
        for (auto [i, reversed] : llvm::enumerate(order)) {
          Value at = k.add(lane, int64_t(i) * kWarp);
          reversed = k.choose(k.compare(Predicate::slt, at, count),
                              k.load(keptPairs, k.toIndex(at)), k.i32(-1));
        }
      sortInRegisters(k, order, lane, kWarp);
      for (auto [i, reversed] : llvm::enumerate(order)) {
        Value place = k.add(k.mul(lane, k.i32(order.size())), int64_t(i));
        Value number = k.sub(k.i32(kLast), reversed);
        storeIf(k.compare(Predicate::slt, place, k.i32(plan.topK)),
                k.both(number, k.i32((int64_t(1) << idBits) - 1)), winnerIds,
                place, plan.topK);
      }
    });
    return rounded;
  }

  KernelBuilder &k;
  RouteOp op;
  const RoutePlan &plan;
  int64_t registers; // of a lane that hold an axis
  int64_t ranks;     // the more of rows and columns that take part
  int64_t access;    // logits that a lane loads at a time
  Value warpLane, warp, lowest;
  Value lane, isCol, axisLane; // within the code of a token
  SortedAxes axes;
  Value axisValues, axisIds; // of the lane's own axis
  Value keptSums, keptPairs, winnerSums, winnerIds;
};

} // namespace

void omnimoe::emitRouteByWarps(KernelBuilder &k, RouteOp op,
                               const RoutePlan &plan, Value threadId,
                               bool one) {
  RouteByWarps(k, op, plan, threadId).emit(one);
}
