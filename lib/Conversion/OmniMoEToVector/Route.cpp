//===- Route.cpp - omnimoe.route to loops and vectors ---------------------===//
//
// For each token, with keys that order as the scores do:
//
//  1. Sort the best min(K, R) rows and min(K, C) columns, lower index first
//     among equals. If an axis has clearly more entries than that, find the key
//     of the last wanted one by bisection and leave out what is below.
//  2. Add up the candidates, the pairs of ranks a * b <= K: any other pair is
//     beaten by K pairs (a', b') with a' <= a and b' <= b.
//  3. Find the K-th best sum by bisection; keep the candidates that reach it.
//  4. Sort them by (sum, tie key); RouteCandidates.cpp says what ties are.
//  5. Write the first K sums and expert ids.
//
// Nothing of size R x C is touched, and the only branches that depend on values
// are the turns of the bisections and the rare repair of ties.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "RouteKernels.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

namespace {

class RouteKernel {
public:
  RouteKernel(KernelBuilder &k, RouteOp op, int64_t vectorBits)
      : k(k), op(op), topK(op.getTopK()), numRows(op.getNumRows()),
        numCols(op.getNumCols()), rows(std::min(topK, numRows)),
        cols(std::min(topK, numCols)), lanes(vectorBits / 32),
        floats(registerOf(k.getF32Type(), vectorBits)),
        keyType(registerOf(k.getI32Type(), vectorBits)),
        candidates(rows, cols, numCols, topK, vectorBits),
        axisSort(k.getI32Type(), std::max(numRows, numCols), vectorBits),
        pairSort(k.getI64Type(), candidates.size(), vectorBits) {}

  bool isSupported() const { return candidates.fits(); }

  void emit() {
    reserve();
    scratch.allocate(k);
    zero = k.index(0);
    k.loop(zero, k.index(longAxis), 1,
           [&](Value i) { k.store(k.toI32(i), scratch[axisNumbers], i); });
    candidates.emitTables(k, scratch);
    Value tokens = memref::DimOp::create(k, op.getScores(), 0);
    k.loop(zero, tokens, 1, [&](Value token) { emitToken(token); });
    scratch.release(k);
  }

private:
  void reserve() {
    Type i32 = k.getI32Type(), f32 = k.getF32Type();
    longAxis = std::max(numRows, numCols);
    // Vectors read and write up to one register beyond the last entry.
    auto padded = [&](int64_t n) { return llvm::alignTo(n, lanes) + lanes; };
    axisKeys = scratch.reserve(i32, padded(longAxis));
    axisNumbers = scratch.reserve(i32, padded(longAxis));
    keptKeys = scratch.reserve(i32, padded(longAxis));
    keptNumbers = scratch.reserve(i32, padded(longAxis));
    rowValues = scratch.reserve(f32, padded(rows));
    rowIds = scratch.reserve(i32, padded(rows));
    colValues = scratch.reserve(f32, padded(cols));
    colIds = scratch.reserve(i32, padded(cols));
    axisSort.reserve(scratch);
    candidates.reserve(k, scratch);
    if (hasThreshold()) {
      keptSums = scratch.reserve(i32, padded(candidates.size()));
      keptPairs = scratch.reserve(i32, padded(candidates.size()));
    }
    pairSort.reserve(scratch);
  }

  bool hasThreshold() const { return candidates.size() > topK; }

  void emitToken(Value token) {
    emitAxis(op.getRowLogits(), token, numRows, rows, scratch[rowValues],
             scratch[rowIds]);
    emitAxis(op.getColLogits(), token, numCols, cols, scratch[colValues],
             scratch[colIds]);
    candidates.emitSums(k, scratch[rowValues], scratch[colValues]);

    Value sums = candidates.keys(), pairs = candidates.pairs();
    Value count = k.index(candidates.size());
    if (hasThreshold()) {
      // The first candidate is the best of all.
      Value low =
          candidates.emitLowerBound(k, scratch[rowValues], scratch[colValues]);
      Value threshold = emitThreshold(k, keyType, sums, candidates.size(), topK,
                                      low, k.load(sums, zero));
      count = emitCompress(k, keyType, sums, pairs, candidates.size(),
                           threshold, scratch[keptSums], scratch[keptPairs]);
      sums = scratch[keptSums];
      pairs = scratch[keptPairs];
    }

    Value start = k.index(pairSort.inputStart());
    Value keys = pairSort.keys(scratch), ids = pairSort.payloads(scratch);
    candidates.emitSortKeys(k, scratch[rowValues], scratch[colValues],
                            scratch[rowIds], scratch[colIds], sums, pairs,
                            count, keys, ids, start);
    Value sorted = pairSort.emit(k, scratch, keys, ids, start, count);
    emitResults(token, keys, ids, sorted);
  }

  /// Runs `body` on the vectors that hold entries [0, count); the second
  /// argument is the number of entries in the vector.
  void forEachVector(int64_t count,
                     llvm::function_ref<void(Value, int64_t)> body) {
    int64_t whole = count / lanes * lanes;
    if (whole > 0)
      k.loop(zero, k.index(whole), lanes, [&](Value i) { body(i, lanes); });
    if (whole < count)
      body(k.index(whole), count - whole);
  }

  /// Sorts the best `wanted` of a token's `count` logits into `values`, with
  /// their places on the axis in `ids`.
  void emitAxis(Value logits, Value token, int64_t count, int64_t wanted,
                Value values, Value ids) {
    Value keys = scratch[axisKeys], numbers = scratch[axisNumbers];
    forEachVector(count, [&](Value i, int64_t active) {
      Value floats = active == lanes
                         ? k.loadVector(this->floats, logits, {token, i})
                         : loadPart(logits, {token, i}, active);
      Value key = emitKeys(k, floats);
      if (active < lanes)
        key = k.choose(k.prefixMask(lanes, active), key,
                       k.integer(keyType, kNoKey));
      k.storeVector(key, keys, i);
    });

    Value kept = k.index(count);
    if (narrows(count, wanted)) {
      Value threshold =
          emitThreshold(k, keyType, keys, count, wanted, k.i32(kLowestKey),
                        k.i32(std::numeric_limits<int32_t>::max()));
      kept = emitCompress(k, keyType, keys, numbers, count, threshold,
                          scratch[keptKeys], scratch[keptNumbers]);
      keys = scratch[keptKeys];
      numbers = scratch[keptNumbers];
    }
    Value sorted = axisSort.emit(k, scratch, keys, numbers, zero, kept);
    k.loop(zero, k.index(wanted), lanes, [&](Value i) {
      Value from = k.add(sorted, i);
      Value key = k.loadVector(keyType, axisSort.keys(scratch), from);
      k.storeVector(emitFloats(k, key), values, i);
      Value id = k.loadVector(keyType, axisSort.payloads(scratch), from);
      k.storeVector(id, ids, i);
    });
    // No id beyond the last descends: the look for ties reads this far.
    Value none = k.integer(keyType, std::numeric_limits<int32_t>::max());
    k.storeVector(none, ids, k.index(wanted));
  }

  /// Whether a bisection costs less than the sort of what it leaves out. Its
  /// turns take about the time of a dozen vectors each even on a short axis.
  bool narrows(int64_t count, int64_t wanted) const {
    return count > 8 * lanes && wanted * 4 <= count * 3;
  }

  Value loadPart(Value memref, ValueRange indices, int64_t active) {
    return vector::MaskedLoadOp::create(k, floats, memref, indices,
                                        k.prefixMask(lanes, active),
                                        k.real(floats, 0.0));
  }

  void storeAll(Value value, Value memref, ValueRange indices, int64_t active) {
    if (active == lanes)
      k.storeVector(value, memref, indices);
    else
      vector::MaskedStoreOp::create(k, memref, indices,
                                    k.prefixMask(lanes, active), value);
  }

  void emitResults(Value token, Value keys, Value ids, Value sorted) {
    VectorType wide = keyType.clone(k.getI64Type());
    forEachVector(topK, [&](Value i, int64_t active) {
      Value from = k.add(sorted, i);
      Value key = arith::ShRUIOp::create(k, k.loadVector(wide, keys, from),
                                         k.integer(wide, 32));
      Value sum = arith::TruncIOp::create(k, keyType, key);
      storeAll(emitFloats(k, sum), op.getScores(), {token, i}, active);
      storeAll(k.loadVector(keyType, ids, from), op.getExperts(), {token, i},
               active);
    });
  }

  KernelBuilder &k;
  RouteOp op;
  int64_t topK, numRows, numCols;
  int64_t rows, cols; // ranks that take part
  int64_t longAxis = 0, lanes;
  VectorType floats, keyType;
  CandidateKernel candidates;
  SortKernel axisSort, pairSort;
  Scratch scratch;
  unsigned axisKeys = 0, axisNumbers = 0, keptKeys = 0, keptNumbers = 0;
  unsigned rowValues = 0, rowIds = 0, colValues = 0, colIds = 0;
  unsigned keptSums = 0, keptPairs = 0;
  Value zero;
};

class RouteLowering : public OpRewritePattern<RouteOp> {
public:
  RouteLowering(MLIRContext *context, int64_t vectorBits)
      : OpRewritePattern(context), vectorBits(vectorBits) {}

  LogicalResult matchAndRewrite(RouteOp op,
                                PatternRewriter &rewriter) const override {
    for (Value operand : op->getOperands()) {
      auto type = dyn_cast<MemRefType>(operand.getType());
      if (!type)
        return rewriter.notifyMatchFailure(op, "operands must be memrefs");
      if (!type.areTrailingDimsContiguous(1))
        return rewriter.notifyMatchFailure(
            op, "the entries of a token must lie next to each other");
    }
    KernelBuilder k(op.getLoc(), rewriter);
    RouteKernel kernel(k, op, vectorBits);
    if (!kernel.isSupported())
      return rewriter.notifyMatchFailure(op, "grid has too many experts");
    kernel.emit();
    rewriter.eraseOp(op);
    return success();
  }

private:
  int64_t vectorBits;
};

} // namespace

void omnimoe::populateRouteToVectorPatterns(RewritePatternSet &patterns,
                                            int64_t vectorBits) {
  // At least one i64 must fit into a register.
  patterns.add<RouteLowering>(patterns.getContext(),
                              std::max<int64_t>(vectorBits, 64));
}
