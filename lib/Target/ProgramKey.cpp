//===- ProgramKey.cpp - What a compiled program depends on ----------------===//

#include "omnimoe/Config.h"
#include "omnimoe/Target/Host.h"
#include "omnimoe/Target/ProgramFile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SHA256.h"
#include <cstring>
#include <link.h>

using namespace mlir::omnimoe;
using llvm::StringRef;

namespace {

struct BuildIdSearch {
  uintptr_t address;
  std::string buildId;
};

} // namespace

/// Reads the GNU build id of the library or program that holds an address.
static int readBuildId(dl_phdr_info *info, size_t, void *data) {
  auto &search = *static_cast<BuildIdSearch *>(data);
  auto headers = llvm::ArrayRef<ElfW(Phdr)>(info->dlpi_phdr, info->dlpi_phnum);
  bool isOurs = llvm::any_of(headers, [&](const ElfW(Phdr) & header) {
    uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    return header.p_type == PT_LOAD && search.address >= begin &&
           search.address < begin + header.p_memsz;
  });
  if (!isOurs)
    return 0;
  for (const ElfW(Phdr) &header : headers) {
    if (header.p_type != PT_NOTE)
      continue;
    StringRef notes(
        reinterpret_cast<const char *>(info->dlpi_addr + header.p_vaddr),
        header.p_memsz);
    // Name and description follow each note's header, padded to 4 bytes.
    while (notes.size() >= sizeof(ElfW(Nhdr))) {
      ElfW(Nhdr) note;
      std::memcpy(&note, notes.data(), sizeof(note));
      size_t nameEnd = sizeof(note) + llvm::alignTo<4>(note.n_namesz);
      size_t end = nameEnd + llvm::alignTo<4>(note.n_descsz);
      if (end > notes.size())
        break;
      StringRef name = notes.substr(sizeof(note), note.n_namesz);
      if (note.n_type == NT_GNU_BUILD_ID && name == StringRef("GNU\0", 4)) {
        search.buildId = llvm::toHex(notes.substr(nameEnd, note.n_descsz));
        return 1;
      }
      notes = notes.drop_front(end);
    }
  }
  return 1;
}

/// Names this very build of the compiler, so that a cache never gives what an
/// older one compiled.
static const std::string &getBuildId() {
  static const std::string buildId = [] {
    BuildIdSearch search{reinterpret_cast<uintptr_t>(&readBuildId), ""};
    dl_iterate_phdr(readBuildId, &search);
    if (!search.buildId.empty())
      return search.buildId;
    // Linked without one: the time this file was compiled must do.
    return std::string(__DATE__ " " __TIME__);
  }();
  return buildId;
}

std::string mlir::omnimoe::getProgramKey(StringRef source,
                                         const CompileOptions &options) {
  const HostInfo &host = getHostInfo();
  llvm::SHA256 hash;
  // Each part with its length, so that no two lists of parts are one text.
  auto add = [&](StringRef part) {
    hash.update(std::to_string(part.size()) + ":");
    hash.update(part);
  };
  for (StringRef part :
       {StringRef(OMNIMOE_VERSION), StringRef(OMNIMOE_LLVM_VERSION),
        StringRef(getBuildId()), StringRef(host.triple), StringRef(host.chip),
        StringRef(host.allFeatures), StringRef(options.target),
        StringRef(options.schedule), StringRef(options.measured), source})
    add(part);
  for (int64_t number :
       {options.threads, int64_t(options.deterministic), host.units,
        host.vectorBits, host.l1Bytes, host.l2Bytes, host.llcBytes,
        host.matrixGflops, host.cacheGbps, host.memoryGbps})
    add(std::to_string(number));
  return llvm::toHex(hash.final(), /*LowerCase=*/true);
}
