//===- Launch.h - Running a compiled program --------------------*- C++ -*-===//

#ifndef OMNIMOE_RUNTIME_LAUNCH_H
#define OMNIMOE_RUNTIME_LAUNCH_H

#include "omnimoe/Runtime/Signature.h"

namespace mlir::omnimoe::runtime {

/// The two functions of a compiled program. `entry` takes pointers to memref
/// descriptors: inputs, outputs, then the workspace; a program for a GPU takes
/// a pointer to its Queue after them.
struct EntryPoints {
  void (*entry)(void *const *descriptors) = nullptr;
  int64_t (*workspaceSize)(int64_t tokens) = nullptr;
};

/// Checks `tensors` and runs a program for the CPU on them. With `workspace`
/// null, a buffer of the calling thread serves, which grows as needed and is
/// kept.
OmniMoeStatus launch(const Signature &signature, const EntryPoints &program,
                     const OmniMoeTensor *tensors, size_t numTensors,
                     void *workspace, int64_t workspaceBytes,
                     std::string &message);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_LAUNCH_H
