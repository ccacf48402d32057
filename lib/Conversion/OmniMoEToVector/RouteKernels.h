//===- RouteKernels.h - Building blocks of the router -----------*- C++ -*-===//
//
// Scores are compared as integer keys: a float's bits, turned so that signed
// integers order as the floats do. Minus zero counts as zero and NaN as minus
// infinity, hence no key is below that of minus infinity and the smallest
// integer is free to fill the ends of buffers.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOVECTOR_ROUTEKERNELS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOVECTOR_ROUTEKERNELS_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// Key of minus infinity, and a key below all others.
inline constexpr int64_t kLowestKey = -2139095041;
inline constexpr int64_t kNoKey = std::numeric_limits<int32_t>::min();

/// Vector of as many elements of `element` as a register has room for.
VectorType registerOf(Type element, int64_t vectorBits);

/// Keys of a vector or scalar of f32, and back.
Value emitKeys(KernelBuilder &k, Value floats);
Value emitFloats(KernelBuilder &k, Value keys);

/// Number of set lanes of a mask, as an index.
Value emitCountLanes(KernelBuilder &k, Value mask);

/// The largest key t with at least `wanted` of the first `count` keys >= t,
/// which must lie in [low, high]. `keys` is filled up to a whole vector.
Value emitThreshold(KernelBuilder &k, VectorType keyType, Value keys,
                    int64_t count, int64_t wanted, Value low, Value high);

/// Copies the keys >= threshold and their payloads, in order; returns their
/// number. The copies have room for a whole vector beyond `count`.
Value emitCompress(KernelBuilder &k, VectorType keyType, Value keys,
                   Value payloads, int64_t count, Value threshold,
                   Value outKeys, Value outPayloads);

/// Stable descending sort of up to `capacity` keys (i32 or i64) that carry an
/// i32 each.
class SortKernel {
public:
  SortKernel(Type keyElement, int64_t capacity, int64_t vectorBits);

  void reserve(Scratch &scratch);

  /// Emits the sort of `count` keys, which may lie in `keys()` and
  /// `payloads()` from `inputStart()` on; clobbers them. Returns the index in
  /// `keys()` and `payloads()` where the sorted run starts.
  Value emit(KernelBuilder &k, const Scratch &scratch, Value inKeys,
             Value inPayloads, Value inStart, Value count);

  Value keys(const Scratch &scratch) const { return scratch[keyBuffer]; }
  Value payloads(const Scratch &scratch) const {
    return scratch[payloadBuffer];
  }
  /// Where the half of the buffers that the sort reads first starts.
  int64_t inputStart() const { return 2 * margin + paddedCapacity; }

private:
  void emitRanks(KernelBuilder &k, Value inKeys, Value from, Value to);
  void emitPlace(KernelBuilder &k, Value inKeys, Value inPayloads,
                 Value inStart, Value from, Value to);
  void emitMerge(KernelBuilder &k, Value source, Value target, Value from,
                 Value middle, Value to);

  VectorType keyType;
  int64_t margin;         // entries that may be read beyond either end
  int64_t paddedCapacity; // a whole number of vectors
  int64_t block;          // longest run that is sorted by counting ranks
  bool merges;            // whether runs may have to be merged
  unsigned keyBuffer = 0, payloadBuffer = 0, rankBuffer = 0;
  Value sortKeys, sortPayloads, ranks;
};

/// The pairs (a, b) of ranks, counted from 1, that can be among the top K:
/// those with a * b <= K. They stand in one list, row by row.
class CandidateKernel {
public:
  CandidateKernel(int64_t rows, int64_t cols, int64_t numCols, int64_t topK,
                  int64_t vectorBits);

  /// False if a pair of ranks does not fit the 31 bits it is given.
  bool fits() const;
  int64_t size() const { return candidates; }

  void reserve(KernelBuilder &k, Scratch &scratch);

  /// Emits what does not depend on the token: the tables of row starts and of
  /// the pairs. Follows Scratch::allocate.
  void emitTables(KernelBuilder &k, const Scratch &scratch);

  /// Emits the sums of the candidates as keys. The values have room to read a
  /// whole vector beyond their end.
  void emitSums(KernelBuilder &k, Value rowValues, Value colValues);

  /// Emits a key that at least K candidates reach.
  Value emitLowerBound(KernelBuilder &k, Value rowValues, Value colValues);

  /// Emits for `count` survivors the sort key, the sum's key above the
  /// complement of the tie key, and their expert id.
  void emitSortKeys(KernelBuilder &k, Value rowValues, Value colValues,
                    Value rowIds, Value colIds, Value sumKeys, Value pairs,
                    Value count, Value outKeys, Value outIds, Value outStart);

  Value keys() const { return sums; }
  Value pairs() const { return pairTable; }

private:
  Value emitMayRoundTogether(KernelBuilder &k, Value rowValues, Value colValues,
                             Value rowIds, Value colIds);
  Value emitExpert(KernelBuilder &k, Value rowId, Value col, Value colIds);
  void emitTieKeys(KernelBuilder &k, Value rowIds, Value colIds);

  int64_t rows, cols; // ranks that take part
  int64_t numCols;    // columns of the grid
  int64_t topK, vectorBits;
  int64_t candidates = 0;
  unsigned colBits; // a pair is row << colBits | column, from 0
  unsigned sumBuffer = 0, pairBuffer = 0, startBuffer = 0, tieBuffer = 0;
  Value sums, pairTable, rowStarts, tieKeys;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOVECTOR_ROUTEKERNELS_H
