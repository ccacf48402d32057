//===- ProgramCache.cpp - Compiled programs on disk -----------------------===//

#include "omnimoe/Target/ProgramCache.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>

using namespace mlir::omnimoe;
using llvm::StringRef;
namespace fs = llvm::sys::fs;

static constexpr StringRef kExtension = ".omni";

/// After this long a temporary file has no writer any more: the writer died.
static constexpr auto kTemporaryLife = std::chrono::hours(1);

std::string ProgramCache::getPath(StringRef key) const {
  llvm::SmallString<256> path(directory);
  llvm::sys::path::append(path, key + kExtension);
  return std::string(path);
}

bool ProgramCache::contains(StringRef key) const {
  return fs::exists(getPath(key));
}

std::optional<ProgramFile> ProgramCache::find(StringRef key) const {
  std::string path = getPath(key);
  // Read rather than mapped: a mapped file that another program truncates
  // would kill this one.
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false,
                                            /*IsVolatile=*/true);
  if (!buffer)
    return std::nullopt;
  ProgramFile program;
  std::string ignored;
  if (!deserialize((*buffer)->getBuffer(), program, ignored) ||
      program.key != key)
    return std::nullopt;
  // Many file systems do not keep the time of reading, so the time of writing
  // stands for the time of use.
  utimensat(AT_FDCWD, path.c_str(), /*times=*/nullptr, /*flags=*/0);
  return program;
}

bool ProgramCache::store(const ProgramFile &program,
                         std::string &message) const {
  if (std::error_code error = fs::create_directories(directory)) {
    message = directory + ": cannot be created: " + error.message();
    return false;
  }
  std::string path = getPath(program.key);
  if (!writeFileAtomically(path, serialize(program), message))
    return false;
  trim(path);
  return true;
}

void ProgramCache::trim(StringRef kept) const {
  struct Entry {
    std::string path;
    llvm::sys::TimePoint<> used;
    int64_t bytes;
  };
  std::vector<Entry> entries;
  int64_t total = 0;
  std::error_code error;
  auto now = std::chrono::system_clock::now();
  for (fs::directory_iterator it(directory, error), end; it != end && !error;
       it.increment(error)) {
    StringRef path = it->path();
    bool isTemporary =
        path.ends_with(".tmp") && path.contains((kExtension + ".").str());
    if (!path.ends_with(kExtension) && !isTemporary)
      continue; // not ours
    fs::file_status status;
    if (fs::status(path, status))
      continue; // removed by another process
    auto used = status.getLastModificationTime();
    if (isTemporary) {
      if (now - used > kTemporaryLife)
        fs::remove(path);
      continue;
    }
    total += static_cast<int64_t>(status.getSize());
    entries.push_back(
        {path.str(), used, static_cast<int64_t>(status.getSize())});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry &a, const Entry &b) { return a.used < b.used; });
  for (const Entry &entry : entries) {
    if (total <= maxBytes)
      return;
    if (entry.path == kept)
      continue;
    fs::remove(entry.path);
    total -= entry.bytes;
  }
}
