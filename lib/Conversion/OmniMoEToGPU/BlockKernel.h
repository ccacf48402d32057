//===- BlockKernel.h - A launch and what its threads do together -*- C++
//-*-===//
//
// For kernels that are no tile of an operation: creates the gpu.launch, points
// the builder into it, and has the primitives of warps and blocks.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_BLOCKKERNEL_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_BLOCKKERNEL_H

#include "Utils/KernelBuilder.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace mlir::omnimoe {

class BlockKernel {
public:
  /// Starts a launch of `blocks` blocks, at least one, of `threads` threads at
  /// the builder's position. The kernel ends with this object.
  BlockKernel(KernelBuilder &k, StringRef name, Value blocks, int64_t threads);
  ~BlockKernel();

  Value block, thread, warp, lane;
  int64_t numThreads, numWarps;

  /// A buffer of the block.
  Value shared(Type elementType, ArrayRef<int64_t> shape);

  void barrier();
  /// Orders what the lanes of a warp do to shared memory.
  void syncWarp();

  /// `value` of lane `from`.
  Value broadcast(Value value, int64_t from);
  /// `value` of the lane before; `first` in the first lane.
  Value laneBefore(Value value, Value first);
  /// Those of `lanes` that have the same i32 `value`, which has `bits` bits.
  Value match(Value value, int64_t bits, Value lanes);
  /// Number of the bits of `lanes` that stand for lanes before this one.
  Value countBefore(Value lanes);

  struct Scan {
    Value before; ///< the sum over the threads before this one
    Value total;  ///< the sum over the block
  };
  /// The sums of an i32 of each thread, in the order of threads. All threads
  /// take part.
  Scan scan(Value value);
  /// The same of i32 values for each number up to `size`: calls `body` with
  /// each number that is this thread's, its value and the sum of those before,
  /// and returns the sum of all. `value` is asked of numbers that exist only,
  /// first of all that `body` is called with next, in their order.
  Value
  scanAll(Value size, llvm::function_ref<Value(Value at)> value,
          llvm::function_ref<void(Value at, Value own, Value before)> body);

private:
  KernelBuilder &k;
  gpu::LaunchOp launch;
  Value lanesBefore, warpTotals;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_BLOCKKERNEL_H
