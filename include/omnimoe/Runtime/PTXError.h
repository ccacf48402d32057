//===- PTXError.h - Why the driver did not take PTX -------------*- C++ -*-===//

#ifndef OMNIMOE_RUNTIME_PTXERROR_H
#define OMNIMOE_RUNTIME_PTXERROR_H

#include "omnimoe/Runtime/CUDADriver.h"
#include <string>

namespace mlir::omnimoe::runtime {

/// Why the driver did not load `text`, and what to do.
std::string explainPTXError(const cuda::Driver &driver, cuda::Result result,
                            const std::string &text);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_PTXERROR_H
