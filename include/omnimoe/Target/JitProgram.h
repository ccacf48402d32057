//===- JitProgram.h - Machine code loaded into the process ------*- C++ -*-===//

#ifndef OMNIMOE_TARGET_JITPROGRAM_H
#define OMNIMOE_TARGET_JITPROGRAM_H

#include "omnimoe/Runtime/Launch.h"
#include "llvm/ADT/StringRef.h"
#include <memory>

namespace llvm::orc {
class LLJIT;
} // namespace llvm::orc

namespace mlir::omnimoe {

/// One compiled program in memory. Always made from the bytes of an object
/// file, so that a program just compiled and one out of the cache take the same
/// path. Programs know nothing of each other; the code goes with the object.
class JitProgram {
public:
  ~JitProgram();

  /// Links `object` into the process. OMNIMOE_DEVICE_ERROR if it needs an
  /// OpenMP run-time that is not to be found.
  static OmniMoeStatus load(llvm::StringRef object,
                            std::unique_ptr<JitProgram> &program,
                            std::string &message);

  const runtime::EntryPoints &getEntryPoints() const { return entryPoints; }

private:
  explicit JitProgram(std::unique_ptr<llvm::orc::LLJIT> jit);

  std::unique_ptr<llvm::orc::LLJIT> jit;
  runtime::EntryPoints entryPoints;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_JITPROGRAM_H
