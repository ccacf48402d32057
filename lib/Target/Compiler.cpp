//===- Compiler.cpp - From source text to a compiled program --------------===//

#include "omnimoe/Target/Compiler.h"
#include "Session.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Pipelines/Pipelines.h"
#include "omnimoe/Target/EntryFunction.h"
#include "omnimoe/Target/Host.h"
#include "omnimoe/Target/NVIDIA.h"
#include "omnimoe/Target/ObjectEmission.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <mutex>

using namespace mlir;
using namespace mlir::omnimoe;

static constexpr StringLiteral kInputStage = "input";
static constexpr StringLiteral kLLVMStage = "llvm";
static constexpr StringLiteral kAsmStage = "asm";

static constexpr StringLiteral kPTXStage = "ptx";
/// Attribute of a module with the names of its kernels in order.
static constexpr StringLiteral kKernelsAttr = "omnimoe.kernels";

static SmallVector<std::string> getMeasured(const CompileOptions &options) {
  SmallVector<StringRef> entries;
  StringRef(options.measured).split(entries, ',', -1, /*KeepEmpty=*/false);
  return llvm::map_to_vector(entries, [](StringRef e) { return e.str(); });
}

/// The stages of MLIR passes for "cpu" or a GPU.
static SmallVector<Stage> getPassStages(StringRef target,
                                        const CompileOptions &options) {
  if (target == "cpu") {
    CPUPipelineOptions pipeline;
    pipeline.schedule = options.schedule;
    pipeline.threads = options.threads;
    pipeline.measured = getMeasured(options);
    return getCPUStages(pipeline);
  }
  GPUPipelineOptions pipeline;
  pipeline.chip = target.str();
  pipeline.schedule = options.schedule;
  pipeline.deterministic = options.deterministic;
  pipeline.measured = getMeasured(options);
  return getGPUStages(pipeline);
}

bool mlir::omnimoe::isKnownTarget(StringRef target) {
  return target == "cpu" || llvm::is_contained(getNVIDIAChips(), target);
}

std::vector<std::string> mlir::omnimoe::getStageNames(StringRef target) {
  std::vector<std::string> names{kInputStage.str()};
  for (const Stage &stage : getPassStages(target, CompileOptions()))
    names.push_back(stage.name.str());
  if (target != "cpu")
    names.push_back(kPTXStage.str());
  names.push_back(kLLVMStage.str());
  names.push_back(kAsmStage.str());
  return names;
}

StringRef mlir::omnimoe::getStageExtension(StringRef stage) {
  return llvm::StringSwitch<StringRef>(stage)
      .Case(kPTXStage, ".ptx")
      .Case(kLLVMStage, ".ll")
      .Case(kAsmStage, ".s")
      .Default(".mlir");
}

/// The pipeline with its options, in pass pipeline syntax.
static std::string getPipelineText(StringRef target,
                                   const CompileOptions &options) {
  std::string shared = " schedule=" + options.schedule;
  if (!options.measured.empty())
    shared += " measured=" + options.measured;
  if (target != "cpu")
    return "builtin.module(omnimoe-to-nvvm{chip=" + target.str() + shared +
           (options.deterministic ? " deterministic=true" : "") +
           "},omnimoe-host-to-llvm)";
  return "builtin.module(omnimoe-to-llvm{threads=" +
         std::to_string(options.threads) + shared + "})";
}

/// Writes a file that `omni-opt --run-reproducer` repeats the failure with and
/// returns a sentence that names it.
static std::string writeReproducer(StringRef source, StringRef target,
                                   const CompileOptions &options) {
  std::string text;
  Session session;
  llvm::raw_string_ostream os(text);
  if (succeeded(session.parse(source))) {
    if (target == "cpu" &&
        !session.getModule()->hasAttr(TargetAttr::kModuleAttrName))
      session.getModule()->setAttr(TargetAttr::kModuleAttrName,
                                   getHostTarget(&session.getContext()));
    OpPrintingFlags flags;
    flags.enableDebugInfo();
    session.getModule()->print(os, flags);
  } else {
    os << source;
  }
  os << "\n{-#\n  external_resources: {\n    mlir_reproducer: {\n"
     << "      pipeline: \"" << getPipelineText(target, options) << "\",\n"
     << "      disable_threading: true,\n      verify_each: true\n"
     << "    }\n  }\n#-}\n";
  int fd = -1;
  SmallString<128> path;
  if (std::error_code error = llvm::sys::fs::createTemporaryFile(
          "omnimoe-reproducer", "mlir", fd, path))
    return "no reproducer: " + error.message();
  llvm::raw_fd_ostream file(fd, /*shouldClose=*/true);
  file << text;
  file.close();
  if (file.has_error()) {
    file.clear_error();
    return "no reproducer: it cannot be written to " + path.str().str();
  }
  return "reproducer: " + path.str().str() +
         " (omni-opt --run-reproducer repeats the failure)";
}

//===----------------------------------------------------------------------===//
// Compilation
//===----------------------------------------------------------------------===//

namespace {

/// One run from source to object. `lastStage` empty means to the end.
class Compilation {
public:
  Compilation(StringRef source, const CompileOptions &options,
              const StageFilter &wants, const StageObserver &observe,
              StringRef lastStage)
      : source(source), options(options), wants(wants), observe(observe),
        lastStage(lastStage) {}

  OmniMoeStatus run(ProgramFile &program, std::string &message);

private:
  OmniMoeStatus describe(ProgramFile &program, std::string &message);
  OmniMoeStatus chooseTarget(std::string &message);
  OmniMoeStatus lower(ProgramFile &program, std::string &message);
  OmniMoeStatus takeKernels(ProgramFile &program, std::string &message);
  OmniMoeStatus generateCode(ProgramFile &program, std::string &message);

  /// Shows the module to the observer, if it wants to see it.
  void show(StringRef stage) {
    if (!wants || !wants(stage))
      return;
    std::string text;
    llvm::raw_string_ostream os(text);
    session.getModule()->print(os);
    os << "\n";
    observe(target, stage, text);
  }

  /// For a failure that is the compiler's own, so that a reproducer helps.
  OmniMoeStatus fail(StringRef stage, std::string &message) {
    message = session.getDiagnostics();
    if (message.empty())
      message = "error: no diagnostic was given\n";
    message = "stage '" + stage.str() + "' failed: " + message +
              writeReproducer(source, target, options);
    return OMNIMOE_COMPILE_ERROR;
  }

  StringRef source;
  const CompileOptions &options;
  const StageFilter &wants;
  const StageObserver &observe;
  StringRef lastStage;
  Session session;
  std::string target;
};

} // namespace

/// Parses, checks the module's form and reads what a caller must know of it.
OmniMoeStatus Compilation::describe(ProgramFile &program,
                                    std::string &message) {
  auto refuse = [&] {
    message = session.getDiagnostics();
    return OMNIMOE_COMPILE_ERROR;
  };
  if (failed(session.parse(source))) {
    if (session.getDiagnostics().empty()) {
      message = "error: the source is not an MLIR module";
      return OMNIMOE_COMPILE_ERROR;
    }
    return refuse();
  }
  ModuleOp module = session.getModule();
  FailureOr<func::FuncOp> entry = getEntryFunction(module);
  if (failed(entry))
    return refuse();
  FailureOr<runtime::Signature> signature = getSignature(*entry);
  if (failed(signature))
    return refuse();

  if (OmniMoeStatus status = chooseTarget(message))
    return status;
  program.target = target;
  program.entry = entry->getName().str();
  program.chip = target == "cpu" ? getHostInfo().chip : target;
  program.signature = std::move(*signature);
  program.options = options;
  program.source = source.str();
  return OMNIMOE_OK;
}

/// The target that the options name, else the module's own, else this machine.
OmniMoeStatus Compilation::chooseTarget(std::string &message) {
  ModuleOp module = session.getModule();
  auto given = module->getAttrOfType<TargetAttr>(TargetAttr::kModuleAttrName);
  target = options.target != "auto" ? options.target
           : given && given.isGPU() ? given.getChip().str()
                                    : "cpu";
  if (!isKnownTarget(target)) {
    message = "target: expected \"cpu\" or \"" +
              llvm::join(getNVIDIAChips(), "\" or \"") + "\", got \"" + target +
              "\"";
    return OMNIMOE_DEVICE_ERROR;
  }
  bool fits =
      !given || (target == "cpu" ? !given.isGPU() : given.getChip() == target);
  if (!fits) {
    message = "omnimoe.target: the module is for chip \"" +
              given.getChip().str() + "\", to be compiled for \"" + target +
              "\"";
    return OMNIMOE_DEVICE_ERROR;
  }
  return OMNIMOE_OK;
}

OmniMoeStatus Compilation::lower(ProgramFile &program, std::string &message) {
  // The GPU pipeline attaches its own.
  ModuleOp module = session.getModule();
  if (target == "cpu" && !module->hasAttr(TargetAttr::kModuleAttrName))
    module->setAttr(TargetAttr::kModuleAttrName,
                    getHostTarget(&session.getContext()));
  for (const Stage &stage : getPassStages(target, options)) {
    PassManager pm(&session.getContext(), ModuleOp::getOperationName());
    stage.build(pm);
    // Once a stage instead of once a pass, which takes a tenth of the time;
    // omni-opt does the latter.
    pm.enableVerifier(false);
    if (failed(pm.run(session.getModule())) ||
        failed(verify(session.getModule())))
      return fail(stage.name, message);
    // Later stages may drop the attribute.
    if (program.schedules.empty())
      program.schedules = getSchedules(session.getModule());
    show(stage.name);
    if (stage.name == lastStage)
      break;
  }
  return OMNIMOE_OK;
}

/// Moves the compiled kernels out of the module, whose rest is for the host.
OmniMoeStatus Compilation::takeKernels(ProgramFile &program,
                                       std::string &message) {
  ModuleOp module = session.getModule();
  for (auto binary :
       llvm::make_early_inc_range(module.getOps<gpu::BinaryOp>())) {
    for (Attribute object : binary.getObjects())
      program.kernels += cast<gpu::ObjectAttr>(object).getObject().getValue();
    binary.erase();
  }
  if (auto names = module->getAttrOfType<ArrayAttr>(kKernelsAttr))
    for (auto name : names.getAsRange<StringAttr>())
      program.kernelNames.push_back(name.str());
  if (program.kernels.empty() && !program.kernelNames.empty())
    return fail("binary", message);
  if (wants && wants(kPTXStage))
    observe(target, kPTXStage, program.kernels);
  return OMNIMOE_OK;
}

/// Gives the functions of the program names that no other program has.
static void renameEntryPoints(llvm::Module &module, StringRef prefix) {
  for (auto [from, to] :
       {std::pair("omnimoe_entry", "_invoke"),
        std::pair("omnimoe_workspace_size", "_workspace_size")})
    if (llvm::Function *function = module.getFunction(from))
      function->setName(prefix + to);
}

OmniMoeStatus Compilation::generateCode(ProgramFile &program,
                                        std::string &message) {
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> code =
      translateForHost(session.getModule(), llvmContext);
  if (!code)
    return fail(kLLVMStage, message);
  if (!options.symbolPrefix.empty())
    renameEntryPoints(*code, options.symbolPrefix);
  if (wants && wants(kLLVMStage))
    observe(target, kLLVMStage, printLLVMIR(*code));
  if (lastStage == kLLVMStage)
    return OMNIMOE_OK;
  if (wants && wants(kAsmStage)) {
    std::string text;
    if (failed(emitMachineCode(*code, MachineCode::Assembly, text, message)))
      return OMNIMOE_INTERNAL_ERROR;
    observe(target, kAsmStage, text);
  }
  if (lastStage == kAsmStage)
    return OMNIMOE_OK;
  if (failed(
          emitMachineCode(*code, MachineCode::Object, program.object, message)))
    return OMNIMOE_INTERNAL_ERROR;
  return OMNIMOE_OK;
}

OmniMoeStatus Compilation::run(ProgramFile &program, std::string &message) {
  if (OmniMoeStatus status = describe(program, message))
    return status;
  show(kInputStage);
  if (lastStage == kInputStage)
    return OMNIMOE_OK;
  if (OmniMoeStatus status = lower(program, message))
    return status;
  bool stopsInMLIR = !lastStage.empty() && lastStage != kLLVMStage &&
                     lastStage != kAsmStage && lastStage != kPTXStage;
  if (stopsInMLIR)
    return OMNIMOE_OK;
  if (target != "cpu")
    if (OmniMoeStatus status = takeKernels(program, message))
      return status;
  return lastStage == kPTXStage ? OMNIMOE_OK : generateCode(program, message);
}

OmniMoeStatus mlir::omnimoe::compileProgram(
    StringRef source, const CompileOptions &options, const StageFilter &wants,
    const StageObserver &observe, ProgramFile &program, std::string &message) {
  program = ProgramFile();
  program.key = getProgramKey(source, options);
  return Compilation(source, options, wants, observe, /*lastStage=*/"")
      .run(program, message);
}

OmniMoeStatus mlir::omnimoe::getStageText(StringRef source,
                                          const CompileOptions &options,
                                          StringRef stage, std::string &text,
                                          std::string &message) {
  std::vector<std::string> names =
      getStageNames(isKnownTarget(options.target) ? options.target : "cpu");
  if (!llvm::is_contained(names, stage)) {
    message = "stage: expected one of " + llvm::join(names, ", ") + "; got \"" +
              stage.str() + "\"";
    return OMNIMOE_INVALID_ARGUMENT;
  }
  StageFilter wants = [&](StringRef name) { return name == stage; };
  StageObserver observe = [&](StringRef, StringRef, StringRef shown) {
    text = shown.str();
  };
  ProgramFile program;
  return Compilation(source, options, wants, observe, stage)
      .run(program, message);
}

OmniMoeStatus mlir::omnimoe::getEntryName(StringRef source, std::string &name,
                                          std::string &message) {
  Session session;
  FailureOr<func::FuncOp> entry = failure();
  if (succeeded(session.parse(source)))
    entry = getEntryFunction(session.getModule());
  if (failed(entry)) {
    message = session.getDiagnostics();
    return OMNIMOE_COMPILE_ERROR;
  }
  name = entry->getName().str();
  return OMNIMOE_OK;
}

//===----------------------------------------------------------------------===//
// GPU kernels
//===----------------------------------------------------------------------===//

OmniMoeStatus mlir::omnimoe::compileKernels(StringRef source, StringRef chip,
                                            StringRef schedule,
                                            StringRef format,
                                            std::string &kernels,
                                            std::string &message) {
  Session session;
  auto fail = [&] {
    message = session.getDiagnostics();
    return OMNIMOE_COMPILE_ERROR;
  };
  if (failed(session.parse(source)))
    return fail();
  GPUPipelineOptions options;
  options.chip = chip.str();
  options.schedule = schedule.str();
  options.format = format.str();
  PassManager pm(&session.getContext(), ModuleOp::getOperationName());
  buildOmniMoEToNVVMPipeline(pm, options);
  if (failed(pm.run(session.getModule())))
    return fail();
  session.getModule()->walk([&](gpu::BinaryOp binary) {
    for (Attribute object : binary.getObjects())
      kernels += cast<gpu::ObjectAttr>(object).getObject().getValue();
  });
  if (!kernels.empty())
    return OMNIMOE_OK;
  message = "error: the program has no kernels";
  return OMNIMOE_COMPILE_ERROR;
}

//===----------------------------------------------------------------------===//
// Named pipelines
//===----------------------------------------------------------------------===//

OmniMoeStatus mlir::omnimoe::runPipeline(StringRef source, StringRef pipeline,
                                         std::string &result,
                                         std::string &message) {
  static std::once_flag registered;
  std::call_once(registered, [] { registerPassesAndPipelines(); });

  Session session;
  if (failed(session.parse(source))) {
    message = session.getDiagnostics();
    return OMNIMOE_COMPILE_ERROR;
  }
  PassManager pm(&session.getContext(), ModuleOp::getOperationName());
  llvm::raw_string_ostream os(message);
  // Both "a,b" and the form with its anchor, "builtin.module(a,b)".
  LogicalResult parsed = failure();
  if (pipeline.trim().starts_with("builtin.module(") &&
      pipeline.trim().ends_with(")"))
    parsed = parsePassPipeline(
        pipeline.trim().drop_front(strlen("builtin.module(")).drop_back(), pm,
        os);
  else
    parsed = parsePassPipeline(pipeline, pm, os);
  if (failed(parsed)) {
    message = "pipeline: " + message;
    return OMNIMOE_INVALID_ARGUMENT;
  }
  message.clear();
  if (failed(pm.run(session.getModule()))) {
    message = session.getDiagnostics();
    return OMNIMOE_COMPILE_ERROR;
  }
  llvm::raw_string_ostream text(result);
  session.getModule()->print(text);
  text << "\n";
  return OMNIMOE_OK;
}
