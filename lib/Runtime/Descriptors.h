//===- Descriptors.h - What the entry function of a program takes ---------===//

#ifndef OMNIMOE_LIB_RUNTIME_DESCRIPTORS_H
#define OMNIMOE_LIB_RUNTIME_DESCRIPTORS_H

#include "omnimoe/Runtime/Launch.h"
#include <memory>

namespace mlir::omnimoe::runtime {

/// Pointers to memref descriptors: of the tensors, of the workspace, and, for a
/// GPU program, the queue itself. They live here, on the stack unless a program
/// has very many tensors.
class Descriptors {
public:
  Descriptors() = default;
  Descriptors(const Descriptors &) = delete;
  Descriptors &operator=(const Descriptors &) = delete;

  OmniMoeStatus write(const OmniMoeTensor *tensors, size_t numTensors,
                      void *workspace, int64_t workspaceBytes, void *queue,
                      std::string &message);

  void *const *get() const { return pointers; }

private:
  static constexpr size_t kPointers = 48, kWords = 512;

  void *pointerBuffer[kPointers];
  int64_t wordBuffer[kWords];
  std::unique_ptr<void *[]> manyPointers;
  std::unique_ptr<int64_t[]> manyWords;
  void **pointers = pointerBuffer;
};

/// T of the tensors after all checks, and the bytes of workspace they need.
OmniMoeStatus checkCall(const Signature &signature, const EntryPoints &program,
                        const OmniMoeTensor *tensors, size_t numTensors,
                        int64_t &tokens, int64_t &workspaceBytes,
                        std::string &message);

/// Checks the size and alignment of a workspace that the caller gave.
OmniMoeStatus checkWorkspace(const void *workspace, int64_t given,
                             int64_t needed, int64_t alignment, int64_t tokens,
                             std::string &message);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_LIB_RUNTIME_DESCRIPTORS_H
