//===- GPU.cpp - omnimoe-to-nvvm and omnimoe-host-to-llvm -----------------===//

#include "Common.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/GPU/Transforms/Passes.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "omnimoe/Conversion/Passes.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::omnimoe;

static void buildAttachAndSchedule(OpPassManager &pm,
                                   const GPUPipelineOptions &options) {
  AttachTargetPassOptions target;
  target.chip = options.chip;
  pm.addPass(createAttachTargetPass(target));
  buildSchedule(pm, options.schedule, /*threads=*/0, options.deterministic,
                options.measured);
}

static void buildKernel(OpPassManager &pm, const GPUPipelineOptions &options) {
  if (options.concurrent)
    pm.addPass(createAssignStreamsPass());
  pm.addPass(createConvertOmniMoEToGPUPass());
  addContract(pm, "kernel");
  pm.addPass(createUnpackBFloat16Pass());
  // The hardware's exponential first; then what polynomials are made of.
  pm.addPass(createConvertMathToNVVMApproxPass());
  pm.addPass(createConvertMathToPolynomialPass());
  pm.addPass(createConvertMathToNVVMApproxPass());
  addCleanup(pm);
  // Constants and sizes belong to the kernel, not to its parameters.
  pm.addPass(createGpuLaunchSinkIndexComputationsPass());
  pm.addPass(createGpuKernelOutliningPass());
  pm.addPass(createAlignSharedMemoryPass());
  if (options.overlap)
    pm.addPass(createOverlapLaunchesPass());
  pm.addPass(createFinishKernelsPass());
}

static void buildNVVM(OpPassManager &pm, const GPUPipelineOptions &options) {
  GpuNVVMAttachTargetOptions target;
  target.chip = options.chip;
  target.features = options.features;
  target.optLevel = 3;
  pm.addPass(createGpuNVVMAttachTarget(target));
  OpPassManager &kernels = pm.nest<gpu::GPUModuleOp>();
  addCleanup(kernels);
  kernels.addPass(createLoopInvariantCodeMotionPass());
  kernels.addPass(createSCFToControlFlowPass());
  // What is left of math are fused multiply-adds; convert-gpu-to-nvvm would
  // call CUDA's device library for them.
  kernels.addPass(createConvertMathToLLVMPass());
  kernels.addPass(memref::createExpandStridedMetadataPass());
  kernels.addPass(createLowerAffinePass());
  ConvertGpuOpsToNVVMOpsOptions toNVVM;
  toNVVM.indexBitwidth = 64;
  kernels.addPass(createConvertGpuOpsToNVVMOps(toNVVM));
  // Some of the hardware's instructions are inline PTX.
  kernels.addPass(createConvertNVVMToLLVMPass());
  addCleanup(kernels);
  kernels.addPass(createReconcileUnrealizedCastsPass());
  pm.addPass(createFinishKernelsPass());
}

static void buildBinary(OpPassManager &pm, const GPUPipelineOptions &options) {
  if (options.format == "nvvm")
    return;
  if (options.format == "isa") {
    pm.addPass(createKernelsToPTXPass());
    return;
  }
  GpuModuleToBinaryPassOptions binary;
  binary.compilationTarget = options.format;
  pm.addPass(createGpuModuleToBinaryPass(binary));
}

static void buildHost(OpPassManager &pm) {
  pm.addPass(createConvertGPULaunchToRuntimePass());
  buildHostToLLVM(pm);
}

/// The stages that end with the kernels compiled.
static SmallVector<Stage> getKernelStages(const GPUPipelineOptions &options) {
  auto copy = std::make_shared<GPUPipelineOptions>();
  copy->copyOptionValuesFrom(options);
  return {
      {"schedule",
       [copy](OpPassManager &pm) { buildAttachAndSchedule(pm, *copy); }},
      // A GPU reorders the whole batch: its groups, not its tokens, are what
      // runs in parallel.
      {"reorder",
       [](OpPassManager &pm) {
         pm.addNestedPass<func::FuncOp>(createPartitionPairsPass());
         pm.addNestedPass<func::FuncOp>(createExpertCentricReorderPass());
         pm.addNestedPass<func::FuncOp>(createFuseExpertBlocksPass());
         addCleanup(pm);
       }},
      {"tile",
       [](OpPassManager &pm) {
         pm.addNestedPass<func::FuncOp>(createSplitPairsPass());
         pm.addNestedPass<func::FuncOp>(createNarrowProductsPass());
         pm.addNestedPass<func::FuncOp>(createFuseElementwisePass());
         addCleanup(pm);
         // Versions of a product under an scf.if have one destination.
         pm.addNestedPass<func::FuncOp>(createSeparateDestinationsPass());
         pm.addPass(bufferization::createEmptyTensorEliminationPass());
         pm.addNestedPass<func::FuncOp>(createTileProductsPass());
         pm.addNestedPass<func::FuncOp>(createTilePass());
         addCleanup(pm);
         // Fills of two tiles, made one, would have to be copied again.
         pm.addNestedPass<func::FuncOp>(createFuseSiblingTilesPass());
       }},
      {"bufferize",
       [](OpPassManager &pm) {
         buildBufferize(pm, [](OpPassManager &scratch) {
           // A block lets the dispatch carry what it takes of each pair.
           scratch.addPass(createConvertOmniMoEExpertBlockToGPUPass());
           scratch.addPass(createConvertOmniMoEDispatchToGPUPass());
           addCleanup(scratch);
         });
       }},
      {"kernel", [copy](OpPassManager &pm) { buildKernel(pm, *copy); }},
      {"nvvm", [copy](OpPassManager &pm) { buildNVVM(pm, *copy); }},
      {"binary", [copy](OpPassManager &pm) { buildBinary(pm, *copy); }},
  };
}

SmallVector<Stage>
mlir::omnimoe::getGPUStages(const GPUPipelineOptions &options) {
  SmallVector<Stage> stages = getKernelStages(options);
  stages.push_back({"llvm-dialect", [](OpPassManager &pm) { buildHost(pm); }});
  return stages;
}

void mlir::omnimoe::buildOmniMoEToNVVMPipeline(
    OpPassManager &pm, const GPUPipelineOptions &options) {
  for (const Stage &stage : getKernelStages(options))
    stage.build(pm);
}

void mlir::omnimoe::buildOmniMoEHostToLLVMPipeline(OpPassManager &pm) {
  buildHost(pm);
}
