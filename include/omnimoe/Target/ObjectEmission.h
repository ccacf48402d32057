//===- ObjectEmission.h - LLVM dialect to machine code ----------*- C++ -*-===//

#ifndef OMNIMOE_TARGET_OBJECTEMISSION_H
#define OMNIMOE_TARGET_OBJECTEMISSION_H

#include "mlir/Support/LLVM.h"
#include <memory>
#include <string>

namespace llvm {
class LLVMContext;
class Module;
} // namespace llvm

namespace mlir {
class ModuleOp;
} // namespace mlir

namespace mlir::omnimoe {

enum class MachineCode { Object, Assembly };

/// Translates a module in the LLVM and OpenMP dialects to LLVM IR for the host
/// and optimizes it (O3). Null on failure, after a diagnostic on `module`.
std::unique_ptr<llvm::Module> translateForHost(ModuleOp module,
                                               llvm::LLVMContext &context);

/// Text of LLVM IR.
std::string printLLVMIR(const llvm::Module &module);

/// Generates position-independent machine code for the host. Keeps `module` as
/// it is.
LogicalResult emitMachineCode(const llvm::Module &module, MachineCode kind,
                              std::string &bytes, std::string &message);

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_OBJECTEMISSION_H
