//===- Executable.h - A compiled program as a Python object -----*- C++ -*-===//

#ifndef OMNIMOE_PYTHON_EXECUTABLE_H
#define OMNIMOE_PYTHON_EXECUTABLE_H

#include "Results.h"

#include <string>
#include <vector>

namespace omnimoe::python {

/// The type of one argument or result; -1 in `shape` stands for T.
struct TensorSpec {
  std::string name;
  int32_t type;
  std::vector<int64_t> shape;

  /// "float32 [T, 512]"
  std::string text() const;
};

/// `omnimoe._core.Executable`, the base of `omnimoe.Executable`.
class Executable {
public:
  /// Compiles MLIR text. The interpreter's lock is not held meanwhile.
  Executable(const std::string &ir, const std::string &target,
             const std::string &schedule, int threads, bool deterministic,
             const std::string &cacheDir, const std::string &dumpDir,
             const std::string &dump, const std::string &measured);
  /// Loads a saved program.
  explicit Executable(const std::string &path);
  ~Executable();
  Executable(const Executable &) = delete;
  Executable &operator=(const Executable &) = delete;

  /// Runs on arrays whose types are not known to fit. `like` is the array
  /// whose kind the results take.
  pybind11::object call(const pybind11::args &arrays);
  /// Runs on views that fit the inputs; the first one gives the kind.
  pybind11::object run(View *inputs, size_t count, int64_t tokens,
                       pybind11::handle like);
  /// Runs on inputs, then outputs, all of them the caller's.
  void invoke(const pybind11::args &arrays, pybind11::handle workspace);

  pybind11::str ir(const std::string &stage) const;
  pybind11::str info() const;
  int64_t workspaceSize(int64_t tokens) const;
  void save(const std::string &path) const;
  /// Names that messages call the inputs by.
  void setNames(const std::vector<std::string> &names);

private:
  void readSignature();
  /// Reads `object` as argument `spec`; the first dynamic one sets `tokens`.
  void readArgument(pybind11::handle object, const TensorSpec &spec, View &view,
                    const View *first, int64_t &tokens,
                    std::string &tokensFrom);
  /// Refuses an array that is not on the device of the program, or not on that
  /// of the first array.
  void checkDevice(const TensorSpec &spec, const View &view,
                   const View *first) const;
  /// Reads the caller's buffer; what owns its memory comes back.
  pybind11::object readWorkspace(pybind11::handle workspace, const View &first,
                                 int64_t needed, void *&memory,
                                 int64_t &bytes) const;
  void invokeTensors(const std::vector<OmniMoeTensor> &tensors, void *workspace,
                     int64_t workspaceBytes, void *stream);

  OmniMoeExecutable *handle = nullptr;
  /// "cpu", or the GPU that the program is for.
  std::string target;
  bool forGPU = false;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

} // namespace omnimoe::python

#endif // OMNIMOE_PYTHON_EXECUTABLE_H
