//===- OverlapLaunches.cpp - The pass omnimoe-overlap-launches ------------===//

#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_OVERLAPLAUNCHESPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// LLVM takes the intrinsics to touch no memory and could move loads across
/// them.
static void emitControl(ImplicitLocOpBuilder &b, StringRef instruction) {
  LLVM::InlineAsmOp::create(
      b, LLVM::LLVMVoidType::get(b.getContext()), ValueRange{}, instruction,
      "~{memory}", /*has_side_effects=*/true, /*is_align_stack=*/false,
      LLVM::TailCallKind::None,
      LLVM::AsmDialectAttr::get(b.getContext(), LLVM::AsmDialect::AD_ATT),
      ArrayAttr());
}

namespace {
struct OverlapLaunchesPass
    : omnimoe::impl::OverlapLaunchesPassBase<OverlapLaunchesPass> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      SmallVector<gpu::LaunchFuncOp> launches;
      DenseSet<Operation *> behindChange;
      if (!function.isExternal())
        collect(function.getBody().front(), /*changed=*/false, launches,
                behindChange);
      if (launches.size() < 2)
        continue;
      for (gpu::LaunchFuncOp launch : launches)
        overlap(launch, !behindChange.contains(launch));
    }
  }

  /// The launches in order, and those that the program changes streams right
  /// before; returns whether one behind `body` would be.
  bool collect(Block &body, bool changed,
               SmallVectorImpl<gpu::LaunchFuncOp> &launches,
               DenseSet<Operation *> &behindChange) {
    for (Operation &op : body) {
      if (auto call = dyn_cast<func::CallOp>(op)) {
        // A fork itself puts nothing on the caller's stream.
        changed |= call.getCallee() != kForkFunction;
      } else if (auto launch = dyn_cast<gpu::LaunchFuncOp>(op)) {
        launches.push_back(launch);
        if (changed)
          behindChange.insert(launch);
        changed = false;
      }
      // A branch without another guards what has no work.
      bool after = false, any = false;
      for (Region &region : op.getRegions())
        for (Block &inner : region) {
          after |= collect(inner, changed, launches, behindChange);
          any = true;
        }
      changed = any ? after : changed;
    }
    return changed;
  }

  void overlap(gpu::LaunchFuncOp launch, bool marks) {
    auto kernel = SymbolTable::lookupNearestSymbolFrom<gpu::GPUFuncOp>(
        launch, launch.getKernelAttr());
    if (!kernel)
      return;
    if (marks)
      launch->setAttr(kOverlapsAttrName, UnitAttr::get(&getContext()));
    if (kernel->hasAttr(kOverlapsAttrName))
      return;
    kernel->setAttr(kOverlapsAttrName, UnitAttr::get(&getContext()));
    ImplicitLocOpBuilder b(kernel.getLoc(), &getContext());
    b.setInsertionPointToStart(&kernel.getBody().front());
    emitControl(b, "griddepcontrol.wait;");
    emitControl(b, "griddepcontrol.launch_dependents;");
    ++numOverlapped;
  }
};
} // namespace
