//===- PTXCompiler.h - PTX to cubins by the driver --------------*- C++ -*-===//

#ifndef OMNIMOE_RUNTIME_PTXCOMPILER_H
#define OMNIMOE_RUNTIME_PTXCOMPILER_H

#include "omnimoe-c/omnimoe.h"
#include "omnimoe/Runtime/CUDADriver.h"
#include <functional>
#include <string>
#include <vector>

namespace mlir::omnimoe::runtime {

/// Calls `work(i)` for every i below `count`, with `context` current and
/// captures relaxed, on up to `threads` threads, and returns what the calls
/// returned.
std::vector<cuda::Result>
runInContext(const cuda::Driver &driver, cuda::Context context, size_t count,
             size_t threads, const std::function<cuda::Result(size_t)> &work);

/// Why the driver did not take `text`, and what to do; `log` is what its
/// compiler said.
std::string explainPTXError(const cuda::Driver &driver, cuda::Result result,
                            const std::string &text,
                            const std::string &log = "");

/// Compiles each text for the device of `context`, several at a time, but for
/// those that the driver is to compile when it loads them: these stay as they
/// are. (The driver has a disk cache of its own for what it loads.) `load` is
/// called for each that is ready, with its number, on the thread that compiled
/// it.
OmniMoeStatus compilePTX(const cuda::Driver &driver, cuda::Context context,
                         const std::vector<std::string> &texts,
                         std::vector<std::string> &cubins, std::string &message,
                         const std::function<void(size_t)> &load = nullptr);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_PTXCOMPILER_H
