//===- Support.cpp - Errors, strings and versions of the C API ------------===//

#include "Support.h"

#include "omnimoe/Config.h"
#include <cstdlib>
#include <cstring>

using namespace mlir::omnimoe;

static thread_local std::string lastError;

OmniMoeStatus capi::fail(OmniMoeStatus status, std::string message) {
  lastError = std::move(message);
  return status;
}

OmniMoeStatus capi::failOnNull(const char *argument) {
  return fail(OMNIMOE_INVALID_ARGUMENT,
              std::string(argument) + ": expected a pointer, got null");
}

OmniMoeStatus capi::give(llvm::StringRef text, OmniMoeString *result) {
  auto *data = static_cast<char *>(std::malloc(text.size() + 1));
  if (!data)
    return fail(OMNIMOE_INTERNAL_ERROR, "no memory for a text of " +
                                            std::to_string(text.size()) +
                                            " bytes");
  std::memcpy(data, text.data(), text.size());
  data[text.size()] = 0;
  *result = {data, text.size()};
  return OMNIMOE_OK;
}

const char *omnimoe_last_error(void) { return lastError.c_str(); }

const char *omnimoe_version(void) { return OMNIMOE_VERSION; }

void omnimoe_string_destroy(OmniMoeString string) { std::free(string.data); }
