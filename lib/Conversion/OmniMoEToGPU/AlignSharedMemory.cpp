//===- AlignSharedMemory.cpp - The pass omnimoe-align-shared-memory -------===//

#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_ALIGNSHAREDMEMORYPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// The widest access of a thread.
static constexpr int64_t kAlignment = 16;

namespace {
struct AlignSharedMemoryPass
    : omnimoe::impl::AlignSharedMemoryPassBase<AlignSharedMemoryPass> {
  void runOnOperation() override {
    Builder builder(&getContext());
    StringAttr name =
        builder.getStringAttr(LLVM::LLVMDialect::getAlignAttrName());
    getOperation()->walk([&](gpu::GPUFuncOp kernel) {
      for (unsigned i = 0; i < kernel.getNumWorkgroupAttributions(); ++i)
        kernel.setWorkgroupAttributionAttr(
            i, name, builder.getI64IntegerAttr(kAlignment));
    });
  }
};
} // namespace
