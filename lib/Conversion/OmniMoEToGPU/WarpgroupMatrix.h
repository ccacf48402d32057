//===- WarpgroupMatrix.h - Products by a whole warpgroup ---------*- C++
//-*-===//
//
// wgmma multiplies tiles that lie in shared memory, asynchronously: an order of
// fence, products, commit and wait makes the sums of a thread whole again. The
// tiles' rows have 128 bytes, swizzled. Either rows follow the summed loop
// (`WarpgroupMatrices`), or the right tile has a row for each of its steps, and
// the left one is in registers (`FragmentProduct`).
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPMATRIX_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPMATRIX_H

#include "Utils/KernelBuilder.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

namespace mlir::omnimoe {

/// Starts a group of products: registers that they read are as written.
void beginProducts(KernelBuilder &k);
/// Ends a group of products, which runs from here on.
void commitProducts(KernelBuilder &k);
/// Waits until all but the last `pending` groups of products are done.
void waitForProducts(KernelBuilder &k, int64_t pending);

/// The operands of one warpgroup in a ring of stages.
class WarpgroupMatrices {
public:
  /// `left` (64 rows) and `right` (`columns` rows) are those in the first
  /// stage, and stages are `stageBytes` apart.
  WarpgroupMatrices(KernelBuilder &k, Type elementType, Value left, Value right,
                    int64_t stageBytes,
                    int64_t columns = kWarpgroupTileColumns);

  /// Starts the products of the matrices in `stage` and returns the
  /// accumulators, which start at zero if `accumulators` is null.
  Value multiply(Value stage, Value accumulators);
  /// The same within a group of products that the caller begins and commits.
  Value add(Value stage, Value accumulators);
  /// Waits until all but the last `pending` groups of products are done.
  void wait(int64_t pending) { waitForProducts(k, pending); }

private:
  KernelBuilder &k;
  Type elementType, accumulatorType;
  Value left, right; ///< descriptors
  int64_t stageBytes, columns;
};

/// Columns of a product whose left operand is in registers.
inline constexpr int64_t kFragmentProductColumns = 64;

/// Products of 64 rows, of which a thread holds what accumulators hold, with
/// matrices of `kFragmentProductColumns` columns in a ring of stages.
class FragmentProduct {
public:
  /// `right`, in the first stage, has `depth` rows, one for each step of the
  /// sum.
  FragmentProduct(KernelBuilder &k, Type elementType, Value right,
                  int64_t stageBytes, int64_t depth);

  /// Starts the product of `fragments`, two elements in each i32, with the
  /// matrix in `stage`, and returns the accumulators, which start at zero.
  Value multiply(ArrayRef<Value> fragments, Value stage);
  Type getAccumulatorType() const { return accumulatorType; }

private:
  KernelBuilder &k;
  Type elementType, accumulatorType;
  Value right; ///< descriptor
  int64_t stageBytes, depth;
};

/// The same values, all f32 or all i32, by an empty volatile instruction: they
/// are computed before the next one of those, and used behind the last.
SmallVector<Value> keepInPlace(KernelBuilder &k, ArrayRef<Value> words);

/// The accumulators, one f32 each, as they are after a wait for them.
SmallVector<Value> readAccumulators(KernelBuilder &k, Value accumulators);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPMATRIX_H
