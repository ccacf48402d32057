//===- JitProgram.cpp - Machine code loaded into the process --------------===//

#include "omnimoe/Target/JitProgram.h"

#include "omnimoe/Config.h"
#include "omnimoe/Runtime/Builtins.h"
#include "omnimoe/Runtime/OpenMP.h"
#include "omnimoe/Target/Host.h"
#include "llvm/ExecutionEngine/Orc/JITTargetMachineBuilder.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include <dlfcn.h>
#include <mutex>

using namespace mlir::omnimoe;
namespace orc = llvm::orc;
using llvm::StringRef;

namespace {

/// Finds what compiled code refers to: our own functions, OpenMP (which is
/// loaded when a program first asks for it), libc and libm.
class RuntimeSymbols : public orc::DefinitionGenerator {
public:
  /// `missing` receives why OpenMP could not be loaded.
  explicit RuntimeSymbols(std::string &missing) : missing(missing) {}

  llvm::Error tryToGenerate(orc::LookupState &, orc::LookupKind,
                            orc::JITDylib &dylib, orc::JITDylibLookupFlags,
                            const orc::SymbolLookupSet &names) override {
    orc::SymbolMap found;
    for (const auto &[name, flags] : names) {
      void *address = find(*name);
      if (!missing.empty())
        return llvm::createStringError(missing);
      if (address)
        found[name] = {orc::ExecutorAddr::fromPtr(address),
                       llvm::JITSymbolFlags::Exported};
    }
    return dylib.define(orc::absoluteSymbols(std::move(found)));
  }

private:
  void *find(StringRef name) {
    std::string text = name.str();
    if (void *address = runtime::findBuiltin(text.c_str()))
      return address;
    if (name.starts_with("__kmpc_") || name.starts_with("omp_") ||
        name.starts_with("kmp_")) {
      if (!runtime::loadOpenMP(OMNIMOE_LLVM_LIBDIR, missing))
        return nullptr;
      return runtime::findOpenMPSymbol(text.c_str());
    }
    if (void *address = dlsym(RTLD_DEFAULT, text.c_str()))
      return address;
    // libm may be loaded for our library alone, where the default search of
    // the process does not look.
    static void *libm = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
    return libm ? dlsym(libm, text.c_str()) : nullptr;
  }

  std::string &missing;
};

} // namespace

/// A linker without the parts of LLJIT that compile IR and run initializers.
static llvm::Expected<std::unique_ptr<orc::LLJIT>>
createLinker(std::shared_ptr<std::string> details) {
  static std::once_flag initialized;
  std::call_once(initialized, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
  });
  const HostInfo &host = getHostInfo();
  orc::JITTargetMachineBuilder machine{llvm::Triple(host.triple)};
  machine.setCPU(host.chip);
  auto jit = orc::LLJITBuilder()
                 .setJITTargetMachineBuilder(std::move(machine))
                 .setPlatformSetUp(orc::setUpInactivePlatform)
                 .setLinkProcessSymbolsByDefault(false)
                 .create();
  if (!jit)
    return jit.takeError();
  // What the session reports is part of the message; nothing is printed.
  (*jit)->getExecutionSession().setErrorReporter([details](llvm::Error error) {
    *details += llvm::toString(std::move(error)) + "; ";
  });
  return jit;
}

JitProgram::JitProgram(std::unique_ptr<orc::LLJIT> jit) : jit(std::move(jit)) {}

JitProgram::~JitProgram() = default;

template <typename Function>
static llvm::Error bind(orc::LLJIT &jit, const char *name, Function &function) {
  llvm::Expected<orc::ExecutorAddr> address = jit.lookup(name);
  if (!address)
    return address.takeError();
  function = address->toPtr<Function>();
  return llvm::Error::success();
}

OmniMoeStatus JitProgram::load(StringRef object,
                               std::unique_ptr<JitProgram> &program,
                               std::string &message) {
  std::string missing;
  auto details = std::make_shared<std::string>();
  auto link = [&]() -> llvm::Error {
    auto jit = createLinker(details);
    if (!jit)
      return jit.takeError();
    program.reset(new JitProgram(std::move(*jit)));
    orc::LLJIT &linker = *program->jit;
    orc::DefinitionGenerator &symbols = linker.getMainJITDylib().addGenerator(
        std::make_unique<RuntimeSymbols>(missing));
    // The linker owns its input until it has linked it, so it gets a copy.
    if (llvm::Error error = linker.addObjectFile(
            llvm::MemoryBuffer::getMemBufferCopy(object, "omnimoe")))
      return error;
    runtime::EntryPoints &points = program->entryPoints;
    if (llvm::Error error = bind(linker, "omnimoe_entry", points.entry))
      return error;
    if (llvm::Error error =
            bind(linker, "omnimoe_workspace_size", points.workspaceSize))
      return error;
    // All is linked now, and the generator refers to a local variable.
    linker.getMainJITDylib().removeGenerator(symbols);
    return llvm::Error::success();
  };
  if (llvm::Error error = link()) {
    message = "linking: " + *details + llvm::toString(std::move(error));
    program.reset();
    if (missing.empty())
      return OMNIMOE_COMPILE_ERROR;
    message = missing;
    return OMNIMOE_DEVICE_ERROR;
  }
  return OMNIMOE_OK;
}
