//===- Session.cpp - A context and the module in it -----------------------===//

#include "Session.h"

#include "mlir/IR/Location.h"
#include "mlir/Parser/Parser.h"
#include "omnimoe/Pipelines/Pipelines.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Interfaces and translations are registered once per process.
static const DialectRegistry &getRegistry() {
  static const DialectRegistry registry = [] {
    DialectRegistry registry;
    registerAllDialects(registry);
    return registry;
  }();
  return registry;
}

Session::Session()
    : context(getRegistry(), MLIRContext::Threading::DISABLED),
      handler(&context, [this](Diagnostic &diagnostic) {
        record(diagnostic);
        return success();
      }) {
  // The op's name and place are enough; a printed body hides the message.
  context.printOpOnDiagnostic(false);
}

LogicalResult Session::parse(StringRef source) {
  // The parser wants a terminating null, which a StringRef need not have.
  std::string text = source.str();
  ParserConfig config(&context);
  module = parseSourceString<ModuleOp>(text, config, "<input>");
  return success(static_cast<bool>(module));
}

void Session::record(Diagnostic &diagnostic) {
  llvm::raw_string_ostream os(diagnostics);
  auto print = [&](Diagnostic &part) {
    static constexpr StringLiteral kinds[] = {"note", "warning", "error",
                                              "remark"};
    if (auto place = part.getLocation()->findInstanceOf<FileLineColLoc>())
      os << place.getFilename().getValue() << ":" << place.getLine() << ":"
         << place.getColumn() << ": ";
    os << kinds[static_cast<unsigned>(part.getSeverity())] << ": " << part
       << "\n";
  };
  // Remarks of passes are for other listeners.
  if (diagnostic.getSeverity() == DiagnosticSeverity::Remark)
    return;
  print(diagnostic);
  for (Diagnostic &note : diagnostic.getNotes())
    print(note);
}
