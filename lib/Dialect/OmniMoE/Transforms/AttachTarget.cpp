//===- AttachTarget.cpp - Say what machine a module is for ----------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Target/Host.h"
#include "omnimoe/Target/NVIDIA.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_ATTACHTARGETPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
struct AttachTargetPass
    : omnimoe::impl::AttachTargetPassBase<AttachTargetPass> {
  using AttachTargetPassBase::AttachTargetPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (module->hasAttr(TargetAttr::kModuleAttrName))
      return;
    TargetAttr target = chip == "host" ? getHostTarget(&getContext())
                                       : getNVIDIATarget(&getContext(), chip);
    if (!target) {
      module.emitError("unknown chip '")
          << chip << "', expected host or one of "
          << llvm::join(getNVIDIAChips(), ", ");
      return signalPassFailure();
    }
    module->setAttr(TargetAttr::kModuleAttrName, target);
  }
};
} // namespace
