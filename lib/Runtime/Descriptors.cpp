//===- Descriptors.cpp - What the entry function of a program takes -------===//

#include "Descriptors.h"

#include <new>

using namespace mlir::omnimoe::runtime;

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

OmniMoeStatus Descriptors::write(const OmniMoeTensor *tensors,
                                 size_t numTensors, void *workspace,
                                 int64_t workspaceBytes, void *queue,
                                 std::string &message) {
  int64_t *words = wordBuffer;
  size_t numWords = 5;
  for (size_t i = 0; i < numTensors; ++i)
    numWords += 3 + 2 * static_cast<size_t>(tensors[i].rank);
  size_t numPointers = numTensors + 1 + (queue ? 1 : 0);
  if (numPointers > kPointers || numWords > kWords) {
    manyPointers.reset(new (std::nothrow) void *[numPointers]);
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
  writeDescriptor(words, workspace, &workspaceBytes, 1);
  if (queue)
    pointers[numTensors + 1] = queue;
  return OMNIMOE_OK;
}

OmniMoeStatus mlir::omnimoe::runtime::checkCall(
    const Signature &signature, const EntryPoints &program,
    const OmniMoeTensor *tensors, size_t numTensors, int64_t &tokens,
    int64_t &workspaceBytes, std::string &message) {
  if (OmniMoeStatus status =
          checkTensors(signature, tensors, numTensors, tokens, message))
    return status;
  workspaceBytes = program.workspaceSize(tokens);
  if (workspaceBytes < 0) {
    message = "workspace: no size for T = " + std::to_string(tokens) +
              "; the program cannot take so many tokens";
    return OMNIMOE_SHAPE_ERROR;
  }
  return OMNIMOE_OK;
}

OmniMoeStatus
mlir::omnimoe::runtime::checkWorkspace(const void *workspace, int64_t given,
                                       int64_t needed, int64_t alignment,
                                       int64_t tokens, std::string &message) {
  if (given < needed) {
    message = "workspace_bytes: expected at least " + std::to_string(needed) +
              " for T = " + std::to_string(tokens) + ", got " +
              std::to_string(given);
    return OMNIMOE_INVALID_ARGUMENT;
  }
  if (reinterpret_cast<uintptr_t>(workspace) % alignment) {
    message = "workspace: expected an address that is a multiple of " +
              std::to_string(alignment);
    return OMNIMOE_INVALID_ARGUMENT;
  }
  return OMNIMOE_OK;
}
