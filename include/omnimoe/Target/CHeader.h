//===- CHeader.h - C header of a program compiled ahead of time -*- C++ -*-===//

#ifndef OMNIMOE_TARGET_CHEADER_H
#define OMNIMOE_TARGET_CHEADER_H

#include "omnimoe/Target/ProgramFile.h"

namespace mlir::omnimoe {

/// A C header that declares the functions of `program`, which was compiled
/// with `prefix`, and defines `<prefix>_run`, which takes plain pointers.
std::string writeCHeader(const ProgramFile &program, llvm::StringRef prefix);

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_CHEADER_H
