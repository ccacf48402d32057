//===- RouteCandidates.cpp - Pairs of ranks that can be in the top K ------===//

#include "BlockEmitter.h"

#include "Route.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;
using Predicate = arith::CmpIPredicate;

/// Chunks of 32 corners that the lower bound is taken over, at most.
static constexpr int64_t kMaxCornerChunks = 4;
/// How far a threshold is first raised towards the best sum: an eighth of the
/// way, which for most distributions leaves between K and 2 K candidates.
static constexpr int64_t kFirstShift = 3;

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

/// Flips all bits but the sign of negative floats, whose order is reversed; its
/// own inverse.
static Value emitTurn(KernelBuilder &k, Value bits) {
  Value sign = arith::ShRSIOp::create(k, bits, k.i32(31));
  return arith::XOrIOp::create(k, bits, k.both(sign, k.i32(0x7fffffff)));
}

Value RouteCandidates::key(Value value) {
  return emitTurn(k, arith::BitcastOp::create(k, k.getI32Type(), value));
}

Value RouteCandidates::value(Value key) {
  return arith::BitcastOp::create(k, k.getF32Type(), emitTurn(k, key));
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
    Value sumKey =
        key(sum(k.choose(exists, row, zero), k.choose(exists, col, zero)));
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

/// Each thread takes rows; sums along a row descend, so those that reach the
/// limit are found by bisection. Rows descend too: a warp stops at the first
/// that has none.
Value RouteCandidates::count(Value limit) {
  SmallVector<int32_t> lengths;
  for (int64_t row = 0; row < plan.rows; ++row)
    lengths.push_back(std::min(plan.topK / (row + 1), plan.cols));
  Value table = emitTable(k, "route_rows", lengths);
  Value rows = k.i32(plan.rows);
  ResultRange counted = k.loopWhile(
      ValueRange{team.rank(), k.i32(0), k.integer(k.getI1Type(), 1)},
      [&](ValueRange state) { return state[2]; },
      [&](ValueRange state) -> SmallVector<Value> {
        Value valid = k.compare(Predicate::slt, state[0], rows);
        Value row = k.choose(valid, state[0], k.i32(0));
        Value length = k.choose(valid, k.load(table, k.toIndex(row)), k.i32(0));
        Value reached = k.i32(0);
        for (int64_t step = llvm::PowerOf2Ceil(plan.cols + 1) / 2; step > 0;
             step /= 2) {
          Value next = k.add(reached, k.i32(step));
          Value last = k.sub(k.min(next, k.i32(plan.cols)), 1);
          Value reaches = arith::CmpFOp::create(k, arith::CmpFPredicate::OGE,
                                                sum(row, last), limit);
          Value inside = k.compare(Predicate::sle, next, length);
          reached = k.choose(k.both(reaches, inside), next, reached);
        }
        Value some = anyLane(k, k.compare(Predicate::sgt, reached, k.i32(0)));
        Value next = k.add(state[0], k.i32(team.size()));
        Value more = anyLane(k, k.compare(Predicate::slt, next, rows));
        return {next, k.add(state[1], reached), k.both(some, more)};
      });
  return team.sum(counted[1]);
}

Threshold RouteCandidates::raise(Threshold low, int64_t capacity) {
  Value wanted = k.i32(plan.topK), room = k.i32(capacity);
  Value high = key(sum(k.i32(0), k.i32(0)));
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
        Value reached = count(value(middle));
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
      [&]() -> SmallVector<Value> { return {count(value(keyFound))}; },
      [&]() -> SmallVector<Value> { return {countFound}; })[0];
  return {keyFound, known};
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
        Value rank = k.choose(isRow, line, k.sub(line, k.i32(side)));
        Value start = k.choose(isRow, zero, k.i32(side));
        Value end = k.load(table, k.toIndex(line));
        SmallVector<Value> state = {start,
                                    k.compare(Predicate::slt, start, end)};
        llvm::append_range(state, carried);
        ResultRange last = k.loopWhile(
            state, [&](ValueRange now) { return now[1]; },
            [&](ValueRange now) -> SmallVector<Value> {
              Value at = k.add(now[0], team.lane());
              Value valid = k.compare(Predicate::slt, at, end);
              at = k.choose(valid, at, zero);
              Value row = k.choose(isRow, rank, at);
              Value col = k.choose(isRow, at, rank);
              Value total = sum(row, col);
              Value reached = k.both(
                  valid, arith::CmpFOp::create(k, arith::CmpFPredicate::OGE,
                                               total, limit));
              Value next = k.add(now[0], k.i32(kWarp));
              Value more = k.both(anyLane(k, reached),
                                  k.compare(Predicate::slt, next, end));
              SmallVector<Value> result = {next, more};
              llvm::append_range(
                  result, body(row, col, total, reached, now.drop_front(2)));
              return result;
            });
        return llvm::to_vector_of<Value>(last.drop_front(2));
      });
}
