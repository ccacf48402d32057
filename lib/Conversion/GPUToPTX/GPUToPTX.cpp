//===- GPUToPTX.cpp - The pass omnimoe-kernels-to-ptx ---------------------===//
//
// 1. Give each kernel a module of its own, with copies of all that is not a
//    kernel.
// 2. Translate the modules to LLVM IR, each in a context of its own.
// 3. Optimize them and generate code, several at a time.
// 4. Join the texts.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Conversion/Passes.h"
#include "omnimoe/Target/OptimizeIR.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Target/LLVM/ModuleToObject.h"
#include "mlir/Target/LLVM/NVVM/Utils.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/OptBisect.h"
#include "llvm/Support/ThreadPool.h"
#include "llvm/Target/TargetMachine.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_KERNELSTOPTXPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

namespace {

/// Leaves loop strength reduction out. In kernels with loops of thousands of
/// unrolled instructions it takes a quarter of code generation, for addresses
/// that are no better.
class NoStrengthReduction : public llvm::OptPassGate {
public:
  bool isEnabled() const override { return true; }
  bool shouldRunPass(StringRef pass, StringRef) const override {
    return pass != "Loop Strength Reduction";
  }
};

/// Instructions of a kernel, before it is optimized, that make it a large one.
constexpr size_t kLargeKernel = 5000;

/// The way of one module to PTX, as gpu-module-to-binary goes it, but for
/// LLVM's vectorizers: programs have the vectors that they should have, and on
/// a GPU they find nothing in a tenth of the optimizer's time.
class KernelModule : public LLVM::ModuleToObject {
public:
  KernelModule(OwningOpRef<gpu::GPUModuleOp> kernels,
               NVVM::NVVMTargetAttr target)
      : ModuleToObject(**kernels, target.getTriple(), target.getChip(),
                       target.getFeatures(), target.getO()),
        kernels(std::move(kernels)) {}

  LogicalResult translate() {
    ir = translateToLLVMIR(context);
    if (!ir)
      return getOperation().emitError("cannot be translated to LLVM IR");
    size = ir->getInstructionCount();
    return success();
  }

  /// Touches no MLIR, but for messages.
  void generateCode() {
    setDataLayoutAndTriple(*ir);
    FailureOr<llvm::TargetMachine *> machine = getOrCreateTargetMachine();
    if (failed(machine) || failed(optimizeModule(*ir, optLevel)))
      return;
    if (size > kLargeKernel)
      context.setOptPassGate(gate);
    FailureOr<SmallString<0>> code = translateModuleToISA(
        *ir, **machine, [&] { return getOperation().emitError(); });
    if (succeeded(code))
      text = code->str().str();
  }

  /// How much there is to do, more or less.
  size_t getSize() const { return size; }
  /// Empty if there is no code.
  StringRef getText() const { return text; }

protected:
  LogicalResult optimizeModule(llvm::Module &module, int level) override {
    if (level != 3)
      return ModuleToObject::optimizeModule(module, level);
    FailureOr<llvm::TargetMachine *> machine = getOrCreateTargetMachine();
    if (failed(machine))
      return failure();
    (*machine)->setOptLevel(llvm::CodeGenOptLevel::Aggressive);
    llvm::PipelineTuningOptions tuning;
    tuning.LoopVectorization = tuning.SLPVectorization = false;
    optimizeIR(module, **machine, tuning);
    return success();
  }

private:
  OwningOpRef<gpu::GPUModuleOp> kernels;
  NoStrengthReduction gate;
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> ir;
  size_t size = 0;
  std::string text;
};

using KernelModules = SmallVector<std::unique_ptr<KernelModule>>;

} // namespace

static bool isKernel(Operation &op) {
  return isa<LLVM::LLVMFuncOp>(op) &&
         op.hasAttr(gpu::GPUDialect::getKernelFuncAttrName());
}

static bool isOtherFunction(Operation &op) {
  auto function = dyn_cast<LLVM::LLVMFuncOp>(op);
  return function && !function.isExternal() && !isKernel(op);
}

/// Moves the kernels into modules of their own. A function that they call could
/// not be told from another's copy in the end, so then they stay together.
static KernelModules split(gpu::GPUModuleOp module,
                           NVVM::NVVMTargetAttr target) {
  KernelModules parts;
  if (llvm::any_of(*module.getBody(), isOtherFunction)) {
    parts.push_back(std::make_unique<KernelModule>(module.clone(), target));
    return parts;
  }
  for (Operation &op : llvm::make_early_inc_range(*module.getBody())) {
    if (!isKernel(op))
      continue;
    OwningOpRef<gpu::GPUModuleOp> part(
        cast<gpu::GPUModuleOp>(module->cloneWithoutRegions()));
    Block &body = part->getBodyRegion().emplaceBlock();
    for (Operation &other : *module.getBody())
      if (!isKernel(other))
        body.push_back(other.clone());
    op.moveBefore(&body, body.end());
    parts.push_back(std::make_unique<KernelModule>(std::move(part), target));
  }
  return parts;
}

static void generateCode(const KernelModules &parts) {
  // The longest first, since all wait for the last.
  SmallVector<KernelModule *> order;
  for (const auto &part : parts)
    order.push_back(part.get());
  llvm::sort(order, [](KernelModule *a, KernelModule *b) {
    return a->getSize() > b->getSize();
  });
  if (order.size() == 1)
    return order.front()->generateCode();
  llvm::DefaultThreadPool pool(llvm::hardware_concurrency(order.size()));
  for (KernelModule *part : order)
    pool.async([part] { part->generateCode(); });
  pool.wait();
}

/// Appends the PTX of a part to that of others, which begins with the same
/// directives. Declarations of all parts come from one module: one of each is
/// enough.
static void append(StringRef part, llvm::StringSet<> &declared,
                   std::string &text) {
  static constexpr StringLiteral kLastOfHead = ".address_size 64\n";
  if (!text.empty())
    part = part.split(kLastOfHead).second;
  StringRef head = part.take_front(part.find(".entry "));
  head = head.take_front(head.rfind('\n') + 1);
  for (StringRef line : llvm::split(head.drop_back(!head.empty()), '\n'))
    if (!line.starts_with(".") || !line.ends_with(";") ||
        declared.insert(line).second)
      text += (line + "\n").str();
  text += part.drop_front(head.size());
}

static LogicalResult convert(gpu::GPUModuleOp module) {
  auto targets = module.getTargetsAttr();
  auto target = targets && targets.size() == 1
                    ? dyn_cast<NVVM::NVVMTargetAttr>(targets[0])
                    : nullptr;
  if (!target)
    return module.emitOpError("must have one target, which is NVVM's");
  KernelModules parts = split(module, target);
  for (const auto &part : parts)
    if (failed(part->translate()))
      return failure();
  generateCode(parts);
  std::string text;
  llvm::StringSet<> seen;
  for (const auto &part : parts) {
    if (part->getText().empty())
      return module.emitOpError("has a kernel with no code");
    append(part->getText(), seen, text);
  }
  OpBuilder builder(module);
  auto object = gpu::ObjectAttr::get(
      module.getContext(), target, gpu::CompilationTarget::Assembly,
      builder.getStringAttr(text),
      builder.getDictionaryAttr(
          builder.getNamedAttr("O", builder.getI32IntegerAttr(target.getO()))),
      /*kernels=*/nullptr);
  gpu::BinaryOp::create(builder, module.getLoc(), module.getName(),
                        /*offloadingHandler=*/nullptr,
                        builder.getArrayAttr({object}));
  module.erase();
  return success();
}

namespace {
struct KernelsToPTXPass
    : omnimoe::impl::KernelsToPTXPassBase<KernelsToPTXPass> {
  void runOnOperation() override {
    NVVM::SerializeGPUModuleBase::init();
    for (auto module :
         llvm::make_early_inc_range(getOperation().getOps<gpu::GPUModuleOp>()))
      if (failed(convert(module)))
        return signalPassFailure();
  }
};
} // namespace
