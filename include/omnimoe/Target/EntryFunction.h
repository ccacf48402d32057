//===- EntryFunction.h - The public function of a program -------*- C++ -*-===//

#ifndef OMNIMOE_TARGET_ENTRYFUNCTION_H
#define OMNIMOE_TARGET_ENTRYFUNCTION_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "omnimoe/Runtime/Signature.h"
#include "llvm/Support/JSON.h"

namespace mlir::omnimoe {

/// Name of the argument attribute that messages to users call an argument by.
inline constexpr llvm::StringLiteral kNameAttr = "omnimoe.name";

/// Name of the module attribute that lists the schedules chosen.
inline constexpr llvm::StringLiteral kSchedulesAttr = "omnimoe.schedules";

/// The one public function of a module; fails with a diagnostic if there is
/// none or more than one.
FailureOr<func::FuncOp> getEntryFunction(ModuleOp module);

/// The tensors the function takes and gives; fails with a diagnostic where one
/// is not what the ABI can pass: ranked, of f32, f16, bf16 or i32, and static
/// but for the leading dimension.
FailureOr<runtime::Signature> getSignature(func::FuncOp function);

/// The schedules listed on the module, as JSON; empty if it has none.
llvm::json::Array getSchedules(ModuleOp module);

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_ENTRYFUNCTION_H
