//===- RouteCandidates.cpp - Pairs of ranks that can be in the top K ------===//

#include "BlockEmitter.h"

#include "Route.h"
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
/// loads overlap.
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

/// Each thread takes rows, a few at a time; sums along a row descend, so those
/// that reach the limit are found by bisection. Rows descend too: a warp stops
/// once it finds none.
Value RouteCandidates::count(Value limit) {
  int64_t chunks = llvm::divideCeil(plan.rows, team.size());
  int64_t atOnce = std::min(chunks, kRowsAtOnce);
  int64_t step = atOnce * team.size();
  SmallVector<int32_t> lengths;
  for (int64_t row = 0; row < plan.rows; ++row)
    lengths.push_back(std::min(plan.topK / (row + 1), plan.cols));
  lengths.resize(llvm::alignTo(plan.rows, step), 0);
  Value table = emitTable(k, "route_rows", lengths);

  auto countRow = [&](Value at) {
    Value length = k.load(table, k.toIndex(at));
    Value row = k.min(at, k.i32(plan.rows - 1));
    Value reached = k.i32(0);
    for (int64_t jump = llvm::PowerOf2Ceil(plan.cols + 1) / 2; jump > 0;
         jump /= 2) {
      Value next = k.add(reached, jump);
      Value last = k.sub(k.min(next, k.i32(plan.cols)), 1);
      Value reaches = arith::CmpFOp::create(k, arith::CmpFPredicate::OGE,
                                            sum(row, last), limit);
      Value inside = k.compare(Predicate::sle, next, length);
      reached = k.choose(k.both(reaches, inside), next, reached);
    }
    return reached;
  };
  auto countRows = [&](Value first) {
    Value total = countRow(first);
    for (int64_t i = 1; i < atOnce; ++i)
      total = k.add(total, countRow(k.add(first, i * team.size())));
    return total;
  };
  if (chunks == atOnce)
    return team.sum(countRows(team.rank()));
  ResultRange counted = k.loopWhile(
      ValueRange{team.rank(), k.i32(0), k.integer(k.getI1Type(), 1)},
      [&](ValueRange state) { return state[2]; },
      [&](ValueRange state) -> SmallVector<Value> {
        Value found = countRows(state[0]);
        Value next = k.add(state[0], step);
        Value more = k.both(k.compare(Predicate::sgt, found, k.i32(0)),
                            k.compare(Predicate::slt, next,
                                      k.i32(llvm::alignTo(plan.rows, step))));
        return {next, k.add(state[1], found), anyLane(k, more)};
      });
  return team.sum(counted[1]);
}

Threshold RouteCandidates::raise(Threshold low, int64_t capacity,
                                 llvm::function_ref<Value(Value)> count) {
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
                                             Body body, int64_t atOnce) {
  int64_t step = atOnce * team.warps();
  SmallVector<int32_t> ends(llvm::alignTo(2 * side, step), 0);
  for (int64_t i = 0; i < side; ++i) {
    if (i < plan.rows)
      ends[i] = std::min(plan.topK / (i + 1), plan.cols);
    if (i < plan.cols)
      ends[side + i] = std::min(plan.topK / (i + 1), plan.rows);
  }
  Value table = emitTable(k, "route_lines", ends);
  Value zero = k.i32(0);
  struct Line {
    Value isRow, rank, start, end;
  };
  auto emitLine = [&](Value number) -> Line {
    Value isRow = k.compare(Predicate::slt, number, k.i32(side));
    return {isRow, k.choose(isRow, number, k.sub(number, side)),
            k.choose(isRow, zero, k.i32(side)),
            k.load(table, k.toIndex(number))};
  };
  return k.loop(
      team.warp(), k.i32(2 * side), k.i32(step), inits,
      [&](Value first, ValueRange carried) -> SmallVector<Value> {
        SmallVector<Line> lines;
        for (int64_t i = 0; i < atOnce; ++i)
          lines.push_back(emitLine(k.add(first, i * team.warps())));
        // How far along the lines, and whether there is more of them.
        SmallVector<Value> state = {zero, k.integer(k.getI1Type(), 1)};
        llvm::append_range(state, carried);
        ResultRange last = k.loopWhile(
            state, [&](ValueRange now) { return now[1]; },
            [&](ValueRange now) -> SmallVector<Value> {
              Value next = k.add(now[0], kWarp);
              Value offset = k.add(now[0], team.lane()), more;
              SmallVector<Value> values(now.drop_front(2));
              for (const Line &line : lines) {
                Value at = k.add(line.start, offset);
                Value valid = k.compare(Predicate::slt, at, line.end);
                at = k.choose(valid, at, zero);
                Value row = k.choose(line.isRow, line.rank, at);
                Value col = k.choose(line.isRow, at, line.rank);
                // A line that only fills the group up.
                row = k.min(row, k.i32(plan.rows - 1));
                col = k.min(col, k.i32(plan.cols - 1));
                Value total = sum(row, col);
                Value reached = k.both(
                    valid, arith::CmpFOp::create(k, arith::CmpFPredicate::OGE,
                                                 total, limit));
                Value goesOn = k.both(
                    reached, k.compare(Predicate::slt, k.add(line.start, next),
                                       line.end));
                more = more ? k.either(more, goesOn) : goesOn;
                values = body(row, col, total, reached, values);
              }
              SmallVector<Value> result = {next, anyLane(k, more)};
              llvm::append_range(result, values);
              return result;
            });
        return llvm::to_vector_of<Value>(last.drop_front(2));
      });
}
