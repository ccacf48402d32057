//===- WarpgroupMatrix.h - Products by a whole warpgroup ---------*- C++
//-*-===//
//
// wgmma multiplies tiles that lie in shared memory, asynchronously: an order of
// fence, products, commit and wait makes the sums of a thread whole again. The
// tiles' rows follow the summed loop and have 128 bytes, swizzled.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPMATRIX_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPMATRIX_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// The operands of one warpgroup in a ring of stages.
class WarpgroupMatrices {
public:
  /// `left` (64 rows) and `right` are those in the first stage, and stages are
  /// `stageBytes` apart.
  WarpgroupMatrices(KernelBuilder &k, Type elementType, Value left, Value right,
                    int64_t stageBytes);

  /// Starts the products of the matrices in `stage` and returns the
  /// accumulators, which start at zero if `accumulators` is null.
  Value multiply(Value stage, Value accumulators);
  /// Waits until all but the last `pending` groups of products are done.
  void wait(int64_t pending);

private:
  Value getDescriptor(Value pointer);

  KernelBuilder &k;
  Type elementType, accumulatorType;
  Value left, right; ///< descriptors
  int64_t stageBytes;
};

/// The accumulators, one f32 each, as they are after `wait(0)`.
SmallVector<Value> readAccumulators(KernelBuilder &k, Value accumulators);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPMATRIX_H
