//===- PTXCompiler.h - PTX to cubins by the driver --------------*- C++ -*-===//

#ifndef OMNIMOE_RUNTIME_PTXCOMPILER_H
#define OMNIMOE_RUNTIME_PTXCOMPILER_H

#include "omnimoe-c/omnimoe.h"
#include "omnimoe/Runtime/CUDADriver.h"
#include <vector>

namespace mlir::omnimoe::runtime {

/// One text for each kernel, with all that is not a kernel in every one of
/// them, so that they can be compiled at the same time. `ptx` may be several
/// texts, one after the other, each with its `.version` directive.
std::vector<std::string> splitPTX(const std::string &ptx);

/// Compiles each text for the device of `context`, several at a time.
OmniMoeStatus compilePTX(const cuda::Driver &driver, cuda::Context context,
                         const std::vector<std::string> &texts,
                         std::vector<std::string> &cubins,
                         std::string &message);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_PTXCOMPILER_H
