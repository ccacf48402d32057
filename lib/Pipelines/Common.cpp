//===- Common.cpp - Stages that the pipelines share -----------------------===//

#include "Common.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotAnalysis.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

using namespace mlir;
using namespace mlir::omnimoe;

void mlir::omnimoe::addCleanup(OpPassManager &pm) {
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}

void mlir::omnimoe::addContract(OpPassManager &pm, StringRef stage) {
  VerifyStagePassOptions options;
  options.stage = stage.str();
  pm.addPass(createVerifyStagePass(options));
}

void mlir::omnimoe::buildSchedule(OpPassManager &pm, StringRef schedule,
                                  int64_t threads, bool deterministic,
                                  ArrayRef<std::string> measured) {
  // arith and math on whole tensors mean the same element by element.
  pm.addPass(createConvertElementwiseToLinalgPass());
  addCleanup(pm);
  pm.addPass(createResultsToDestinationsPass());
  pm.addNestedPass<func::FuncOp>(createAccumulateInF32Pass());
  pm.addNestedPass<func::FuncOp>(createFuseElementwisePass());
  addCleanup(pm);
  SelectSchedulePassOptions options;
  options.schedule = schedule.str();
  options.threads = threads;
  options.deterministic = deterministic;
  options.measured.assign(measured.begin(), measured.end());
  pm.addPass(createSelectSchedulePass(options));
  addContract(pm, "schedule");
}

void mlir::omnimoe::buildBufferize(
    OpPassManager &pm, llvm::function_ref<void(OpPassManager &)> addScratch) {
  pm.addNestedPass<func::FuncOp>(createSeparateDestinationsPass());
  pm.addPass(bufferization::createEmptyTensorEliminationPass());
  bufferization::OneShotBufferizePassOptions options;
  options.bufferizeFunctionBoundaries = true;
  options.functionBoundaryTypeConversion =
      bufferization::LayoutMapOption::IdentityLayoutMap;
  pm.addPass(bufferization::createOneShotBufferizePass(options));
  pm.addPass(bufferization::createDropEquivalentBufferResultsPass());
  addCleanup(pm);
  addContract(pm, "bufferize");
  if (addScratch)
    addScratch(pm);
  pm.addPass(createPlanWorkspacePass());
  addCleanup(pm);
}

void mlir::omnimoe::buildHostToLLVM(OpPassManager &pm) {
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(createLowerAffinePass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createConvertMathToLibmPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createFinalizeMemRefToLLVMConversionPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createConvertOpenMPToLLVMPass());
  pm.addPass(createUBToLLVMConversionPass());
  addCleanup(pm);
  pm.addPass(createReconcileUnrealizedCastsPass());
  pm.addPass(createEmitEntryPass());
  addContract(pm, "llvm");
}
