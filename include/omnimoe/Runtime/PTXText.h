//===- PTXText.h - What a text of PTX says of itself ------------*- C++ -*-===//

#ifndef OMNIMOE_RUNTIME_PTXTEXT_H
#define OMNIMOE_RUNTIME_PTXTEXT_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mlir::omnimoe::runtime {

/// One text for each kernel, with all that is not a kernel in every one of
/// them, so that each can be loaded by itself. `ptx` may be several
/// texts, one after the other, each with its `.version` directive.
std::vector<std::string> splitPTX(const std::string &ptx);

/// A kernel that a text defines.
struct PTXKernel {
  std::string name;
  /// The size of each parameter.
  std::vector<size_t> parameterBytes;
  /// False if one has a type that is not known here.
  bool parametersKnown = true;
};

/// The kernels of a text, in its order.
std::vector<PTXKernel> findPTXKernels(const std::string &text);

/// The version in a `.version` directive, 10 * major + minor; 0 if none.
int32_t getPTXVersion(const std::string &text);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_PTXTEXT_H
