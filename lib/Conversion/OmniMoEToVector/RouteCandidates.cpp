//===- RouteCandidates.cpp - Pairs of ranks that can be in the top K ------===//
//
// Ties. Equal sums go by expert id. Rounding can make the sum of a pair equal
// to that of a pair which beats it in row and column and yet has a higher id;
// the latter must go first. So a candidate's tie key is the highest id among
// itself and the tie keys of its neighbours (a - 1, b) and (a, b - 1) of equal
// sum, and what is still equal goes in the order of the list. Unless rounding
// joined two neighbours out of the order of their ids, this is the id itself,
// and a look at the gaps between neighbouring rows and columns shows that for
// nearly all tokens at once.
//
//===----------------------------------------------------------------------===//

#include "RouteKernels.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;
using Predicate = arith::CmpIPredicate;

CandidateKernel::CandidateKernel(int64_t rows, int64_t cols, int64_t numCols,
                                 int64_t topK, int64_t vectorBits)
    : rows(rows), cols(cols), numCols(numCols), topK(topK),
      vectorBits(vectorBits), colBits(llvm::Log2_64_Ceil(cols)) {
  for (int64_t a = 1; a <= rows; ++a)
    candidates += std::min(topK / a, cols);
}

bool CandidateKernel::fits() const {
  return llvm::Log2_64_Ceil(rows) + colBits <= 31;
}

void CandidateKernel::reserve(KernelBuilder &k, Scratch &scratch) {
  int64_t lanes = vectorBits / 32;
  int64_t padded = llvm::alignTo(candidates, lanes) + lanes;
  Type i32 = k.getI32Type();
  sumBuffer = scratch.reserve(i32, padded);
  pairBuffer = scratch.reserve(i32, padded);
  startBuffer = scratch.reserve(i32, rows + 1);
  tieBuffer = scratch.reserve(i32, candidates);
}

void CandidateKernel::emitTables(KernelBuilder &k, const Scratch &scratch) {
  sums = scratch[sumBuffer];
  pairTable = scratch[pairBuffer];
  rowStarts = scratch[startBuffer];
  tieKeys = scratch[tieBuffer];

  Value zero = k.index(0);
  k.store(k.i32(0), rowStarts, zero);
  k.loop(zero, k.index(rows), 1, zero,
         [&](Value a, ValueRange place) -> SmallVector<Value> {
           Value next = k.add(a, 1);
           Value reach = arith::DivUIOp::create(k, k.index(topK), next);
           Value length = k.min(reach, k.index(cols));
           Value row = arith::ShLIOp::create(k, a, k.index(colBits));
           k.loop(zero, length, 1, [&](Value b) {
             k.store(k.toI32(k.add(row, b)), pairTable, k.add(place[0], b));
           });
           Value end = k.add(place[0], length);
           k.store(k.toI32(end), rowStarts, next);
           return {end};
         });
}

void CandidateKernel::emitSums(KernelBuilder &k, Value rowValues,
                               Value colValues) {
  VectorType floats = registerOf(k.getF32Type(), vectorBits);
  VectorType keyType = registerOf(k.getI32Type(), vectorBits);
  int64_t lanes = floats.getNumElements();
  Value zero = k.index(0);
  k.loop(zero, k.index(rows), 1, zero,
         [&](Value a, ValueRange start) -> SmallVector<Value> {
           Value end = k.toIndex(k.load(rowStarts, k.add(a, 1)));
           Value row = k.broadcast(floats, k.load(rowValues, a));
           // What a row writes beyond its end is overwritten by the next.
           k.loop(zero, k.sub(end, start[0]), lanes, [&](Value b) {
             Value sum = arith::AddFOp::create(
                 k, row, k.loadVector(floats, colValues, b));
             k.storeVector(emitKeys(k, sum), sums, k.add(start[0], b));
           });
           return {end};
         });
  k.storeVector(k.integer(keyType, kNoKey), sums, k.index(candidates));
}

Value CandidateKernel::emitLowerBound(KernelBuilder &k, Value rowValues,
                                      Value colValues) {
  // If a * b >= K, the pair (a, b) is reached by K pairs, itself among them.
  // The one nearest to the diagonal tends to be the best.
  int64_t bestRow = 0, bestCol = 0;
  for (int64_t a = 1; a <= rows; ++a) {
    int64_t b = llvm::divideCeil(topK, a);
    if (b <= cols && (bestRow == 0 || a + b < bestRow + bestCol))
      bestRow = a, bestCol = b;
  }
  Value sum = arith::AddFOp::create(k, k.load(rowValues, k.index(bestRow - 1)),
                                    k.load(colValues, k.index(bestCol - 1)));
  return emitKeys(k, sum);
}

/// True if rounding may have joined two candidates out of the order of their
/// ids: only rows (or columns) next to each other whose ids descend and whose
/// gap is at most an ulp of the largest sum can be joined.
Value CandidateKernel::emitMayRoundTogether(KernelBuilder &k, Value rowValues,
                                            Value colValues, Value rowIds,
                                            Value colIds) {
  auto emitLargest = [&](Value values, int64_t count) -> Value {
    Value best = k.load(values, k.index(0));
    Value worst = k.load(values, k.index(count - 1));
    return arith::MaximumFOp::create(k, math::AbsFOp::create(k, best),
                                     math::AbsFOp::create(k, worst));
  };
  // Twice the ulp of the largest sum, as the sums themselves are rounded. It
  // is infinite if a sum is, and then every gap counts.
  Value largest = arith::AddFOp::create(k, emitLargest(rowValues, rows),
                                        emitLargest(colValues, cols));
  Value ulps =
      arith::MulFOp::create(k, largest, k.real(k.getF32Type(), 0x1p-22));

  VectorType floats = registerOf(k.getF32Type(), vectorBits);
  VectorType ids = registerOf(k.getI32Type(), vectorBits);
  int64_t lanes = ids.getNumElements();
  VectorType maskType = ids.clone(k.getI1Type());
  Value limit = k.broadcast(floats, ulps);
  auto emitAxis = [&](Value values, Value idsOf, int64_t count, Value found) {
    if (count == 1)
      return found;
    return Value(k.loop(
        k.index(1), k.index(count), lanes, found,
        [&](Value i, ValueRange seen) -> SmallVector<Value> {
          Value before = k.sub(i, 1);
          Value descends =
              k.compare(Predicate::sgt, k.loadVector(ids, idsOf, before),
                        k.loadVector(ids, idsOf, i));
          Value gap =
              arith::SubFOp::create(k, k.loadVector(floats, values, before),
                                    k.loadVector(floats, values, i));
          // Unordered: the gap of two infinities counts.
          Value small =
              arith::CmpFOp::create(k, arith::CmpFPredicate::ULE, gap, limit);
          return {k.either(seen[0], k.both(descends, small))};
        })[0]);
  };
  Value found = k.integer(maskType, 0);
  found = emitAxis(rowValues, rowIds, rows, found);
  found = emitAxis(colValues, colIds, cols, found);
  return vector::ReductionOp::create(k, vector::CombiningKind::OR, found);
}

Value CandidateKernel::emitExpert(KernelBuilder &k, Value rowId, Value col,
                                  Value colIds) {
  return k.add(k.mul(rowId, numCols), k.load(colIds, col));
}

/// Fills `tieKeys` by the rule at the head of this file.
void CandidateKernel::emitTieKeys(KernelBuilder &k, Value rowIds,
                                  Value colIds) {
  Value zero = k.index(0);
  k.loop(zero, k.index(rows), 1, ValueRange{zero, zero},
         [&](Value a, ValueRange starts) -> SmallVector<Value> {
           Value above = starts[0], start = starts[1];
           Value end = k.toIndex(k.load(rowStarts, k.add(a, 1)));
           Value rowId = k.load(rowIds, a);
           Value hasAbove = k.compare(Predicate::ne, a, zero);
           // The neighbour on the left travels along; before the first there is
           // none, and no sum has its key.
           k.loop(zero, k.sub(end, start), 1,
                  ValueRange{k.i32(kNoKey), k.i32(0)},
                  [&](Value b, ValueRange left) -> SmallVector<Value> {
                    Value place = k.add(start, b), up = k.add(above, b);
                    Value key = k.load(sums, place);
                    Value id = emitExpert(k, rowId, b, colIds);
                    Value joinsUp =
                        k.both(hasAbove,
                               k.compare(Predicate::eq, key, k.load(sums, up)));
                    Value joinsLeft = k.compare(Predicate::eq, key, left[0]);
                    Value tie =
                        k.max(id, k.choose(joinsUp, k.load(tieKeys, up), id));
                    tie = k.max(tie, k.choose(joinsLeft, left[1], id));
                    k.store(tie, tieKeys, place);
                    return {key, tie};
                  });
           return {start, end};
         });
}

void CandidateKernel::emitSortKeys(KernelBuilder &k, Value rowValues,
                                   Value colValues, Value rowIds, Value colIds,
                                   Value sumKeys, Value pairs, Value count,
                                   Value outKeys, Value outIds,
                                   Value outStart) {
  Type i64 = k.getI64Type();
  auto emitAll = [&](bool rounded) {
    k.loop(k.index(0), count, 1, [&](Value i) {
      Value pair = k.load(pairs, i);
      Value a = k.toIndex(arith::ShRUIOp::create(k, pair, k.i32(colBits)));
      Value b = k.toIndex(k.both(pair, k.i32((int64_t(1) << colBits) - 1)));
      Value id = emitExpert(k, k.load(rowIds, a), b, colIds);
      Value tie = id;
      if (rounded) {
        Value start = k.toIndex(k.load(rowStarts, a));
        tie = k.load(tieKeys, k.add(start, b));
      }
      // The lower tie key goes first, so its complement is what is sorted.
      Value low = arith::XOrIOp::create(k, tie, k.i32(-1));
      Value high = arith::ShLIOp::create(
          k, arith::ExtSIOp::create(k, i64, k.load(sumKeys, i)),
          k.integer(i64, 32));
      Value key = k.either(high, arith::ExtUIOp::create(k, i64, low));
      Value place = k.add(outStart, i);
      k.store(key, outKeys, place);
      k.store(id, outIds, place);
    });
  };
  k.when(
      emitMayRoundTogether(k, rowValues, colValues, rowIds, colIds),
      [&] {
        emitTieKeys(k, rowIds, colIds);
        emitAll(/*rounded=*/true);
      },
      [&] { emitAll(/*rounded=*/false); });
}
