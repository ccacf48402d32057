//===- ObjectEmission.cpp - LLVM dialect to machine code ------------------===//

#include "omnimoe/Target/ObjectEmission.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "omnimoe/Target/Host.h"
#include "omnimoe/Target/OptimizeIR.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/Transforms/Utils/Cloning.h"
#include <mutex>

using namespace mlir;
using namespace mlir::omnimoe;

/// The code generator of the host: position-independent, so that the same
/// object serves the JIT and a shared library. Floating-point operations are
/// fused only where the IR allows it (FPOpFusion::Standard), so that the
/// result does not depend on the optimizer's mood.
static std::unique_ptr<llvm::TargetMachine>
createHostMachine(std::string &message) {
  static std::once_flag initialized;
  std::call_once(initialized, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    llvm::InitializeNativeTargetAsmParser();
  });
  const HostInfo &host = getHostInfo();
  llvm::Triple triple(host.triple);
  const llvm::Target *target =
      llvm::TargetRegistry::lookupTarget(triple, message);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard;
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      triple, host.chip, host.allFeatures, options, llvm::Reloc::PIC_,
      /*CM=*/std::nullopt, llvm::CodeGenOptLevel::Aggressive));
  if (!machine)
    message = "no code generator for " + host.triple;
  return machine;
}

/// Tells LLVM which vectors to use; by itself it avoids the widest ones on some
/// processors, where the compiled loops have been planned for them.
static void setFunctionAttributes(llvm::Module &module) {
  const HostInfo &host = getHostInfo();
  std::string width = std::to_string(host.vectorBits);
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("target-cpu", host.chip);
    function.addFnAttr("target-features", host.allFeatures);
    function.addFnAttr("prefer-vector-width", width);
  }
}

/// Only the two functions the runtime calls are seen from outside, so that the
/// rest can be inlined and dropped, and objects do not clash.
static void internalize(llvm::Module &module) {
  for (llvm::Function &function : module)
    if (!function.isDeclaration() && function.getName() != "omnimoe_entry" &&
        function.getName() != "omnimoe_workspace_size")
      function.setLinkage(llvm::GlobalValue::InternalLinkage);
  for (llvm::GlobalVariable &variable : module.globals())
    if (!variable.isDeclaration() && variable.hasExternalLinkage())
      variable.setLinkage(llvm::GlobalValue::InternalLinkage);
}

std::unique_ptr<llvm::Module>
mlir::omnimoe::translateForHost(ModuleOp module, llvm::LLVMContext &context) {
  std::string message;
  std::unique_ptr<llvm::TargetMachine> machine = createHostMachine(message);
  if (!machine) {
    module.emitError() << message;
    return nullptr;
  }
  std::unique_ptr<llvm::Module> result =
      translateModuleToLLVMIR(module, context, "omnimoe");
  if (!result) {
    module.emitError() << "cannot be translated to LLVM IR";
    return nullptr;
  }
  result->setTargetTriple(machine->getTargetTriple());
  result->setDataLayout(machine->createDataLayout());
  setFunctionAttributes(*result);
  internalize(*result);
  optimizeIR(*result, *machine);
  return result;
}

std::string mlir::omnimoe::printLLVMIR(const llvm::Module &module) {
  std::string text;
  llvm::raw_string_ostream os(text);
  module.print(os, /*AAW=*/nullptr);
  return text;
}

LogicalResult mlir::omnimoe::emitMachineCode(const llvm::Module &module,
                                             MachineCode kind,
                                             std::string &bytes,
                                             std::string &message) {
  std::unique_ptr<llvm::TargetMachine> machine = createHostMachine(message);
  if (!machine)
    return failure();
  // Code generation rewrites the IR it is given.
  std::unique_ptr<llvm::Module> copy = llvm::CloneModule(module);
  SmallVector<char, 0> buffer;
  llvm::raw_svector_ostream os(buffer);
  llvm::legacy::PassManager passes;
  auto fileType = kind == MachineCode::Object
                      ? llvm::CodeGenFileType::ObjectFile
                      : llvm::CodeGenFileType::AssemblyFile;
  if (machine->addPassesToEmitFile(passes, os, /*DwoOut=*/nullptr, fileType)) {
    message = "the code generator of " + getHostInfo().triple +
              " cannot write this kind of file";
    return failure();
  }
  passes.run(*copy);
  bytes.assign(buffer.begin(), buffer.end());
  return success();
}
