//===- Launch.cpp - Running a compiled program on the CPU -----------------===//

#include "omnimoe/Runtime/Launch.h"

#include "Descriptors.h"
#include "omnimoe/Runtime/OpenMP.h"
#include <cstdlib>

using namespace mlir::omnimoe::runtime;

namespace {

/// The workspace of a thread whose callers bring none.
class ThreadWorkspace {
public:
  ThreadWorkspace() = default;
  ThreadWorkspace(const ThreadWorkspace &) = delete;
  ThreadWorkspace &operator=(const ThreadWorkspace &) = delete;
  ~ThreadWorkspace() { std::free(data); }

  /// At least `bytes` bytes, or null if there is no such memory.
  void *get(int64_t bytes) {
    if (bytes <= capacity)
      return data;
    std::free(data);
    data = nullptr;
    capacity = 0;
    int64_t rounded = bytes;
    if (__builtin_add_overflow(rounded, kWorkspaceAlignment - 1, &rounded))
      return nullptr;
    rounded -= rounded % kWorkspaceAlignment;
    data = std::aligned_alloc(kWorkspaceAlignment, rounded);
    if (data)
      capacity = rounded;
    return data;
  }

private:
  void *data = nullptr;
  int64_t capacity = 0;
};

} // namespace

OmniMoeStatus mlir::omnimoe::runtime::launch(const Signature &signature,
                                             const EntryPoints &program,
                                             const OmniMoeTensor *tensors,
                                             size_t numTensors, void *workspace,
                                             int64_t workspaceBytes,
                                             std::string &message) {
  int64_t tokens = 0, needed = 0;
  if (OmniMoeStatus status = checkCall(signature, program, tensors, numTensors,
                                       tokens, needed, message))
    return status;
  if (workspace) {
    if (OmniMoeStatus status =
            checkWorkspace(workspace, workspaceBytes, needed,
                           kWorkspaceAlignment, tokens, message))
      return status;
  } else if (needed > 0) {
    static thread_local ThreadWorkspace threadWorkspace;
    workspace = threadWorkspace.get(needed);
    if (!workspace) {
      message = "workspace: no memory for the " + std::to_string(needed) +
                " bytes that T = " + std::to_string(tokens) + " needs";
      return OMNIMOE_INTERNAL_ERROR;
    }
  }
  Descriptors descriptors;
  if (OmniMoeStatus status = descriptors.write(
          tensors, numTensors, workspace, needed, /*queue=*/nullptr, message))
    return status;
  // A single token is a single tile.
  ThreadScope threads(/*sequential=*/tokens <= 1);
  program.entry(descriptors.get());
  return OMNIMOE_OK;
}
