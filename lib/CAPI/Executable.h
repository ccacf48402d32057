//===- Executable.h - The executable handle of the C API --------*- C++ -*-===//

#ifndef OMNIMOE_LIB_CAPI_EXECUTABLE_H
#define OMNIMOE_LIB_CAPI_EXECUTABLE_H

#include "omnimoe-c/omnimoe.h"
#include "omnimoe/Target/LoadedProgram.h"

/// Never changed after it is made, so threads may share it.
struct OmniMoeExecutable {
  mlir::omnimoe::LoadResult result;
  /// How long the call that made it took.
  double seconds;

  const mlir::omnimoe::LoadedProgram &getProgram() const {
    return *result.program;
  }
};

#endif // OMNIMOE_LIB_CAPI_EXECUTABLE_H
