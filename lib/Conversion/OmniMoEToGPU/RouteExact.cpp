//===- RouteExact.cpp - The K best pairs under ties -----------------------===//
//
// Equal sums go by expert id. Rounding can make the sum of a pair equal to that
// of a pair which beats it in row and column and yet has a higher id; the
// latter must go first. So a pair's tie key is the highest id among itself and
// the pairs of equal sum that beat it, and what is still equal goes by row,
// then by column. Unless rounding joined two neighbours out of the order of
// their ids, the tie key is the id.
//
//  1. Find the K-th sum by bisection.
//  2. If more than K candidates reach it, find which of those that equal it
//     are in, by bisection on (tie key, pair).
//  3. Collect the K winners and sort them.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"

#include "Route.h"
#include "SortKeys.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;
using Predicate = arith::CmpIPredicate;
using FloatPredicate = arith::CmpFPredicate;

namespace {

class ExactChoice {
public:
  ExactChoice(KernelBuilder &k, const RoutePlan &plan, ThreadTeam &team,
              RouteCandidates &candidates, const SortedAxes &axes)
      : k(k), plan(plan), team(team), candidates(candidates), axes(axes) {}

  void emit(Threshold low, Value values, Value pairs, Value scores,
            Value experts) {
    rounded = candidates.mayRoundTogether();
    Threshold last = candidates.raise(low, plan.topK);
    Value limit = emitOrderedValue(k, last.key);
    Value lastTie = emitLastTie(last, limit);
    emitCollect(limit, lastTie, values, pairs);
    team.sync();
    sortInMemory(k, team, values, pairs, plan.topK,
                 [&](Value value, Value pair, Value other, Value otherPair) {
                   return emitPrecedes(value, pair, other, otherPair);
                 });
    team.forEach(k.i32(plan.topK), [&](Value i) {
      Value at = k.toIndex(i);
      auto [row, col] = candidates.ranks(k.load(pairs, at));
      k.store(k.load(values, at), scores, at);
      k.store(candidates.expert(row, col), experts, at);
    });
    team.sync();
  }

private:
  /// Walks from `rank` towards 0 while `equals(rank - 1)`, and returns the rank
  /// with the highest id on the way; takes no step if nothing was rounded.
  Value emitHighestId(Value rank, Value ids,
                      llvm::function_ref<Value(Value)> equals) {
    Value zero = k.i32(0);
    ResultRange walked = k.loopWhile(
        ValueRange{rank, rank},
        [&](ValueRange at) {
          Value inside = k.compare(Predicate::sgt, at[0], zero);
          Value before = k.max(k.sub(at[0], 1), zero);
          return k.both(k.both(rounded, inside), equals(before));
        },
        [&](ValueRange at) -> SmallVector<Value> {
          Value before = k.sub(at[0], 1);
          Value higher =
              k.compare(Predicate::sgt, k.load(ids, k.toIndex(before)),
                        k.load(ids, k.toIndex(at[1])));
          return {before, k.choose(higher, before, at[1])};
        });
    return walked[1];
  }

  /// Tie key of a pair, above the pair itself: an i64 that no other pair of the
  /// same sum has. A row that beats the pair with an equal sum does so in the
  /// pair's own column, so the highest id is in the row of the highest number.
  Value emitTie(Value row, Value col, Value sum) {
    auto isEqual = [&](Value a, Value b) -> Value {
      return arith::CmpFOp::create(k, FloatPredicate::OEQ, candidates.sum(a, b),
                                   sum);
    };
    Value bestRow = emitHighestId(
        row, axes.rowIds, [&](Value before) { return isEqual(before, col); });
    Value bestCol = emitHighestId(col, axes.colIds, [&](Value before) {
      return isEqual(bestRow, before);
    });
    Value id = candidates.expert(bestRow, bestCol);
    Type i64 = k.getI64Type();
    Value high = arith::ShLIOp::create(k, arith::ExtUIOp::create(k, i64, id),
                                       k.integer(i64, 32));
    return k.either(high,
                    arith::ExtUIOp::create(k, i64, candidates.pair(row, col)));
  }

  /// The highest tie key among the winners whose sum is the K-th.
  Value emitLastTie(Threshold last, Value limit) {
    Type i64 = k.getI64Type();
    Value all = k.integer(i64, std::numeric_limits<int64_t>::max());
    Value tied = k.compare(Predicate::sgt, last.count, k.i32(plan.topK));
    auto bisect = [&]() -> SmallVector<Value> {
      // No float lies between neighbouring keys.
      Value above = candidates.count(emitOrderedValue(k, k.add(last.key, 1)));
      Value wanted = k.sub(k.i32(plan.topK), above);
      ResultRange range = k.loopWhile(
          ValueRange{k.integer(i64, 0), all},
          [&](ValueRange state) {
            return k.compare(Predicate::slt, state[0], state[1]);
          },
          [&](ValueRange state) -> SmallVector<Value> {
            Value half = arith::ShRUIOp::create(k, k.sub(state[1], state[0]),
                                                k.integer(i64, 1));
            Value middle = k.add(state[0], half);
            Value reached = emitCountTies(limit, middle);
            Value enough = k.compare(Predicate::sge, reached, wanted);
            Value exact = k.compare(Predicate::eq, reached, wanted);
            Value low = k.choose(exact, middle, state[0]);
            return {k.choose(enough, low, k.add(middle, 1)),
                    k.choose(enough, middle, state[1])};
          });
      return {range[0]};
    };
    return k.branch(i64, tied, bisect,
                    [&]() -> SmallVector<Value> { return {all}; })[0];
  }

  Value isWinner(Value row, Value col, Value sum, Value limit, Value lastTie,
                 Value reached) {
    Value equal = k.both(
        reached, arith::CmpFOp::create(k, FloatPredicate::OEQ, sum, limit));
    return k.branch(
        k.getI1Type(), equal,
        [&]() -> SmallVector<Value> {
          return {k.compare(Predicate::sle, emitTie(row, col, sum), lastTie)};
        },
        [&]() -> SmallVector<Value> { return {reached}; })[0];
  }

  Value emitCountTies(Value limit, Value lastTie) {
    Value counted = candidates.forEachReaching(
        limit, k.i32(0),
        [&](Value row, Value col, Value sum, Value reached,
            ValueRange before) -> SmallVector<Value> {
          Value equal =
              k.both(reached,
                     arith::CmpFOp::create(k, FloatPredicate::OEQ, sum, limit));
          Value in = isWinner(row, col, sum, limit, lastTie, equal);
          return {
              k.add(before[0], arith::ExtUIOp::create(k, k.getI32Type(), in))};
        })[0];
    return team.sum(counted);
  }

  /// Writes the winners, in any order.
  void emitCollect(Value limit, Value lastTie, Value values, Value pairs) {
    auto winners = [&](Value row, Value col, Value sum, Value reached) {
      return isWinner(row, col, sum, limit, lastTie, reached);
    };
    Value start = k.i32(0);
    if (!team.isWarp()) {
      Value ofWarp = candidates.forEachReaching(
          limit, k.i32(0),
          [&](Value row, Value col, Value sum, Value reached,
              ValueRange before) -> SmallVector<Value> {
            Value bits = ballot(k, winners(row, col, sum, reached));
            return {k.add(before[0], countBits(k, bits))};
          })[0];
      start = team.sumOfWarpsBefore(ofWarp);
    }
    Value below = k.sub(arith::ShLIOp::create(k, k.i32(1), team.lane()), 1);
    candidates.forEachReaching(
        limit, start,
        [&](Value row, Value col, Value sum, Value reached,
            ValueRange place) -> SmallVector<Value> {
          Value in = winners(row, col, sum, reached);
          Value bits = ballot(k, in);
          Value at =
              k.toIndex(k.add(place[0], countBits(k, k.both(bits, below))));
          k.when(in, [&] {
            k.store(sum, values, at);
            k.store(candidates.pair(row, col), pairs, at);
          });
          return {k.add(place[0], countBits(k, bits))};
        });
  }

  Value emitPrecedes(Value value, Value pair, Value other, Value otherPair) {
    Value equal = arith::CmpFOp::create(k, FloatPredicate::OEQ, value, other);
    return k.branch(
        k.getI1Type(), equal,
        [&]() -> SmallVector<Value> {
          auto [row, col] = candidates.ranks(pair);
          auto [otherRow, otherCol] = candidates.ranks(otherPair);
          return {k.compare(Predicate::slt, emitTie(row, col, value),
                            emitTie(otherRow, otherCol, other))};
        },
        [&]() -> SmallVector<Value> {
          return {arith::CmpFOp::create(k, FloatPredicate::OGT, value, other)};
        })[0];
  }

  KernelBuilder &k;
  const RoutePlan &plan;
  ThreadTeam &team;
  RouteCandidates &candidates;
  const SortedAxes &axes;
  Value rounded;
};

} // namespace

void omnimoe::emitExactChoice(KernelBuilder &k, const RoutePlan &plan,
                              ThreadTeam &team, RouteCandidates &candidates,
                              const SortedAxes &axes, Threshold low,
                              Value values, Value pairs, Value scores,
                              Value experts) {
  ExactChoice(k, plan, team, candidates, axes)
      .emit(low, values, pairs, scores, experts);
}

void omnimoe::sortInMemory(KernelBuilder &k, ThreadTeam &team, Value values,
                           Value payloads, int64_t count, Precedes precedes) {
  // The sorter of registers, on memory: what lies beyond `count` would stay
  // there, so it is left out.
  if (count < 2)
    return;
  Value places = k.i32(llvm::PowerOf2Ceil(count)), one = k.i32(1);
  Value comparisons = k.i32(llvm::PowerOf2Ceil(count) / 2);
  k.loopWhile(
      ValueRange{k.i32(2), one},
      [&](ValueRange state) {
        return k.compare(Predicate::sle, state[0], places);
      },
      [&](ValueRange state) -> SmallVector<Value> {
        Value run = state[0], stride = state[1];
        Value isFirst = k.compare(Predicate::eq, k.add(stride, stride), run);
        Value mask = k.choose(isFirst, k.sub(run, 1), stride);
        team.forEach(comparisons, [&](Value i) {
          Value low = k.both(i, k.sub(stride, 1));
          Value p = k.add(i, k.sub(i, low));
          Value q = arith::XOrIOp::create(k, p, mask);
          k.when(k.compare(Predicate::slt, q, k.i32(count)), [&] {
            Value atP = k.toIndex(p), atQ = k.toIndex(q);
            Value valueP = k.load(values, atP), valueQ = k.load(values, atQ);
            Value payP = k.load(payloads, atP), payQ = k.load(payloads, atQ);
            k.when(precedes(valueQ, payQ, valueP, payP), [&] {
              k.store(valueQ, values, atP);
              k.store(valueP, values, atQ);
              k.store(payQ, payloads, atP);
              k.store(payP, payloads, atQ);
            });
          });
        });
        team.sync();
        Value isLast = k.compare(Predicate::eq, stride, one);
        Value half = arith::ShRUIOp::create(k, stride, one);
        return {k.choose(isLast, k.add(run, run), run),
                k.choose(isLast, run, half)};
      });
}
