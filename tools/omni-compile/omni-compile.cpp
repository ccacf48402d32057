//===- omni-compile.cpp - Ahead-of-time compiler --------------------------===//
//
//   omni-compile FILE -o OUT.{o,s,ll,omni} [--header=FILE] ...
//
// The ending of the output says what is written: an object file, assembly, LLVM
// IR, or a program file for omnimoe_executable_load.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Config.h"
#include "omnimoe/Target/CHeader.h"
#include "omnimoe/Target/Compiler.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir::omnimoe;
using llvm::StringRef;
namespace cl = llvm::cl;

static cl::OptionCategory category("omni-compile options");

static cl::opt<std::string> input(cl::Positional, cl::desc("FILE"),
                                  cl::init("-"), cl::cat(category));
static cl::opt<std::string> output("o", cl::desc("File to write"),
                                   cl::value_desc("OUT.{o,s,ll,omni}"),
                                   cl::Required, cl::cat(category));
static cl::opt<std::string> target("target", cl::desc("cpu (this machine)"),
                                   cl::init("cpu"), cl::cat(category));
static cl::opt<std::string>
    schedule("schedule",
             cl::desc("auto, token_centric, expert_centric, dense or hybrid"),
             cl::init("auto"), cl::cat(category));
static cl::opt<int64_t>
    threads("threads", cl::desc("Threads to plan for; 0: all of the target's"),
            cl::init(0), cl::cat(category));
static cl::opt<std::string>
    header("header", cl::desc("C header to write beside an object file"),
           cl::value_desc("file"), cl::cat(category));
static cl::opt<std::string>
    prefix("prefix",
           cl::desc("What the object's functions begin with; by default the "
                    "name of the entry function"),
           cl::cat(category));

static int fail(const llvm::Twine &message) {
  llvm::errs() << "omni-compile: " << message << "\n";
  return 1;
}

static int write(StringRef path, StringRef bytes) {
  std::string message;
  if (path == "-") {
    llvm::outs() << bytes;
    return 0;
  }
  return writeFileAtomically(path, bytes, message) ? 0 : fail(message);
}

/// Objects of several programs can be linked together, so each has names of its
/// own. The name of the entry is known only after parsing, hence two steps.
static OmniMoeStatus findPrefix(StringRef source, CompileOptions &options,
                                std::string &message) {
  options.symbolPrefix = prefix;
  if (!options.symbolPrefix.empty())
    return OMNIMOE_OK;
  return getEntryName(source, options.symbolPrefix, message);
}

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  cl::HideUnrelatedOptions(category);
  cl::SetVersionPrinter([](llvm::raw_ostream &os) {
    os << "omni-compile " << OMNIMOE_VERSION << " (LLVM "
       << OMNIMOE_LLVM_VERSION << ")\n";
  });
  cl::ParseCommandLineOptions(argc, argv, "omnimoe ahead-of-time compiler\n");

  if (target != "cpu")
    return fail("--target: expected cpu, got " + target);
  StringRef extension = llvm::sys::path::extension(output);
  if (extension != ".o" && extension != ".s" && extension != ".ll" &&
      extension != ".omni")
    return fail("-o: expected a file ending in .o, .s, .ll or .omni, got " +
                output);
  if (!header.empty() && extension != ".o" && extension != ".s")
    return fail("--header: goes with an object file or assembly only");

  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(input);
  if (!buffer)
    return fail(input + ": " + buffer.getError().message());
  StringRef source = (*buffer)->getBuffer();

  CompileOptions options;
  options.schedule = schedule;
  options.threads = threads;
  std::string message, text;
  bool isProgram = extension == ".omni";
  if (!isProgram && findPrefix(source, options, message))
    return fail(message);

  ProgramFile program;
  StringRef stage = extension == ".s" ? "asm" : extension == ".ll" ? "llvm" : "";
  if (compileProgram(
          source, options, [&](StringRef name) { return name == stage; },
          [&](StringRef, StringRef shown) { text = shown.str(); }, program,
          message))
    return fail(message);

  if (!header.empty())
    if (int status = write(header, writeCHeader(program, options.symbolPrefix)))
      return status;
  return write(output, isProgram          ? serialize(program)
                       : extension == ".o" ? program.object
                                           : text);
}
