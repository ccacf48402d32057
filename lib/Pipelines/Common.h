//===- Common.h - Stages that the pipelines share ----------------*- C++
//-*-===//

#ifndef OMNIMOE_LIB_PIPELINES_COMMON_H
#define OMNIMOE_LIB_PIPELINES_COMMON_H

#include "omnimoe/Pipelines/Pipelines.h"

namespace mlir::omnimoe {

/// Canonicalization and common subexpressions.
void addCleanup(OpPassManager &pm);

/// The check of what may remain after `stage`.
void addContract(OpPassManager &pm, StringRef stage);

/// Destinations, f32 sums, element-wise fusion, and the schedule of each block.
void buildSchedule(OpPassManager &pm, StringRef schedule, int64_t threads,
                   bool deterministic, ArrayRef<std::string> measured);

/// Tensors to memrefs, in the caller's memory where that is possible, and the
/// workspace for the rest. `addScratch` may add passes that lower operations
/// whose scratch buffers belong into the workspace too.
void buildBufferize(
    OpPassManager &pm,
    llvm::function_ref<void(OpPassManager &)> addScratch = nullptr);

/// Loops, memrefs and functions that run on the host to the LLVM dialect, and
/// the entry point that the runtime calls.
void buildHostToLLVM(OpPassManager &pm);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_PIPELINES_COMMON_H
