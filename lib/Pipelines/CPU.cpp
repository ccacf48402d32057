//===- CPU.cpp - omnimoe-to-llvm ------------------------------------------===//

#include "Common.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/SCF/Transforms/Passes.h"
#include "mlir/Dialect/Vector/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "omnimoe/Conversion/Passes.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"
#include "omnimoe/Target/Host.h"

using namespace mlir;
using namespace mlir::omnimoe;

static void buildTile(OpPassManager &pm, const CPUPipelineOptions &options) {
  pm.addNestedPass<func::FuncOp>(createPartitionPairsPass());
  // The pairs of an expert are those of the whole batch; everything else is
  // reordered within its tile.
  ExpertCentricReorderPassOptions reorder;
  reorder.onlyToExperts = true;
  pm.addNestedPass<func::FuncOp>(createExpertCentricReorderPass(reorder));
  TilePassOptions tile;
  tile.threads = options.threads;
  tile.tokenTile = options.tokenTile;
  pm.addNestedPass<func::FuncOp>(createSplitPairsPass());
  pm.addNestedPass<func::FuncOp>(createTilePass(tile));
  // Before the cleanup, which takes away the loop around a single tile.
  addContract(pm, "tile");
  addCleanup(pm);
}

static void buildReorder(OpPassManager &pm) {
  pm.addNestedPass<func::FuncOp>(createExpertCentricReorderPass());
  pm.addNestedPass<func::FuncOp>(createTransposeActivationsPass());
  addCleanup(pm);
}

static void buildVector(OpPassManager &pm, const CPUPipelineOptions &options) {
  int64_t vectorBits =
      options.vectorBits > 0 ? options.vectorBits : getHostInfo().vectorBits;
  ConvertOmniMoEToVectorPassOptions toVector;
  toVector.vectorBits = vectorBits;
  pm.addPass(createConvertOmniMoEToVectorPass(toVector));
  ConvertLinalgToVectorPassOptions linalgToVector;
  linalgToVector.vectorBits = vectorBits;
  pm.addPass(createConvertLinalgToVectorPass(linalgToVector));
  pm.addPass(createConvertLinalgToLoopsPass());
  addContract(pm, "vector");
  pm.addPass(createConvertMathToPolynomialPass());
  // One thread runs the tiles in a plain loop and needs no OpenMP.
  if (options.threads == 1)
    pm.addNestedPass<func::FuncOp>(createForallToForLoopPass());
  else
    pm.addNestedPass<func::FuncOp>(createForallToParallelLoopPass());
  pm.addPass(memref::createFoldMemRefAliasOpsPass());
  addCleanup(pm);
  pm.addPass(createLoopInvariantCodeMotionPass());
}

static void buildLLVMDialect(OpPassManager &pm) {
  pm.addPass(createConvertSCFToOpenMPPass());
  // Makes the outlined regions small before everything in them is expanded.
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createConvertVectorToSCFPass());
  buildHostToLLVM(pm);
}

SmallVector<Stage>
mlir::omnimoe::getCPUStages(const CPUPipelineOptions &options) {
  // The options outlive neither this call nor the stages: copy their values.
  auto copy = std::make_shared<CPUPipelineOptions>();
  copy->copyOptionValuesFrom(options);
  return {
      {"schedule",
       [copy](OpPassManager &pm) {
         // Every schedule of a CPU gives the same bits every time.
         buildSchedule(pm, copy->schedule, copy->threads,
                       /*deterministic=*/true, copy->measured);
       }},
      {"tile", [copy](OpPassManager &pm) { buildTile(pm, *copy); }},
      {"reorder", [](OpPassManager &pm) { buildReorder(pm); }},
      {"bufferize", [](OpPassManager &pm) { buildBufferize(pm); }},
      {"vector", [copy](OpPassManager &pm) { buildVector(pm, *copy); }},
      {"llvm-dialect", [](OpPassManager &pm) { buildLLVMDialect(pm); }},
  };
}

void mlir::omnimoe::buildOmniMoEToLLVMPipeline(
    OpPassManager &pm, const CPUPipelineOptions &options) {
  for (const Stage &stage : getCPUStages(options))
    stage.build(pm);
}
