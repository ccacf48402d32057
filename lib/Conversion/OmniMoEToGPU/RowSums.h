//===- RowSums.h - Sums of a warpgroup, added to rows of memory --*- C++
//-*-===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROWSUMS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROWSUMS_H

#include "Utils/KernelBuilder.h"
#include <array>

namespace mlir::omnimoe {

/// The two rows of a product that a thread has sums of, by their numbers or
/// whatever else belongs to them.
using TwoRows = std::array<Value, 2>;

/// The rows of a warpgroup's product that a thread of `lane` in `warp`, a
/// number within the warpgroup or a multiple of four more, has sums of.
TwoRows getOwnRows(KernelBuilder &k, Value warp, Value lane);

/// Adds accumulators to rows that may be anywhere in memory, f32, in no fixed
/// order with what others add.
class RowSums {
public:
  /// Rows `rows` of `out`, of `elements` elements, those of them that `exist`.
  RowSums(KernelBuilder &k, Value out, int64_t elements, TwoRows rows,
          TwoRows exist, Value lane);

  /// Adds `kFragmentProductColumns` columns, which are done, from element
  /// `column` on; what `round` makes of them, if it is given, for row 0 or 1.
  void add(Value accumulators, Value column,
           llvm::function_ref<Value(Value, int64_t)> round = nullptr);

private:
  KernelBuilder &k;
  TwoRows pointers, exist;
  Value isOdd;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROWSUMS_H
