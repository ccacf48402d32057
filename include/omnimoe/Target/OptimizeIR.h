//===- OptimizeIR.h - LLVM's optimizer on a module --------------*- C++ -*-===//

#ifndef OMNIMOE_TARGET_OPTIMIZEIR_H
#define OMNIMOE_TARGET_OPTIMIZEIR_H

#include "llvm/Passes/PassBuilder.h"
#include "llvm/Target/TargetMachine.h"

namespace mlir::omnimoe {

/// Runs LLVM's pipeline for -O3 on `module`.
inline void optimizeIR(llvm::Module &module, llvm::TargetMachine &machine,
                       const llvm::PipelineTuningOptions &tuning = {}) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine, tuning);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3)
      .run(module, modules);
}

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_OPTIMIZEIR_H
