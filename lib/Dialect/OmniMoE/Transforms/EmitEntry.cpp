//===- EmitEntry.cpp - The entry point that the runtime calls -------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_EMITENTRYPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

static constexpr StringLiteral kInterfacePrefix = "_mlir_ciface_";
static constexpr StringLiteral kEntryName = "omnimoe_entry";

namespace {
struct EmitEntryPass : omnimoe::impl::EmitEntryPassBase<EmitEntryPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (module.lookupSymbol(kEntryName))
      return;
    LLVM::LLVMFuncOp interface;
    for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
      if (!function.getName().starts_with(kInterfacePrefix) ||
          function.isExternal())
        continue;
      if (interface) {
        function.emitOpError("is a second entry point beside '")
            << interface.getName() << "'; a program has one";
        return signalPassFailure();
      }
      interface = function;
    }
    if (!interface) {
      module.emitError("has no function with the attribute "
                       "'llvm.emit_c_interface' to enter through");
      return signalPassFailure();
    }

    Location loc = interface.getLoc();
    OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
    auto pointer = LLVM::LLVMPointerType::get(&getContext());
    auto type = LLVM::LLVMFunctionType::get(
        LLVM::LLVMVoidType::get(&getContext()), pointer);
    auto entry = LLVM::LLVMFuncOp::create(builder, loc, kEntryName, type);
    Block *body = entry.addEntryBlock(builder);
    builder.setInsertionPointToStart(body);
    SmallVector<Value> arguments;
    for (unsigned i = 0, e = interface.getNumArguments(); i < e; ++i) {
      Value slot = LLVM::GEPOp::create(builder, loc, pointer, pointer,
                                       body->getArgument(0),
                                       ArrayRef<LLVM::GEPArg>{int32_t(i)});
      arguments.push_back(LLVM::LoadOp::create(builder, loc, pointer, slot));
    }
    LLVM::CallOp::create(builder, loc, interface, arguments);
    LLVM::ReturnOp::create(builder, loc, ValueRange());
  }
};
} // namespace
