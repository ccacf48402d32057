//===- DispatchToGPU.cpp - The pass convert-omnimoe-dispatch-to-gpu -------===//

#include "LineDispatch.h"
#include "PairSort.h"
#include "omnimoe/Conversion/Passes.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_CONVERTOMNIMOEDISPATCHTOGPUPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
struct ConvertOmniMoEDispatchToGPUPass
    : omnimoe::impl::ConvertOmniMoEDispatchToGPUPassBase<
          ConvertOmniMoEDispatchToGPUPass> {
  void runOnOperation() override {
    int64_t units = getTarget(getOperation()).getUnits();
    SmallVector<DispatchOp> dispatches;
    getOperation().walk([&](DispatchOp op) {
      // One in a tile is a thread's or a block's own affair.
      if (op->getNumResults() == 0 && !op->getParentOfType<scf::ForallOp>() &&
          !op->getParentOfType<gpu::LaunchOp>())
        dispatches.push_back(op);
    });
    IRRewriter rewriter(&getContext());
    for (auto [index, op] : llvm::enumerate(dispatches)) {
      auto function = op->getParentOfType<FunctionOpInterface>();
      std::string prefix =
          (function.getName() + "_dispatch" + Twine(index)).str();
      rewriter.setInsertionPoint(op);
      KernelBuilder k(op.getLoc(), rewriter);
      GroupLayout layout = op.getLayout();
      if (layout.isByLines() && layout.getNumLines() > kMaxCountedGroups) {
        op.emitOpError()
            << "groups by lines of a grid: a block has counters for "
            << kMaxCountedGroups << " rows and columns, got "
            << layout.getNumLines();
        return signalPassFailure();
      }
      if (layout.isByLines() && suitsLineDispatch(op)) {
        emitLineDispatch(k, op, prefix);
        rewriter.eraseOp(op);
        continue;
      }
      PairChunks chunks = getPairChunks(k, op, units);
      Value keys = memref::AllocOp::create(
          k, MemRefType::get({ShapedType::kDynamic}, k.getI32Type()),
          chunks.pairs);
      emitPairSort(k, op, chunks, keys, prefix);
      emitSlots(k, op, chunks, keys, prefix);
      emitCarried(k, op, chunks, keys, prefix);
      rewriter.eraseOp(op);
    }
  }
};
} // namespace
