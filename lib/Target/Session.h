//===- Session.h - A context and the module in it ---------------*- C++ -*-===//

#ifndef OMNIMOE_LIB_TARGET_SESSION_H
#define OMNIMOE_LIB_TARGET_SESSION_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include <string>

namespace mlir::omnimoe {

/// A context, the module in it, and what was said about it.
class Session {
public:
  Session();

  MLIRContext &getContext() { return context; }
  ModuleOp getModule() { return *module; }

  /// Errors, warnings and notes so far, one a line.
  const std::string &getDiagnostics() const { return diagnostics; }

  LogicalResult parse(StringRef source);

private:
  void record(Diagnostic &diagnostic);

  std::string diagnostics;
  MLIRContext context;
  ScopedDiagnosticHandler handler;
  OwningOpRef<ModuleOp> module;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_TARGET_SESSION_H
