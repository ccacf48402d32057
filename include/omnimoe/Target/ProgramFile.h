//===- ProgramFile.h - A compiled program as a file -------------*- C++ -*-===//
//
// Layout, all numbers little-endian:
//
//   8 bytes   "OMNIMOE\n"
//   u32       version of this layout
//   u32       number of sections
//   u64 each  size of each section
//   bytes     the sections: key, metadata (JSON), source (MLIR), object file,
//             PTX
//   32 bytes  SHA-256 of all before
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_TARGET_PROGRAMFILE_H
#define OMNIMOE_TARGET_PROGRAMFILE_H

#include "omnimoe/Runtime/Signature.h"
#include "llvm/Support/JSON.h"
#include <string>

namespace mlir::omnimoe {

/// What a compilation depends on beside its source and the host.
struct CompileOptions {
  /// "cpu", the name of a GPU such as "sm_90a", or "auto": what the module's
  /// `omnimoe.target` says, else "cpu".
  std::string target = "auto";
  std::string schedule = "auto";
  int64_t threads = 0;
  bool deterministic = false;
  /// Measured schedules, as `omnimoe-select-schedule` takes them, separated by
  /// commas.
  std::string measured;
  /// For objects that are linked into other programs: names the functions
  /// `<prefix>_invoke` and `<prefix>_workspace_size`. Empty for the JIT; not
  /// kept in files.
  std::string symbolPrefix;
};

/// All that is kept of a compiled program. The source comes along so that the
/// IR of a stage can be shown later, and so that a program that was saved on
/// another machine can be compiled for this one.
struct ProgramFile {
  /// SHA-256 over all that the object depends on, in hexadecimal.
  std::string key;
  std::string entry;
  /// "cpu", or the GPU that the kernels are for.
  std::string target = "cpu";
  std::string chip;
  runtime::Signature signature;
  /// The schedules the compiler chose, as it described them on the module.
  llvm::json::Array schedules;
  CompileOptions options;
  std::string source;
  std::string object;
  /// PTX of the kernels of a GPU program.
  std::string kernels;
  /// The kernels in the order that the object counts them in.
  std::vector<std::string> kernelNames;

  bool isForGPU() const { return target != "cpu"; }
};

/// The key of a program compiled by this library on this machine.
std::string getProgramKey(llvm::StringRef source,
                          const CompileOptions &options);

/// {"type": "f32", "shape": [-1, 512], "name": "x"} of each tensor.
llvm::json::Array toJSON(const std::vector<runtime::TensorSpec> &tensors);

std::string serialize(const ProgramFile &program);

/// The inverse; false, with a message, unless every byte is as it was written.
bool deserialize(llvm::StringRef bytes, ProgramFile &program,
                 std::string &message);

/// Writes beside `path` and renames, so that no reader sees half a file.
bool writeFileAtomically(llvm::StringRef path, llvm::StringRef bytes,
                         std::string &message);

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_PROGRAMFILE_H
