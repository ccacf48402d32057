//===- Builtins.h - Functions that compiled code calls ----------*- C++ -*-===//
//
// What MLIR's and LLVM's code generators expect to find at run time. Given
// here rather than taken from MLIR's runner library or the compiler's own
// run-time, since a shipped library may be alone. Links no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_RUNTIME_BUILTINS_H
#define OMNIMOE_RUNTIME_BUILTINS_H

namespace mlir::omnimoe::runtime {

/// Address of one of these functions (memrefCopy, the conversions between f32
/// and the half-precision types, and what enqueues kernels); null for any other
/// name.
void *findBuiltin(const char *name);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_BUILTINS_H
