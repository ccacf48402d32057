//===- Signature.h - What a compiled program takes --------------*- C++ -*-===//
//
// The types and shapes of a program's tensors, and the check of a caller's
// tensors against them. Links no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_RUNTIME_SIGNATURE_H
#define OMNIMOE_RUNTIME_SIGNATURE_H

#include "omnimoe-c/omnimoe.h"
#include <string>
#include <vector>

namespace mlir::omnimoe::runtime {

/// Size in a shape that stands for T, the number of tokens.
inline constexpr int64_t kTokens = -1;

/// Alignment of a workspace, in bytes: a cache line and the widest vector.
inline constexpr int64_t kWorkspaceAlignment = 64;

struct TensorSpec {
  std::string name;
  OmniMoeType type;
  std::vector<int64_t> shape;
};

struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;

  size_t size() const { return inputs.size() + outputs.size(); }
  const TensorSpec &operator[](size_t i) const {
    return i < inputs.size() ? inputs[i] : outputs[i - inputs.size()];
  }
};

/// "f32", "f16", "bf16", "i32"; null for a value that is no type.
const char *getTypeName(OmniMoeType type);
/// The inverse; false if there is no such type.
bool parseTypeName(const std::string &name, OmniMoeType &type);
/// Bytes of one element.
int64_t getTypeSize(OmniMoeType type);

/// Checks rank, type, shape, strides, alignment and overlap of `tensors`.
/// Writes T to `tokens`; on failure says in `message` which tensor is wrong,
/// what was expected and what came.
OmniMoeStatus checkTensors(const Signature &signature,
                           const OmniMoeTensor *tensors, size_t numTensors,
                           int64_t &tokens, std::string &message);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_SIGNATURE_H
