//===- ClusterParts.h - Sums that the blocks of a cluster share -*- C++ -*-===//
//
// Where a product has fewer tiles than there are multiprocessors, the blocks of
// a cluster take a part of the summed loop each. In the end the parts are added
// up in order, so that the result is the same every time, out of each other's
// shared memory.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_CLUSTERPARTS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_CLUSTERPARTS_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// Lets the threads of all blocks of a cluster meet; each sees what the others
/// wrote before.
void meetInCluster(KernelBuilder &k);
/// The same at the end of a kernel whose memory others have read, and used what
/// they read: it only keeps the memory.
void leaveCluster(KernelBuilder &k);

/// Stores f32 `values` of thread `thread` of `threads` to `buffer` in shared
/// memory.
void storePart(KernelBuilder &k, ValueRange values, Value buffer, Value thread,
               int64_t threads);

/// The sums over all `parts` blocks of `count` values of `thread`, from number
/// `first` (i32) on, after all have been stored and the cluster has met.
SmallVector<Value> addParts(KernelBuilder &k, Value buffer, Value thread,
                            int64_t threads, int64_t parts, Value first,
                            int64_t count);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_CLUSTERPARTS_H
