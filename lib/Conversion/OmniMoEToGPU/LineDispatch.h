//===- LineDispatch.h - Dispatch by lines of a grid --------------*- C++
//-*-===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_LINEDISPATCH_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_LINEDISPATCH_H

#include "BlockKernel.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {

/// Threads of a block that looks at the `topK` pairs of a token.
int64_t getTokenThreads(int64_t topK);

/// Emits the kernel that finds the groups of the pairs of `op`, where groups
/// are lines of a grid: a block for each token counts its pairs in all rows and
/// columns, in shared memory. `groups`, [P] of i16 or i32, takes the number of
/// groups for pairs without an expert; `counts`, i16 [T, G] or null, the pairs
/// that each token has in each group.
void emitLineGroups(KernelBuilder &k, DispatchOp op, Value groups, Value counts,
                    StringRef name);

/// True if a dispatch by lines has few enough groups for a table of tokens and
/// groups.
bool suitsLineDispatch(DispatchOp op);

/// Emits the kernels of such a dispatch.
void emitLineDispatch(KernelBuilder &k, DispatchOp op, StringRef prefix);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_LINEDISPATCH_H
