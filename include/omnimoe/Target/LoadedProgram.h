//===- LoadedProgram.h - Programs ready to run ------------------*- C++ -*-===//

#ifndef OMNIMOE_TARGET_LOADEDPROGRAM_H
#define OMNIMOE_TARGET_LOADEDPROGRAM_H

#include "omnimoe/Runtime/GPUProgram.h"
#include "omnimoe/Target/JitProgram.h"
#include "omnimoe/Target/ProgramFile.h"
#include <memory>

namespace mlir::omnimoe {

/// A program and its code in memory.
struct LoadedProgram {
  ProgramFile file;
  std::unique_ptr<JitProgram> code;
  /// The kernels of a program for a GPU, else null.
  std::unique_ptr<runtime::GPUProgram> kernels;
};

/// Where to look for a program, and what to leave behind.
struct LoadRequest {
  std::string source;
  CompileOptions options;
  /// Folder of the disk cache; empty: none.
  std::string cacheDirectory;
  int64_t cacheBytes = 0;
  /// Folder for the text of stages; empty: none.
  std::string dumpDirectory;
  /// Stages to write there, separated by commas, or "all".
  std::string dumpStages = "all";
};

struct LoadResult {
  std::shared_ptr<const LoadedProgram> program;
  /// Whether it came out of memory or off the disk.
  bool cached = false;
  /// Why the disk cache could not be filled; empty if it was.
  std::string cacheMessage;
};

/// Takes a program that is still loaded, or one of the disk cache, or compiles
/// it. A request for dumps always compiles.
OmniMoeStatus loadProgram(const LoadRequest &request, LoadResult &result,
                          std::string &message);

/// Links a program that was saved; compiles its source again if that was done
/// on another kind of machine or by another build of the compiler.
OmniMoeStatus loadProgram(ProgramFile file, LoadResult &result,
                          std::string &message);

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_LOADEDPROGRAM_H
