//===- Pipelines.h - The order of passes, in one place -----------*- C++
//-*-===//
//
// omni-opt, the JIT and the ahead-of-time compiler run these very pipelines.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_PIPELINES_PIPELINES_H
#define OMNIMOE_PIPELINES_PIPELINES_H

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"
#include <functional>

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace mlir::omnimoe {

/// Options of `omnimoe-to-llvm`.
struct CPUPipelineOptions : PassPipelineOptions<CPUPipelineOptions> {
  Option<std::string> schedule{
      *this, "schedule",
      llvm::cl::desc("auto, token_centric, expert_centric, dense or hybrid"),
      llvm::cl::init("auto")};
  Option<int64_t> threads{
      *this, "threads",
      llvm::cl::desc("Threads to plan for; 0 means all of the target's; 1 "
                     "gives sequential code"),
      llvm::cl::init(0)};
  Option<int64_t> tokenTile{
      *this, "token-tile",
      llvm::cl::desc("Tokens of a tile where no schedule says"),
      llvm::cl::init(64)};
  Option<int64_t> vectorBits{
      *this, "vector-bits",
      llvm::cl::desc("Width of the vector registers; 0 means the host's"),
      llvm::cl::init(0)};
  ListOption<std::string> measured{
      *this, "measured",
      llvm::cl::desc("Measured schedules, as omnimoe-select-schedule takes "
                     "them")};
};

/// Options of `omnimoe-to-nvvm`.
struct GPUPipelineOptions : PassPipelineOptions<GPUPipelineOptions> {
  Option<std::string> chip{*this, "chip", llvm::cl::desc("NVIDIA chip"),
                           llvm::cl::init("sm_90a")};
  Option<std::string> features{*this, "features",
                               llvm::cl::desc("PTX features of LLVM"),
                               llvm::cl::init("+ptx86")};
  Option<std::string> schedule{
      *this, "schedule",
      llvm::cl::desc("auto, token_centric, expert_centric, dense or hybrid"),
      llvm::cl::init("auto")};
  Option<bool> concurrent{
      *this, "concurrent",
      llvm::cl::desc("Let independent products run on a second stream"),
      llvm::cl::init(true)};
  Option<bool> deterministic{
      *this, "deterministic",
      llvm::cl::desc("Only what gives the same bits every time"),
      llvm::cl::init(false)};
  Option<bool> overlap{
      *this, "overlap",
      llvm::cl::desc("Launch a kernel while the one before it ends"),
      llvm::cl::init(true)};
  Option<std::string> format{
      *this, "format",
      llvm::cl::desc("What the kernels end as: nvvm, isa (PTX) or bin (cubin, "
                     "needs ptxas)"),
      llvm::cl::init("isa")};
  ListOption<std::string> measured{
      *this, "measured",
      llvm::cl::desc("Measured schedules, as omnimoe-select-schedule takes "
                     "them")};
};

/// A named part of a pipeline. The IR after each one can be looked at.
struct Stage {
  StringRef name;
  std::function<void(OpPassManager &)> build;
};

/// The stages of `omnimoe-to-llvm`, in order: schedule, tile, reorder,
/// bufferize, vector, llvm-dialect.
SmallVector<Stage> getCPUStages(const CPUPipelineOptions &options);

/// The stages of `omnimoe-to-nvvm`, in order: schedule, reorder, tile,
/// bufferize, kernel, nvvm, binary; then `omnimoe-host-to-llvm`: llvm-dialect.
SmallVector<Stage> getGPUStages(const GPUPipelineOptions &options);

void buildOmniMoEToLLVMPipeline(OpPassManager &pm,
                                const CPUPipelineOptions &options);
void buildOmniMoEToNVVMPipeline(OpPassManager &pm,
                                const GPUPipelineOptions &options);
void buildOmniMoEHostToLLVMPipeline(OpPassManager &pm);

/// Registers every dialect the pipelines need, with its interfaces and its
/// translation to LLVM IR.
void registerAllDialects(DialectRegistry &registry);

/// Registers the passes of this project and the pipelines under their names.
void registerPassesAndPipelines();

} // namespace mlir::omnimoe

#endif // OMNIMOE_PIPELINES_PIPELINES_H
