//===- Support.h - What the functions of the C API share --------*- C++ -*-===//

#ifndef OMNIMOE_LIB_CAPI_SUPPORT_H
#define OMNIMOE_LIB_CAPI_SUPPORT_H

#include "omnimoe-c/omnimoe.h"
#include "llvm/ADT/StringRef.h"
#include <string>

namespace mlir::omnimoe::capi {

/// Keeps `message` as this thread's last error and returns `status`.
OmniMoeStatus fail(OmniMoeStatus status, std::string message);

/// The failure of a null pointer given for `argument`.
OmniMoeStatus failOnNull(const char *argument);

/// Gives a copy of `text` to the caller, with a terminating null.
OmniMoeStatus give(llvm::StringRef text, OmniMoeString *result);

} // namespace mlir::omnimoe::capi

#endif // OMNIMOE_LIB_CAPI_SUPPORT_H
