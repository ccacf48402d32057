//===- ExactSums.h - Sums that do not depend on their order -----*- C++ -*-===//
//
// f32 sums of multiples of a quantum q are exact, hence the same in any order,
// as long as none is above 2^24 q. So what a group of experts adds to a token's
// row is rounded, in registers, to a multiple of the token's quantum: by adding
// `anchor` = 1.5 * 2^23 q and taking it away again, where the sum is of the
// binade whose last bit is q.
//
// The token's limit is L = 2^23 q. Let S be the sum, over the n groups that it
// chose from, of the largest magnitude m_g that a group adds, unrounded. With
// S <= L and 2 m_g <= L:
//
// - what is rounded is at most 2^22 q, so that with the anchor it is between
//   2^23 q and 2^24 q;
// - any sum of what was rounded is at most S + n q / 2 <= 2^24 q.
//
// L is guessed from few of a token's experts. The kernel records an upper bound
// of S, in units of L, and the largest m_g; both do not depend on the order
// either. Rows of tokens whose guess was too small, or by far too large, are
// cleared and computed once more, with a limit from what was recorded. That is
// always enough: what is rounded does not depend on L, and all of the token's
// groups were recorded.
//
// A row that is not finite, or that values near the end of f32's range are
// added to, is not a number as a whole, every time.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXACTSUMS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXACTSUMS_H

#include "ExpertBlock.h"
#include "RowSums.h"

namespace mlir::omnimoe {

/// The first time, and once more for tokens whose limit did not fit.
inline constexpr int64_t kSumAttempts = 2;

/// What limits the sums of tokens, in memory of the device.
struct SumLimits {
  Value anchors; ///< i32 [T]: bits of the anchor; negative: the row is done
  Value largest; ///< i32 [T]: bits of the largest magnitude that was added
  Value totals;  ///< i32 [T]: upper bound of S in units of L
  Value isUsed;  ///< i32 [kSumAttempts]: whether tokens need an attempt
};

/// Emits the kernel that guesses limits.
SumLimits emitSumLimits(KernelBuilder &k, FusedBlock block, StringRef name);

/// Emits the kernel that prepares the second attempt: new limits, and rows of
/// zeros, for tokens that need it; the others' rows are done. Tiles are handed
/// out from the first one on again.
void emitNewLimits(KernelBuilder &k, FusedBlock block, const SumLimits &limits,
                   const SlotTiles &tiles, StringRef name);

/// Two rows of a thread whose sums are to be exact.
class ExactRows {
public:
  /// Rows that are done stop to `exist`.
  ExactRows(KernelBuilder &k, const SumLimits &limits, TwoRows tokens,
            TwoRows &exist, Value lane);

  /// What loops carry from one turn to the next: bits of a magnitude.
  Value largest;

  /// What to add to row `half` instead of `value`.
  Value round(Value value, int64_t half);
  /// To be done behind each few columns: what was rounded need not stay in
  /// registers then.
  void settle();
  /// Records what the rows were given.
  void record();

private:
  KernelBuilder &k;
  SumLimits limits;
  TwoRows anchors, unsettled;
  Value lane, isOdd;
  Value token, exists; ///< of the row that this lane records
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXACTSUMS_H
