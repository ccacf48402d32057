//===- ProgramCache.h - Compiled programs on disk ---------------*- C++ -*-===//
//
// A folder of program files, named by key. Any number of processes may use it
// at once: entries appear whole (written beside, then renamed) and may vanish
// at any time. An entry that cannot be read whole counts as absent.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_TARGET_PROGRAMCACHE_H
#define OMNIMOE_TARGET_PROGRAMCACHE_H

#include "omnimoe/Target/ProgramFile.h"
#include <optional>

namespace mlir::omnimoe {

class ProgramCache {
public:
  static constexpr int64_t kDefaultBytes = int64_t(512) << 20;

  /// `maxBytes` is what a store trims the folder to; 0 means the default.
  ProgramCache(std::string directory, int64_t maxBytes)
      : directory(std::move(directory)),
        maxBytes(maxBytes > 0 ? maxBytes : kDefaultBytes) {}

  /// The program of that key, if it is here and undamaged.
  std::optional<ProgramFile> find(llvm::StringRef key) const;

  /// Whether there is a file of that name, damaged or not.
  bool contains(llvm::StringRef key) const;

  /// Publishes a program and trims the folder. False, with a message, if the
  /// folder cannot be written; nothing else fails then.
  bool store(const ProgramFile &program, std::string &message) const;

private:
  std::string getPath(llvm::StringRef key) const;
  /// Removes the entries that were used longest ago, never `kept`.
  void trim(llvm::StringRef kept) const;

  std::string directory;
  int64_t maxBytes;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_PROGRAMCACHE_H
