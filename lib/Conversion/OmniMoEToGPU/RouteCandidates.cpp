//===- RouteCandidates.cpp - Pairs of ranks that can be in the top K ------===//

#include "BlockEmitter.h"

#include "Route.h"
#include "SortKeys.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::omnimoe;
using Predicate = arith::CmpIPredicate;

/// Chunks of 32 corners that the lower bound is taken over, at most.
static constexpr int64_t kMaxCornerChunks = 4;
/// How far a threshold is first raised towards the best sum: an eighth of the
/// way, which for most distributions leaves between K and 2 K candidates.
static constexpr int64_t kFirstShift = 3;
/// Rows that a thread searches at a time, so that their chains of dependent
/// loads overlap: all of them, or a few.
static constexpr int64_t kMaxRows = 16;
static constexpr int64_t kRowsAtOnce = 4;

RouteCandidates::RouteCandidates(KernelBuilder &k, const RoutePlan &plan,
                                 ThreadTeam &team, const SortedAxes &axes)
    : k(k), plan(plan), team(team), axes(axes), side(0) {
  while ((side + 1) * (side + 1) <= plan.topK)
    ++side;
}

Value RouteCandidates::sum(Value row, Value col) {
  Value sum = arith::AddFOp::create(k, k.load(axes.rowValues, k.toIndex(row)),
                                    k.load(axes.colValues, k.toIndex(col)));
  // Opposite infinities.
  Value lowest =
      k.real(k.getF32Type(), -std::numeric_limits<double>::infinity());
  return LLVM::MaxNumOp::create(k, sum, lowest);
}

Value RouteCandidates::expert(Value row, Value col) {
  Value first = k.mul(k.load(axes.rowIds, k.toIndex(row)), k.i32(plan.numCols));
  return k.add(first, k.load(axes.colIds, k.toIndex(col)));
}

Value RouteCandidates::pair(Value row, Value col) {
  return k.add(k.mul(row, k.i32(plan.cols)), col);
}

std::pair<Value, Value> RouteCandidates::ranks(Value pair) {
  Value row = arith::DivUIOp::create(k, pair, k.i32(plan.cols));
  return {row, k.sub(pair, k.mul(row, k.i32(plan.cols)))};
}

/// If a * b >= K, the pair (a, b) is reached by K pairs. Of these corners the
/// best is taken: those with a rank up to the root of K, by a lane each.
Value RouteCandidates::lowerBound() {
  int64_t root = side * side == plan.topK ? side : side + 1;
  int64_t chunks =
      std::min(llvm::divideCeil(root, kWarp), uint64_t(kMaxCornerChunks));
  Value best = k.i32(std::numeric_limits<int32_t>::min());
  auto consider = [&](Value row, Value col) {
    Value exists = k.both(k.compare(Predicate::slt, row, k.i32(plan.rows)),
                          k.compare(Predicate::slt, col, k.i32(plan.cols)));
    Value zero = k.i32(0);
    Value sumKey = emitOrderedBits(
        k, sum(k.choose(exists, row, zero), k.choose(exists, col, zero)));
    best = k.choose(exists, k.max(best, sumKey), best);
  };
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    Value rank = k.add(team.lane(), k.i32(chunk * kWarp));
    // ceil(K / (rank + 1)), from 0.
    Value other =
        arith::DivUIOp::create(k, k.i32(plan.topK - 1), k.add(rank, 1));
    consider(rank, other);
    consider(other, rank);
  }
  // The corner nearest to the diagonal, should all others lie outside.
  int64_t row = 0, col = 0;
  for (int64_t a = 1; a <= plan.rows; ++a) {
    int64_t b = llvm::divideCeil(plan.topK, a);
    if (b <= plan.cols && (row == 0 || a + b < row + col))
      row = a, col = b;
  }
  consider(k.i32(row - 1), k.i32(col - 1));
  return maxLanes(k, best);
}

/// How many candidates each row has; none behind the last row.
Value RouteCandidates::rowLengths() {
  SmallVector<int32_t> lengths;
  for (int64_t row = 0; row < plan.rows; ++row)
    lengths.push_back(std::min(plan.topK / (row + 1), plan.cols));
  lengths.resize(llvm::alignTo(plan.rows, kRowsAtOnce * team.size()), 0);
  return emitTable(k, "route_rows", lengths);
}

/// Sums along a row descend, so those that reach the limit are found by
/// bisection. The row is `first` or a later one.
Value RouteCandidates::countRow(Value lengths, Value row, int64_t first,
                                Value limit) {
  int64_t longest = std::min(plan.topK / (first + 1), plan.cols);
  Value length = k.load(lengths, k.toIndex(row));
  row = k.min(row, k.i32(plan.rows - 1));
  Value reached = k.i32(0);
  for (int64_t jump = llvm::PowerOf2Ceil(longest + 1) / 2; jump > 0;
       jump /= 2) {
    Value next = k.add(reached, jump);
    Value last = k.sub(k.min(next, k.i32(plan.cols)), 1);
    Value reaches = arith::CmpFOp::create(k, arith::CmpFPredicate::OGE,
                                          sum(row, last), limit);
    Value inside = k.compare(Predicate::sle, next, length);
    reached = k.choose(k.both(reaches, inside), next, reached);
  }
  return reached;
}

SmallVector<Value> RouteCandidates::countRows(Value limit) {
  Value lengths = rowLengths();
  SmallVector<Value> counts;
  for (int64_t first = 0; first < plan.rows; first += team.size())
    counts.push_back(
        countRow(lengths, k.add(team.rank(), first), first, limit));
  return counts;
}

Value RouteCandidates::count(Value limit) {
  auto addUp = [&](ArrayRef<Value> counts) {
    Value total = counts.front();
    for (Value count : counts.drop_front())
      total = k.add(total, count);
    return total;
  };
  if (plan.rows <= kMaxRows * team.size())
    return team.sum(addUp(countRows(limit)));
  // Rows descend too: a warp stops once it finds none.
  Value lengths = rowLengths();
  int64_t step = kRowsAtOnce * team.size();
  ResultRange counted = k.loopWhile(
      ValueRange{team.rank(), k.i32(0), k.integer(k.getI1Type(), 1)},
      [&](ValueRange state) { return state[2]; },
      [&](ValueRange state) -> SmallVector<Value> {
        SmallVector<Value> counts;
        for (int64_t i = 0; i < kRowsAtOnce; ++i)
          counts.push_back(countRow(lengths, k.add(state[0], i * team.size()),
                                    /*first=*/0, limit));
        Value found = addUp(counts), next = k.add(state[0], step);
        Value more = k.both(k.compare(Predicate::sgt, found, k.i32(0)),
                            k.compare(Predicate::slt, next,
                                      k.i32(llvm::alignTo(plan.rows, step))));
        return {next, k.add(state[1], found), anyLane(k, more)};
      });
  return team.sum(counted[1]);
}

Threshold RouteCandidates::raise(Threshold low, int64_t capacity) {
  Value wanted = k.i32(plan.topK), room = k.i32(capacity);
  Value high = emitOrderedBits(k, sum(k.i32(0), k.i32(0)));
  auto fits = [&](Value count) {
    return k.both(k.compare(Predicate::sge, count, wanted),
                  k.compare(Predicate::sle, count, room));
  };
  ResultRange found = k.loopWhile(
      ValueRange{low.key, high, low.count, k.i32(kFirstShift)},
      [&](ValueRange state) {
        Value open = k.compare(Predicate::slt, state[0], state[1]);
        Value done = fits(state[2]);
        return k.both(
            open, k.compare(Predicate::eq, done, k.integer(k.getI1Type(), 0)));
      },
      [&](ValueRange state) -> SmallVector<Value> {
        // Keys may lie more than 2^31 apart, half of that never.
        Value part =
            arith::ShRUIOp::create(k, k.sub(state[1], state[0]), state[3]);
        Value middle = k.add(state[0], k.max(part, k.i32(1)));
        Value reached = count(emitOrderedValue(k, middle));
        Value enough = k.compare(Predicate::sge, reached, wanted);
        Value shift = k.max(k.sub(state[3], 1), k.i32(1));
        return {k.choose(enough, middle, state[0]),
                k.choose(enough, state[1], k.sub(middle, 1)),
                k.choose(enough, reached, state[2]), shift};
      });
  Value keyFound = found[0], countFound = found[2];
  Value unknown = k.compare(Predicate::slt, countFound, k.i32(0));
  Value known = k.branch(
      k.getI32Type(), unknown,
      [&]() -> SmallVector<Value> {
        return {count(emitOrderedValue(k, keyFound))};
      },
      [&]() -> SmallVector<Value> { return {countFound}; })[0];
  return {keyFound, known};
}

/// Whether rounding may have joined two candidates out of the order of their
/// ids: only rows (or columns) next to each other whose ids descend and whose
/// gap is at most an ulp of the largest sum can be joined.
Value RouteCandidates::mayRoundTogether() {
  auto largest = [&](Value values, int64_t count) -> Value {
    Value best = k.load(values, k.index(0));
    Value worst = k.load(values, k.index(count - 1));
    return LLVM::MaxNumOp::create(k, math::AbsFOp::create(k, best),
                                  math::AbsFOp::create(k, worst));
  };
  // Twice the ulp, as the sums themselves are rounded. It is infinite if a
  // sum is, and then every gap counts.
  Value magnitude = arith::AddFOp::create(k, largest(axes.rowValues, plan.rows),
                                          largest(axes.colValues, plan.cols));
  Value ulps =
      arith::MulFOp::create(k, magnitude, k.real(k.getF32Type(), 0x1p-22));
  auto anyOf = [&](Value values, Value ids, int64_t count, Value found) {
    return k.loop(
        team.rank(), k.i32(count - 1), k.i32(team.size()), found,
        [&](Value i, ValueRange seen) -> SmallVector<Value> {
          Value at = k.toIndex(i), next = k.toIndex(k.add(i, 1));
          Value descends =
              k.compare(Predicate::sgt, k.load(ids, at), k.load(ids, next));
          Value gap = arith::SubFOp::create(k, k.load(values, at),
                                            k.load(values, next));
          // Unordered: the gap of two infinities counts.
          Value small =
              arith::CmpFOp::create(k, arith::CmpFPredicate::ULE, gap, ulps);
          Value both = k.both(descends, small);
          return {k.either(seen[0],
                           arith::ExtUIOp::create(k, k.getI32Type(), both))};
        })[0];
  };
  Value found = anyOf(axes.rowValues, axes.rowIds, plan.rows, k.i32(0));
  found = anyOf(axes.colValues, axes.colIds, plan.cols, found);
  return k.compare(Predicate::sgt, team.sum(found), k.i32(0));
}

/// The candidates lie under a hyperbola. Lines along its rows and, for what is
/// below the diagonal, along its columns keep the lanes of a warp busy; a line
/// ends once none of its sums reaches the limit.
ResultRange RouteCandidates::forEachReaching(Value limit, ValueRange inits,
                                             Body body) {
  SmallVector<int32_t> ends(2 * side, 0);
  for (int64_t i = 0; i < side; ++i) {
    if (i < plan.rows)
      ends[i] = std::min(plan.topK / (i + 1), plan.cols);
    if (i < plan.cols)
      ends[side + i] = std::min(plan.topK / (i + 1), plan.rows);
  }
  Value table = emitTable(k, "route_lines", ends);
  Value zero = k.i32(0);
  return k.loop(
      team.warp(), k.i32(2 * side), k.i32(team.warps()), inits,
      [&](Value line, ValueRange carried) -> SmallVector<Value> {
        Value isRow = k.compare(Predicate::slt, line, k.i32(side));
        Value rank = k.choose(isRow, line, k.sub(line, side));
        Value start = k.choose(isRow, zero, k.i32(side));
        Value end = k.load(table, k.toIndex(line));
        // How far along the line, and whether there is more of it.
        SmallVector<Value> state = {zero, k.integer(k.getI1Type(), 1)};
        llvm::append_range(state, carried);
        ResultRange last = k.loopWhile(
            state, [&](ValueRange now) { return now[1]; },
            [&](ValueRange now) -> SmallVector<Value> {
              Value next = k.add(now[0], kWarp);
              Value at = k.add(start, k.add(now[0], team.lane()));
              Value valid = k.compare(Predicate::slt, at, end);
              at = k.choose(valid, at, zero);
              // A line may lie outside and have no candidates.
              Value row =
                  k.min(k.choose(isRow, rank, at), k.i32(plan.rows - 1));
              Value col =
                  k.min(k.choose(isRow, at, rank), k.i32(plan.cols - 1));
              Value total = sum(row, col);
              Value reached = k.both(
                  valid, arith::CmpFOp::create(k, arith::CmpFPredicate::OGE,
                                               total, limit));
              Value goesOn = k.both(
                  reached, k.compare(Predicate::slt, k.add(start, next), end));
              SmallVector<Value> result = {next, anyLane(k, goesOn)};
              llvm::append_range(
                  result, body(row, col, total, reached, now.drop_front(2)));
              return result;
            });
        return llvm::to_vector_of<Value>(last.drop_front(2));
      });
}
