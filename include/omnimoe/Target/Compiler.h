//===- Compiler.h - From source text to a compiled program ------*- C++ -*-===//

#ifndef OMNIMOE_TARGET_COMPILER_H
#define OMNIMOE_TARGET_COMPILER_H

#include "omnimoe/Target/ProgramFile.h"
#include <functional>
#include <vector>

namespace mlir::omnimoe {

/// Is told the text of the program after a stage, and the target it is for.
using StageObserver = std::function<void(
    llvm::StringRef target, llvm::StringRef stage, llvm::StringRef text)>;
/// Says whether the text after a stage is wanted.
using StageFilter = std::function<bool(llvm::StringRef stage)>;

/// Whether programs can be compiled for `target`: "cpu" or the name of a GPU.
bool isKnownTarget(llvm::StringRef target);

/// The stages of a compilation, in order: "input", those of the target's
/// pipelines, "ptx" for a GPU, and "llvm" (optimized LLVM IR) and "asm" of what
/// runs on the host.
std::vector<std::string> getStageNames(llvm::StringRef target);

/// The ending of a file that holds the text of a stage: ".mlir", ".ll", ...
llvm::StringRef getStageExtension(llvm::StringRef stage);

/// Compiles the one public function of the module in `source` for the target
/// of the options.
/// On failure `message` holds the diagnostics and the path of a reproducer.
OmniMoeStatus compileProgram(llvm::StringRef source,
                             const CompileOptions &options,
                             const StageFilter &wants,
                             const StageObserver &observe, ProgramFile &program,
                             std::string &message);

/// The text after one stage; compiles no further than that.
OmniMoeStatus getStageText(llvm::StringRef source,
                           const CompileOptions &options, llvm::StringRef stage,
                           std::string &text, std::string &message);

/// The name of the one public function of the module in `source`.
OmniMoeStatus getEntryName(llvm::StringRef source, std::string &name,
                           std::string &message);

/// Compiles the kernels of the module in `source` for an NVIDIA chip. `format`
/// is "isa" (PTX) or "bin" (a cubin, for which ptxas must be on the PATH).
OmniMoeStatus compileKernels(llvm::StringRef source, llvm::StringRef chip,
                             llvm::StringRef schedule, llvm::StringRef format,
                             std::string &kernels, std::string &message);

/// Runs a textual pass pipeline over `source` and prints the result.
OmniMoeStatus runPipeline(llvm::StringRef source, llvm::StringRef pipeline,
                          std::string &result, std::string &message);

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_COMPILER_H
