//===- VerifyStage.cpp - Contracts between the stages ---------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "llvm/ADT/StringSwitch.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_VERIFYSTAGEPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

static bool isLinalgOrOmniMoE(Operation *op) {
  return isa_and_present<linalg::LinalgDialect, OmniMoEDialect>(
      op->getDialect());
}

static LogicalResult checkSchedule(Operation *op) {
  bool scheduled = true;
  if (auto matmul = dyn_cast<GroupedMatmulOp>(op))
    scheduled = matmul.getSchedule() || matmul.isDispatched();
  else if (auto combine = dyn_cast<CombineOp>(op))
    scheduled = !combine.isToTokens() || combine.getSchedule() ||
                combine.isDispatched();
  if (scheduled)
    return success();
  return op->emitOpError("has no schedule (run omnimoe-select-schedule first)");
}

/// An operation is done if it is in a tile or has no parallel loop to cut.
static LogicalResult checkTile(Operation *op) {
  auto tileable = dyn_cast<TilingInterface>(op);
  if (!tileable || !isLinalgOrOmniMoE(op) || op->getNumResults() == 0 ||
      op->getParentOfType<scf::ForallOp>() || isa<linalg::FillOp>(op))
    return success();
  SmallVector<utils::IteratorType> loops = tileable.getLoopIteratorTypes();
  if (loops.empty() || loops.front() != utils::IteratorType::parallel)
    return success();
  return op->emitOpError("was not put into a parallel tile");
}

static LogicalResult checkBufferize(Operation *op) {
  auto isTensor = [](Type type) { return isa<TensorType>(type); };
  if (llvm::any_of(op->getOperandTypes(), isTensor) ||
      llvm::any_of(op->getResultTypes(), isTensor))
    return op->emitOpError("still works on tensors after bufferization");
  return success();
}

static LogicalResult checkVector(Operation *op) {
  if (isLinalgOrOmniMoE(op) && !op->getParentOfType<linalg::LinalgOp>())
    return op->emitOpError("was not lowered: nothing handles these operand "
                           "types on this target");
  return success();
}

/// What kernels work on is device memory, which the host cannot reach; copies
/// outside of kernels are the runtime's.
static LogicalResult checkKernel(Operation *op) {
  if (failed(checkVector(op)))
    return failure();
  bool touchesMemory =
      isa<memref::LoadOp, memref::StoreOp>(op) ||
      (isa_and_present<vector::VectorDialect>(op->getDialect()) &&
       isa<MemoryEffectOpInterface>(op) && !isMemoryEffectFree(op));
  if (touchesMemory && !op->getParentOfType<gpu::LaunchOp>() &&
      !op->getParentOfType<gpu::GPUModuleOp>())
    return op->emitOpError("was not put into a kernel");
  return success();
}

static LogicalResult checkLLVM(Operation *op) {
  if (isa<ModuleOp, gpu::BinaryOp>(op) ||
      isa_and_present<LLVM::LLVMDialect>(op->getDialect()) ||
      op->getName().getDialectNamespace() == "omp")
    return success();
  return op->emitOpError("was not lowered to the LLVM dialect");
}

namespace {
struct VerifyStagePass : omnimoe::impl::VerifyStagePassBase<VerifyStagePass> {
  using VerifyStagePassBase::VerifyStagePassBase;

  void runOnOperation() override {
    using Check = LogicalResult (*)(Operation *);
    auto check = llvm::StringSwitch<Check>(stage)
                     .Case("schedule", checkSchedule)
                     .Case("tile", checkTile)
                     .Case("bufferize", checkBufferize)
                     .Case("vector", checkVector)
                     .Case("kernel", checkKernel)
                     .Case("llvm", checkLLVM)
                     .Default(nullptr);
    if (!check) {
      getOperation().emitError("omnimoe-verify-stage: unknown stage '")
          << stage
          << "', expected schedule, tile, bufferize, vector, kernel or llvm";
      return signalPassFailure();
    }
    bool failedAny = false;
    getOperation().walk([&](Operation *op) { failedAny |= failed(check(op)); });
    if (failedAny)
      signalPassFailure();
    markAllAnalysesPreserved();
  }
};
} // namespace
