//===- LoadedProgram.cpp - Programs ready to run --------------------------===//

#include "omnimoe/Target/LoadedProgram.h"

#include "omnimoe/Target/Compiler.h"
#include "omnimoe/Target/NVIDIA.h"
#include "omnimoe/Target/ProgramCache.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Path.h"
#include <mutex>

using namespace mlir::omnimoe;
using llvm::StringRef;

//===----------------------------------------------------------------------===//
// Programs in memory
//===----------------------------------------------------------------------===//

namespace {

/// The loaded programs by key. Holds none of them alive: a program goes with
/// its last executable.
class LoadedPrograms {
public:
  std::shared_ptr<const LoadedProgram> find(StringRef key) {
    std::lock_guard<std::mutex> lock(mutex);
    auto it = programs.find(key);
    return it == programs.end() ? nullptr : it->second.lock();
  }

  void insert(const std::shared_ptr<const LoadedProgram> &program) {
    std::lock_guard<std::mutex> lock(mutex);
    // Forget the dead now and then, so that the map does not grow for ever.
    if (programs.size() >= nextSweep) {
      llvm::SmallVector<std::string> dead;
      for (const auto &entry : programs)
        if (entry.second.expired())
          dead.push_back(entry.first().str());
      for (const std::string &key : dead)
        programs.erase(key);
      nextSweep = 2 * programs.size() + 64;
    }
    programs[program->file.key] = program;
  }

private:
  std::mutex mutex;
  llvm::StringMap<std::weak_ptr<const LoadedProgram>> programs;
  size_t nextSweep = 64;
};

} // namespace

/// Never destroyed: executables may outlive the library's static objects.
static LoadedPrograms &getLoadedPrograms() {
  static auto *programs = new LoadedPrograms;
  return *programs;
}

/// Links the host code of a program.
static OmniMoeStatus link(ProgramFile file, LoadResult &result,
                          std::string &message) {
  std::unique_ptr<JitProgram> code;
  if (OmniMoeStatus status = JitProgram::load(file.object, code, message))
    return status;
  auto program = std::make_shared<LoadedProgram>();
  program->file = std::move(file);
  program->code = std::move(code);
  if (program->file.isForGPU()) {
    const ProgramFile &kept = program->file;
    program->kernels = std::make_unique<runtime::GPUProgram>(
        runtime::GPUImage{kept.target, kept.kernels, kept.kernelNames});
  }
  getLoadedPrograms().insert(program);
  result.program = std::move(program);
  return OMNIMOE_OK;
}

//===----------------------------------------------------------------------===//
// Dumps
//===----------------------------------------------------------------------===//

namespace {

/// Writes the text of stages to files such as `<folder>/02-tile.mlir`.
class Dump {
public:
  explicit Dump(const LoadRequest &request) : folder(request.dumpDirectory) {
    llvm::SmallVector<StringRef> parts;
    StringRef(request.dumpStages).split(parts, ',');
    for (StringRef part : parts)
      if (!part.trim().empty())
        wanted.push_back(part.trim().str());
  }

  bool isOn() const { return !folder.empty(); }

  /// Fails if a stage is asked for that there is not, or without a folder.
  OmniMoeStatus open(StringRef target, std::string &message) const {
    std::vector<std::string> stages =
        getStageNames(isKnownTarget(target) ? target : "cpu");
    for (const std::string &name : wanted) {
      // The target of an "auto" is known when the module has been read.
      if (name == "all" || llvm::is_contained(stages, name) ||
          (target == "auto" &&
           llvm::is_contained(getStageNames(getNVIDIAChips().front()), name)))
        continue;
      message = "dump: expected stages of " + llvm::join(stages, ", ") +
                ", or \"all\"; got \"" + name + "\"";
      return OMNIMOE_INVALID_ARGUMENT;
    }
    if (std::error_code error = llvm::sys::fs::create_directories(folder)) {
      message = "dump_dir: " + folder.str().str() +
                " cannot be created: " + error.message();
      return OMNIMOE_IO_ERROR;
    }
    return OMNIMOE_OK;
  }

  bool wants(StringRef stage) const {
    return llvm::is_contained(wanted, "all") ||
           llvm::is_contained(wanted, stage);
  }

  void write(StringRef target, StringRef stage, StringRef text) {
    std::vector<std::string> stages = getStageNames(target);
    auto number = llvm::find(stages, stage) - stages.begin();
    llvm::SmallString<256> path(folder);
    llvm::sys::path::append(path, llvm::formatv("{0:02}-{1}{2}", number, stage,
                                                getStageExtension(stage)));
    std::string message;
    if (!writeFileAtomically(path, text, message) && failure.empty())
      failure = message;
  }

  /// What went wrong with a file; empty if nothing did.
  const std::string &getFailure() const { return failure; }

private:
  llvm::SmallString<256> folder;
  std::vector<std::string> wanted;
  std::string failure;
};

} // namespace

//===----------------------------------------------------------------------===//
// Loading
//===----------------------------------------------------------------------===//

OmniMoeStatus mlir::omnimoe::loadProgram(const LoadRequest &request,
                                         LoadResult &result,
                                         std::string &message) {
  result = LoadResult();
  std::string key = getProgramKey(request.source, request.options);
  std::optional<ProgramCache> cache;
  if (!request.cacheDirectory.empty())
    cache.emplace(request.cacheDirectory, request.cacheBytes);
  Dump dump(request);

  if (dump.isOn()) {
    if (OmniMoeStatus status = dump.open(request.options.target, message))
      return status;
  } else {
    if ((result.program = getLoadedPrograms().find(key))) {
      result.cached = true;
      if (cache && !cache->contains(key))
        cache->store(result.program->file, result.cacheMessage);
      return OMNIMOE_OK;
    }
    if (cache) {
      if (std::optional<ProgramFile> file = cache->find(key)) {
        std::string ignored;
        // An object that does not link counts as damaged too.
        if (link(std::move(*file), result, ignored) == OMNIMOE_OK) {
          result.cached = true;
          return OMNIMOE_OK;
        }
      }
    }
  }

  ProgramFile file;
  if (OmniMoeStatus status = compileProgram(
          request.source, request.options,
          [&](StringRef stage) { return dump.isOn() && dump.wants(stage); },
          [&](StringRef target, StringRef stage, StringRef text) {
            dump.write(target, stage, text);
          },
          file, message))
    return status;
  if (!dump.getFailure().empty()) {
    message = "dump_dir: " + dump.getFailure();
    return OMNIMOE_IO_ERROR;
  }
  if (OmniMoeStatus status = link(std::move(file), result, message))
    return status;
  if (cache)
    cache->store(result.program->file, result.cacheMessage);
  return OMNIMOE_OK;
}

OmniMoeStatus mlir::omnimoe::loadProgram(ProgramFile file, LoadResult &result,
                                         std::string &message) {
  result = LoadResult();
  if (file.key != getProgramKey(file.source, file.options)) {
    LoadRequest request;
    request.source = std::move(file.source);
    request.options = file.options;
    return loadProgram(request, result, message);
  }
  result.cached = true;
  if ((result.program = getLoadedPrograms().find(file.key)))
    return OMNIMOE_OK;
  return link(std::move(file), result, message);
}
