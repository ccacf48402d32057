//===- GPU.cpp - omnimoe-to-nvvm ------------------------------------------===//

#include "Common.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::omnimoe;

SmallVector<Stage>
mlir::omnimoe::getGPUStages(const GPUPipelineOptions &options) {
  std::string schedule = options.schedule;
  return {
      {"schedule",
       [schedule](OpPassManager &pm) {
         buildSchedule(pm, schedule, /*threads=*/0);
       }},
      {"reorder",
       [](OpPassManager &pm) {
         pm.addNestedPass<func::FuncOp>(createExpertCentricReorderPass());
         addCleanup(pm);
       }},
      {"bufferize", [](OpPassManager &pm) { buildBufferize(pm); }},
  };
}

void mlir::omnimoe::buildOmniMoEToNVVMPipeline(
    OpPassManager &pm, const GPUPipelineOptions &options) {
  for (const Stage &stage : getGPUStages(options))
    stage.build(pm);
}
