//===- GatheredRows.h - Rows that threads copy to a tile ---------*- C++
//-*-===//
//
// The hardware's copies take rows that follow one another. Rows that indices
// pick are copied by the threads of a warpgroup instead, 16 bytes at a time
// (cp.async), to where a copy by the hardware would put them. A row that is
// outside of the matrix is zeros, and nothing is read for it.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_GATHEREDROWS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_GATHEREDROWS_H

#include "Utils/KernelBuilder.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RowGather.h"

namespace mlir::omnimoe {

class GatheredRows {
public:
  /// Threads that copy a tile together.
  static constexpr int64_t kThreads = 128;

  /// For tiles of `tileRows` rows; `indices` are those of all rows, and
  /// `thread` (i32) is one of `kThreads`.
  GatheredRows(KernelBuilder &k, const RowGather &gather, Value indices,
               Value thread, int64_t tileRows);

  /// Which rows of the matrix this thread copies pieces of, for the tile whose
  /// first row is `firstRow`.
  SmallVector<Value> find(Value firstRow);
  /// Begins to copy the pieces of `rows` that follow element `column`, which is
  /// a multiple of a swizzled row's, to the tile `target` in shared memory.
  void copy(Value target, ArrayRef<Value> rows, Value column);

private:
  KernelBuilder &k;
  RowGather gather;
  Value indices;
  int64_t tileRows, elements; ///< elements of 16 bytes
  Value row, piece;           ///< of a tile, the first that the thread copies
};

/// Lets products read what threads copied.
void showCopiesToProducts(KernelBuilder &k);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_GATHEREDROWS_H
