//===- PairSort.h - Pairs in the order of their groups -----------*- C++
//-*-===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PAIRSORT_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PAIRSORT_H

#include "BlockKernel.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {

/// How P pairs are shared out: block b has pairs [b * chunk, (b + 1) * chunk),
/// and each of its warps an equal part of them, whose order is that of warps.
/// All values are indices on the host.
struct PairChunks {
  Value pairs, chunk, blocks;
  int64_t maxBlocks, topK;
};

PairChunks getPairChunks(KernelBuilder &k, DispatchOp op, int64_t units);

/// Threads of a block in the kernels of a dispatch.
inline constexpr int64_t kDispatchThreads = 256;

/// Calls `body` with each position of this warp's part of the pairs, one a
/// lane, and whether it is one. `load` gets the values of a position, several
/// of them ahead of their use. Values are carried along from `inits`.
SmallVector<Value> forEachPosition(
    KernelBuilder &k, BlockKernel &kernel, const PairChunks &chunks,
    ValueRange inits,
    llvm::function_ref<SmallVector<Value>(Value position)> load,
    llvm::function_ref<SmallVector<Value>(
        Value position, Value exists, ValueRange loaded, ValueRange carried)>
        body);

/// Emits the kernels that write the pairs of `op` in the order of their groups,
/// and within a group in their own, and `keys`, their groups. Pairs without an
/// expert come last, with the number of groups as key. `prefix` starts the
/// names of the kernels.
void emitPairSort(KernelBuilder &k, DispatchOp op, const PairChunks &chunks,
                  Value keys, StringRef prefix);

/// Emits the kernels that write the offsets, tokens and starts of `op` from its
/// sorted pairs.
void emitSlots(KernelBuilder &k, DispatchOp op, const PairChunks &chunks,
               Value keys, StringRef prefix);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PAIRSORT_H
