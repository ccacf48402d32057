//===- Launch.cpp - Running a compiled program ----------------------------===//

#include "omnimoe/Runtime/Launch.h"

#include "omnimoe/Runtime/OpenMP.h"
#include <cstdlib>
#include <memory>
#include <new>

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

/// Writes the words of a row-major memref descriptor of `rank` sizes.
static int64_t *writeDescriptor(int64_t *words, void *data,
                                const int64_t *sizes, int32_t rank) {
  words[0] = words[1] = reinterpret_cast<int64_t>(data);
  words[2] = 0;
  int64_t stride = 1;
  for (int32_t i = rank - 1; i >= 0; --i) {
    words[3 + i] = sizes[i];
    words[3 + rank + i] = stride;
    stride *= sizes[i];
  }
  return words + 3 + 2 * rank;
}

static OmniMoeStatus checkWorkspace(void *workspace, int64_t given,
                                    int64_t needed, int64_t tokens,
                                    std::string &message) {
  if (given < needed) {
    message = "workspace_bytes: expected at least " + std::to_string(needed) +
              " for T = " + std::to_string(tokens) + ", got " +
              std::to_string(given);
    return OMNIMOE_INVALID_ARGUMENT;
  }
  if (reinterpret_cast<uintptr_t>(workspace) % kWorkspaceAlignment) {
    message = "workspace: expected an address that is a multiple of " +
              std::to_string(kWorkspaceAlignment);
    return OMNIMOE_INVALID_ARGUMENT;
  }
  return OMNIMOE_OK;
}

OmniMoeStatus mlir::omnimoe::runtime::launch(const Signature &signature,
                                             const EntryPoints &program,
                                             const OmniMoeTensor *tensors,
                                             size_t numTensors, void *workspace,
                                             int64_t workspaceBytes,
                                             std::string &message) {
  int64_t tokens = 0;
  if (OmniMoeStatus status =
          checkTensors(signature, tensors, numTensors, tokens, message))
    return status;

  int64_t needed = program.workspaceSize(tokens);
  if (needed < 0) {
    message = "workspace: no size for T = " + std::to_string(tokens) +
              "; the program cannot take so many tokens";
    return OMNIMOE_SHAPE_ERROR;
  }
  if (workspace) {
    if (OmniMoeStatus status =
            checkWorkspace(workspace, workspaceBytes, needed, tokens, message))
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

  // Descriptors live on the stack unless a program has very many tensors.
  constexpr size_t kPointers = 48, kWords = 512;
  void *pointerBuffer[kPointers];
  int64_t wordBuffer[kWords];
  size_t numWords = 5;
  for (size_t i = 0; i < numTensors; ++i)
    numWords += 3 + 2 * static_cast<size_t>(tensors[i].rank);
  std::unique_ptr<void *[]> manyPointers;
  std::unique_ptr<int64_t[]> manyWords;
  void **pointers = pointerBuffer;
  int64_t *words = wordBuffer;
  if (numTensors + 1 > kPointers || numWords > kWords) {
    manyPointers.reset(new (std::nothrow) void *[numTensors + 1]);
    manyWords.reset(new (std::nothrow) int64_t[numWords]);
    if (!manyPointers || !manyWords) {
      message = "tensors: no memory for the descriptors of " +
                std::to_string(numTensors);
      return OMNIMOE_INTERNAL_ERROR;
    }
    pointers = manyPointers.get();
    words = manyWords.get();
  }

  for (size_t i = 0; i < numTensors; ++i) {
    pointers[i] = words;
    words = writeDescriptor(words, tensors[i].data, tensors[i].shape,
                            tensors[i].rank);
  }
  pointers[numTensors] = words;
  writeDescriptor(words, workspace, &needed, 1);
  // A single token is a single tile.
  ThreadScope threads(/*sequential=*/tokens <= 1);
  program.entry(pointers);
  return OMNIMOE_OK;
}
