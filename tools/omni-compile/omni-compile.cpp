//===- omni-compile.cpp - Ahead-of-time compiler --------------------------===//
//
//   omni-compile FILE -o OUT.{o,so,s,ll,omni,ptx,cubin} [--header=FILE] ...
//
// The ending of the output says what is written: an object file, a shared
// library, assembly, LLVM IR, a program file for omnimoe_executable_load, or
// the kernels of a GPU.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Config.h"
#include "omnimoe/Target/CHeader.h"
#include "omnimoe/Target/Compiler.h"
#include "omnimoe/Target/NVIDIA.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir::omnimoe;
using llvm::StringRef;

static constexpr StringRef kHelp =
    R"(usage: omni-compile FILE -o OUT.{o,so,s,ll,omni,ptx,cubin} [options]

Compiles the omnimoe program in FILE ("-": standard input) ahead of time.

  -o OUT             object file, shared library (needs cc), assembly, LLVM IR or
                     program file, by its ending; with a GPU as target PTX, a
                     cubin (needs ptxas) or a program file
  --target=NAME      what to compile for: cpu (this machine, the default) or sm_90a
  --schedule=NAME    auto, token_centric, expert_centric, dense or hybrid
  --threads=N        threads to plan for; 0: all of the target's
  --header=FILE      also write a C header of the object
  --prefix=NAME      what the object's functions begin with; by default the name
                     of the entry function
  --version, --help
)";

static constexpr StringRef kCPUEndings[] = {".o", ".so", ".s", ".ll", ".omni"};
static constexpr StringRef kGPUEndings[] = {".ptx", ".cubin", ".omni"};

// LLVM's own command-line library is not used: linked against the shared LLVM
// its options are those of all of LLVM, and names as plain as these collide.
namespace {
struct Arguments {
  std::string input, output, header, target = "cpu";
  CompileOptions options;
};
} // namespace

static int fail(const llvm::Twine &message) {
  llvm::errs() << "omni-compile: " << message << "\n";
  return 1;
}

/// Takes "--name=value", "--name value" or, for -o, "-o value" off the front.
static bool takeOption(llvm::ArrayRef<const char *> &rest, StringRef name,
                       std::string &value) {
  StringRef argument = rest.front();
  if (argument == name && rest.size() > 1) {
    value = rest[1];
    rest = rest.drop_front(2);
    return true;
  }
  if (!argument.consume_front(name) || !argument.consume_front("="))
    return false;
  value = argument.str();
  rest = rest.drop_front();
  return true;
}

static int readArguments(llvm::ArrayRef<const char *> rest,
                         Arguments &arguments) {
  CompileOptions &options = arguments.options;
  while (!rest.empty()) {
    std::string threads;
    if (takeOption(rest, "-o", arguments.output) ||
        takeOption(rest, "--target", arguments.target) ||
        takeOption(rest, "--schedule", options.schedule) ||
        takeOption(rest, "--header", arguments.header) ||
        takeOption(rest, "--prefix", options.symbolPrefix))
      continue;
    if (takeOption(rest, "--threads", threads)) {
      if (StringRef(threads).getAsInteger(10, options.threads) ||
          options.threads < 0)
        return fail("--threads: expected 0 or more, got " + threads);
      continue;
    }
    StringRef argument = rest.front();
    if (argument.starts_with("-") && argument != "-")
      return fail("unknown option or missing value: " + argument +
                  " (--help lists the options)");
    if (!arguments.input.empty())
      return fail("expected one FILE, got " + arguments.input + " and " +
                  argument);
    arguments.input = argument.str();
    rest = rest.drop_front();
  }
  if (arguments.input.empty() || arguments.output.empty())
    return fail("expected FILE and -o OUT (--help shows the usage)");
  return 0;
}

static int checkArguments(const Arguments &arguments, StringRef extension) {
  bool forGPU = llvm::is_contained(getNVIDIAChips(), arguments.target);
  if (!forGPU && arguments.target != "cpu")
    return fail("--target: expected cpu or " +
                llvm::join(getNVIDIAChips(), " or ") + ", got " +
                arguments.target);
  llvm::ArrayRef<StringRef> endings =
      forGPU ? llvm::ArrayRef<StringRef>{kGPUEndings}
             : llvm::ArrayRef<StringRef>{kCPUEndings};
  if (!llvm::is_contained(endings, extension))
    return fail("-o: expected a file ending in " + llvm::join(endings, ", ") +
                " for target " + arguments.target + ", got " +
                arguments.output);
  if (!arguments.header.empty() && extension != ".o" && extension != ".so" &&
      extension != ".s")
    return fail("--header: goes with an object file, a shared library or "
                "assembly only");
  return 0;
}

static int write(StringRef path, StringRef bytes) {
  std::string message;
  return writeFileAtomically(path, bytes, message) ? 0 : fail(message);
}

/// Links an object into a shared library. OpenMP's run-time is found by whoever
/// loads it, as it is for the object.
static int linkSharedLibrary(StringRef object, StringRef output) {
  llvm::ErrorOr<std::string> linker = llvm::sys::findProgramByName("cc");
  if (!linker)
    return fail("-o: a shared library is linked by cc, and there is none on "
                "the PATH");
  llvm::SmallString<128> path;
  if (std::error_code error =
          llvm::sys::fs::createTemporaryFile("omni-compile", "o", path))
    return fail("no temporary file: " + error.message());
  llvm::FileRemover remover(path);
  if (int status = write(path, object))
    return status;
  std::string message;
  if (llvm::sys::ExecuteAndWait(*linker,
                                {*linker, "-shared", "-o", output, path},
                                std::nullopt, {}, 0, 0, &message))
    return fail("cc could not link " + output + ": " + message);
  return 0;
}

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  for (const char *argument : llvm::ArrayRef(argv, argc)) {
    if (StringRef(argument) == "--help" || StringRef(argument) == "-h") {
      llvm::outs() << kHelp;
      return 0;
    }
    if (StringRef(argument) == "--version") {
      llvm::outs() << "omni-compile " << OMNIMOE_VERSION << " (LLVM "
                   << OMNIMOE_LLVM_VERSION << ")\n";
      return 0;
    }
  }
  Arguments arguments;
  if (int status = readArguments(
          llvm::ArrayRef<const char *>(argv + 1, argc - 1), arguments))
    return status;
  StringRef extension = llvm::sys::path::extension(arguments.output);
  if (int status = checkArguments(arguments, extension))
    return status;

  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(arguments.input);
  if (!buffer)
    return fail(arguments.input + ": " + buffer.getError().message());
  StringRef source = (*buffer)->getBuffer();

  arguments.options.target = arguments.target;
  if (arguments.target != "cpu" && extension != ".omni") {
    std::string kernels, message;
    if (compileKernels(source, arguments.target, arguments.options.schedule,
                       extension == ".ptx" ? "isa" : "bin", kernels, message))
      return fail(message);
    return write(arguments.output, kernels);
  }

  // Objects of several programs can be linked together, so each has names of
  // its own; a program file is for the JIT, which wants the common ones.
  CompileOptions &options = arguments.options;
  std::string message, text;
  if (extension == ".omni")
    options.symbolPrefix.clear();
  else if (options.symbolPrefix.empty() &&
           getEntryName(source, options.symbolPrefix, message))
    return fail(message);

  ProgramFile program;
  StringRef stage = extension == ".s"    ? "asm"
                    : extension == ".ll" ? "llvm"
                                         : "";
  if (compileProgram(
          source, options, [&](StringRef name) { return name == stage; },
          [&](StringRef, StringRef, StringRef shown) { text = shown.str(); },
          program, message))
    return fail(message);

  if (!arguments.header.empty())
    if (int status = write(arguments.header,
                           writeCHeader(program, options.symbolPrefix)))
      return status;
  if (extension == ".so")
    return linkSharedLibrary(program.object, arguments.output);
  return write(arguments.output, extension == ".omni" ? serialize(program)
                                 : extension == ".o"  ? program.object
                                                      : text);
}
