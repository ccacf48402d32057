//===- FinishKernels.cpp - The pass omnimoe-finish-kernels ----------------===//

#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Builders.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_FINISHKERNELSPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// A tensor map has 128 bytes and must start at a multiple of 64.
static constexpr unsigned kTensorMapWords = 16;
static constexpr int64_t kTensorMapAlignment = 64;

/// The arguments that are tensor maps, counted as they are after the
/// conversion to the LLVM dialect, which keeps few attributes of arguments.
static constexpr StringLiteral kTensorMapsAttr = "omnimoe.tensor_maps";
/// Threads of a multiprocessor that leave each of them 64 registers.
static constexpr int32_t kThreadsOf64Registers = 1024;

static bool isTensorMap(Value value) {
  return isa<nvgpu::TensorMapDescriptorType>(value.getType());
}

/// Casts from a tensor map to a pointer become the pointer.
static void replaceCasts(Value map, Value pointer) {
  for (Operation *user : llvm::make_early_inc_range(map.getUsers()))
    if (auto cast = dyn_cast<UnrealizedConversionCastOp>(user))
      if (cast->getNumResults() == 1 &&
          cast.getResult(0).getType() == pointer.getType()) {
        cast.getResult(0).replaceAllUsesWith(pointer);
        cast.erase();
      }
}

/// Arguments that `type` becomes in the LLVM dialect: a memref is a descriptor.
static int64_t getNumLoweredArguments(Type type) {
  auto memref = dyn_cast<MemRefType>(type);
  return memref ? 3 + 2 * memref.getRank() : 1;
}

/// Makes pointers of tensor maps and remembers which they will be.
static LogicalResult passTensorMaps(gpu::GPUFuncOp kernel) {
  Builder builder(kernel.getContext());
  auto pointer = LLVM::LLVMPointerType::get(kernel.getContext());
  SmallVector<Type> types =
      llvm::to_vector(kernel.getFunctionType().getInputs());
  SmallVector<int64_t> maps;
  int64_t position = 0;
  for (auto [argument, type] : llvm::zip(kernel.getArguments(), types)) {
    int64_t lowered = position;
    position += getNumLoweredArguments(type);
    if (!isTensorMap(argument))
      continue;
    for (Operation *user : argument.getUsers())
      if (!isa<UnrealizedConversionCastOp>(user))
        return user->emitOpError("cannot use a tensor map of a kernel");
    type = pointer;
    argument.setType(pointer);
    replaceCasts(argument, argument);
    maps.push_back(lowered);
  }
  kernel.setFunctionType(builder.getFunctionType(types, {}));
  if (!maps.empty())
    kernel->setAttr(kTensorMapsAttr, builder.getDenseI64ArrayAttr(maps));
  return success();
}

/// Passes tensor maps by value, to be read where they are.
static void passByValue(LLVM::LLVMFuncOp kernel) {
  auto maps = kernel->getAttrOfType<DenseI64ArrayAttr>(kTensorMapsAttr);
  if (!maps)
    return;
  Builder builder(kernel.getContext());
  for (int64_t index : maps.asArrayRef()) {
    kernel.setArgAttr(index, LLVM::LLVMDialect::getByValAttrName(),
                      TypeAttr::get(LLVM::LLVMArrayType::get(
                          builder.getI64Type(), kTensorMapWords)));
    kernel.setArgAttr(index, NVVM::NVVMDialect::getGridConstantAttrName(),
                      builder.getUnitAttr());
    kernel.setArgAttr(index, LLVM::LLVMDialect::getAlignAttrName(),
                      builder.getI32IntegerAttr(kTensorMapAlignment));
  }
  kernel->removeAttr(kTensorMapsAttr);
}

/// Dynamic shared memory is an external array of no length; an internal one
/// would be a byte of static memory, somewhere among the rest of it.
static void declareDynamicMemory(LLVM::GlobalOp global) {
  auto type = dyn_cast<LLVM::LLVMArrayType>(global.getGlobalType());
  if (global->getParentOfType<gpu::GPUModuleOp>() && type &&
      type.getNumElements() == 0)
    global.setLinkage(LLVM::Linkage::External);
}

/// `setmaxnreg` asks for the exact number of threads to be known.
static void stateBlockSize(gpu::GPUFuncOp kernel) {
  bool changesRegisters =
      kernel
          .walk([](NVVM::SetMaxRegisterOp) { return WalkResult::interrupt(); })
          .wasInterrupted();
  std::optional<ArrayRef<int32_t>> size = kernel.getKnownBlockSize();
  if (!changesRegisters || !size)
    return;
  Builder builder(kernel.getContext());
  kernel->setAttr(NVVM::NVVMDialect::getReqntidAttrName(),
                  builder.getDenseI32ArrayAttr(*size));
  kernel.removeKnownBlockSizeAttr();
}

/// The assembler cannot see how much dynamic shared memory a block has, and
/// would spill registers for the sake of more blocks than there can be. Nor
/// does it see that rows in flight are worth more than twice the warps, and
/// would wait for one row before it asks for the next.
static void freeRegisters(gpu::GPUFuncOp kernel) {
  bool isDynamic = kernel
                       .walk([](gpu::DynamicSharedMemoryOp) {
                         return WalkResult::interrupt();
                       })
                       .wasInterrupted();
  bool keepsRegisters = false;
  kernel.walk([&](scf::ForOp loop) {
    keepsRegisters |= bool(loop->removeAttr(kKeepsRegistersAttrName));
  });
  std::optional<ArrayRef<int32_t>> size = kernel.getKnownBlockSize();
  int32_t blocks = 0;
  if (isDynamic)
    blocks = 1;
  else if (keepsRegisters && size)
    blocks = std::max(1, kThreadsOf64Registers / size->front());
  if (blocks)
    kernel->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(),
                    Builder(kernel.getContext()).getI32IntegerAttr(blocks));
}

/// Blocks that meet in a cluster are those along the grid's last dimension.
static LogicalResult stateClusterSize(gpu::LaunchFuncOp launch) {
  auto kernel = SymbolTable::lookupNearestSymbolFrom<gpu::GPUFuncOp>(
      launch, launch.getKernelAttr());
  bool meets =
      kernel &&
      kernel.walk([](NVVM::ClusterArriveOp) { return WalkResult::interrupt(); })
          .wasInterrupted();
  if (!meets)
    return success();
  std::optional<int64_t> size =
      getConstantIntValue(launch.getGridSizeOperandValues().z);
  if (!size)
    return launch.emitOpError("must have a constant number of blocks along the "
                              "last dimension, which are a cluster");
  kernel->setAttr(NVVM::NVVMDialect::getClusterDimAttrName(),
                  Builder(launch.getContext())
                      .getDenseI32ArrayAttr({1, 1, int32_t(*size)}));
  return success();
}

namespace {
struct FinishKernelsPass
    : omnimoe::impl::FinishKernelsPassBase<FinishKernelsPass> {
  void runOnOperation() override {
    OpBuilder builder(&getContext());
    auto pointer = LLVM::LLVMPointerType::get(&getContext());
    WalkResult result = getOperation().walk([&](gpu::GPUFuncOp kernel) {
      stateBlockSize(kernel);
      freeRegisters(kernel);
      return WalkResult(passTensorMaps(kernel));
    });
    if (result.wasInterrupted())
      return signalPassFailure();
    getOperation().walk(passByValue);
    getOperation().walk(declareDynamicMemory);
    result = getOperation().walk([&](gpu::LaunchFuncOp launch) {
      if (failed(stateClusterSize(launch)))
        return WalkResult::interrupt();
      builder.setInsertionPoint(launch);
      for (OpOperand &operand : launch.getKernelOperandsMutable())
        if (isTensorMap(operand.get()))
          operand.set(UnrealizedConversionCastOp::create(
                          builder, launch.getLoc(), pointer, operand.get())
                          .getResult(0));
      return WalkResult::advance();
    });
    if (result.wasInterrupted())
      signalPassFailure();
  }
};
} // namespace
