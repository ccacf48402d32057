//===- GPUToRuntime.cpp - The pass convert-gpu-launch-to-runtime ----------===//
//
// 1. Give the entry function the queue as its last argument.
// 2. Number the kernels in the order of their first launch.
// 3. Write the parameters of each launch into one buffer of words on the stack
//    (the driver copies them) and call the runtime. A tensor map has a place
//    of its own, where the runtime writes it.
// 4. Let the runtime copy what the host would copy, and change streams.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "omnimoe-c/omnimoe.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_CONVERTGPULAUNCHTORUNTIMEPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

static constexpr StringLiteral kLaunchFunction = "omnimoe_gpu_launch";
static constexpr StringLiteral kCopyFunction = "omnimoe_gpu_copy";
static constexpr StringLiteral kTensorMapFunction = "omnimoe_gpu_tensor_map";
static constexpr StringLiteral kKernelsAttr = "omnimoe.kernels";

/// Words that a kernel parameter takes: a memref is passed as two pointers, the
/// offset, the sizes and the strides.
static int64_t getNumWords(Type type) {
  auto memref = dyn_cast<MemRefType>(type);
  return memref ? 3 + 2 * memref.getRank() : 1;
}

static int64_t getNumWords(gpu::LaunchFuncOp launch) {
  int64_t words = 0;
  for (Value operand : launch.getKernelOperands())
    words += getNumWords(operand.getType());
  return words;
}

/// The tensor map that `operand` of a launch is a pointer to, if it is one.
static nvgpu::TmaCreateDescriptorOp getTensorMap(Value operand) {
  auto cast = operand.getDefiningOp<UnrealizedConversionCastOp>();
  if (!cast || cast.getNumOperands() != 1)
    return nullptr;
  return cast.getOperand(0).getDefiningOp<nvgpu::TmaCreateDescriptorOp>();
}

static int32_t getTypeNumber(Type type) {
  if (type.isF32())
    return OMNIMOE_F32;
  if (type.isF16())
    return OMNIMOE_F16;
  if (type.isBF16())
    return OMNIMOE_BF16;
  return -1;
}

static int32_t getSwizzleBytes(nvgpu::TensorMapSwizzleKind kind) {
  switch (kind) {
  case nvgpu::TensorMapSwizzleKind::SWIZZLE_32B:
    return 32;
  case nvgpu::TensorMapSwizzleKind::SWIZZLE_64B:
    return 64;
  case nvgpu::TensorMapSwizzleKind::SWIZZLE_128B:
    return 128;
  default:
    return 0;
  }
}

static int32_t getPromotionBytes(nvgpu::TensorMapL2PromoKind kind) {
  switch (kind) {
  case nvgpu::TensorMapL2PromoKind::L2PROMO_NONE:
    return 0;
  case nvgpu::TensorMapL2PromoKind::L2PROMO_64B:
    return 64;
  case nvgpu::TensorMapL2PromoKind::L2PROMO_128B:
    return 128;
  case nvgpu::TensorMapL2PromoKind::L2PROMO_256B:
    return 256;
  }
  llvm_unreachable("unknown promotion");
}

static bool isChangeOfStreams(StringRef function) {
  return function == kForkFunction || function == kSelectStreamFunction ||
         function == kWaitForStreamFunction;
}

namespace {
/// The launches and copies of one function.
class LaunchConverter {
public:
  LaunchConverter(func::FuncOp function,
                  llvm::SetVector<SymbolRefAttr> &kernels)
      : b(function.getLoc(), function.getContext()), function(function),
        kernels(kernels),
        pointer(LLVM::LLVMPointerType::get(function.getContext())),
        word(b.getI64Type()) {}

  LogicalResult run() {
    SmallVector<gpu::LaunchFuncOp> launches;
    SmallVector<memref::CopyOp> copies;
    function.walk([&](gpu::LaunchFuncOp op) { launches.push_back(op); });
    function.walk([&](memref::CopyOp op) { copies.push_back(op); });
    SmallVector<func::CallOp> changes;
    function.walk([&](func::CallOp op) {
      if (isChangeOfStreams(op.getCallee()))
        changes.push_back(op);
    });
    if (failed(function.insertArgument(function.getNumArguments(), pointer, {},
                                       function.getLoc())))
      return failure();
    int64_t most = 0;
    for (gpu::LaunchFuncOp launch : launches)
      most = std::max(most, getNumWords(launch));
    makeBuffers(most);
    for (gpu::LaunchFuncOp launch : launches)
      if (failed(convert(launch)))
        return failure();
    eraseTensorMaps();
    for (func::CallOp change : changes) {
      b.setInsertionPoint(change);
      callRuntime(change.getCallee(), llvm::to_vector(change.getOperands()));
      change.erase();
    }
    for (memref::CopyOp copy : copies)
      if (failed(convert(copy)))
        return failure();
    return success();
  }

private:
  Value constant(int64_t value) {
    return LLVM::ConstantOp::create(b, word, b.getI64IntegerAttr(value));
  }

  /// The words, and the pointers to them that the driver takes.
  void makeBuffers(int64_t numWords) {
    b.setInsertionPointToStart(&function.getBody().front());
    Value count = constant(std::max<int64_t>(numWords, 1));
    words = LLVM::AllocaOp::create(b, pointer, word, count);
    parameters = LLVM::AllocaOp::create(b, pointer, pointer, count);
    for (int64_t i = 0; i < numWords; ++i)
      LLVM::StoreOp::create(b, getWord(i), getElement(parameters, pointer, i));
  }

  Value getElement(Value base, Type type, int64_t index) {
    return LLVM::GEPOp::create(b, pointer, type, base,
                               ArrayRef<LLVM::GEPArg>{int32_t(index)});
  }
  Value getWord(int64_t index) { return getElement(words, word, index); }

  Value toWord(Value value) {
    if (value.getType().isIndex())
      return arith::IndexCastOp::create(b, word, value);
    return value;
  }

  /// Calls a function of the runtime, with the queue as its first argument.
  void callRuntime(StringRef name, ArrayRef<Value> arguments) {
    SmallVector<Value> all{function.getArguments().back()};
    llvm::append_range(all, arguments);
    auto module = function->getParentOfType<ModuleOp>();
    auto callee = module.lookupSymbol<LLVM::LLVMFuncOp>(name);
    if (!callee) {
      OpBuilder declarations = OpBuilder::atBlockBegin(module.getBody());
      callee = LLVM::LLVMFuncOp::create(
          declarations, module.getLoc(), name,
          LLVM::LLVMFunctionType::get(
              LLVM::LLVMVoidType::get(b.getContext()),
              llvm::to_vector(ValueRange(all).getTypes())));
    }
    LLVM::CallOp::create(b, callee, all);
  }

  /// Address of the first element of a contiguous memref.
  Value getPointer(Value memref) {
    Value base = toWord(memref::ExtractAlignedPointerAsIndexOp::create(
        b, b.getIndexType(), memref));
    return LLVM::IntToPtrOp::create(b, pointer, base);
  }

  LogicalResult convert(memref::CopyOp copy) {
    MemRefType type = cast<MemRefType>(copy.getSource().getType());
    if (!type.getLayout().isIdentity() ||
        !cast<MemRefType>(copy.getTarget().getType()).getLayout().isIdentity())
      return copy.emitOpError("must have contiguous operands to become a copy "
                              "on the device");
    b.setInsertionPoint(copy);
    b.setLoc(copy.getLoc());
    Value bytes = arith::ConstantIndexOp::create(
        b, llvm::divideCeil(type.getElementTypeBitWidth(), 8));
    for (int64_t i = 0; i < type.getRank(); ++i)
      bytes = arith::MulIOp::create(
          b, bytes, memref::DimOp::create(b, copy.getSource(), i));
    callRuntime(kCopyFunction, {getPointer(copy.getTarget()),
                                getPointer(copy.getSource()), toWord(bytes)});
    copy.erase();
    return success();
  }

  /// What a kernel parameter is passed as; empty if it cannot be.
  SmallVector<Value> getWords(Value operand) {
    Type type = operand.getType();
    if (!isa<MemRefType>(type)) {
      bool fits = type.isIndex() || isa<LLVM::LLVMPointerType>(type) ||
                  (type.isIntOrFloat() && type.getIntOrFloatBitWidth() <= 64);
      return fits ? SmallVector<Value>{toWord(operand)} : SmallVector<Value>();
    }
    Value base = toWord(memref::ExtractAlignedPointerAsIndexOp::create(
        b, b.getIndexType(), operand));
    auto metadata = memref::ExtractStridedMetadataOp::create(b, operand);
    SmallVector<Value> result{base, base, toWord(metadata.getOffset())};
    for (Value size : metadata.getSizes())
      result.push_back(toWord(size));
    for (Value stride : metadata.getStrides())
      result.push_back(toWord(stride));
    return result;
  }

  /// An array on the stack, made once per function.
  Value allocate(Type elementType, int64_t count, unsigned alignment) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&function.getBody().front());
    return LLVM::AllocaOp::create(b, pointer, elementType, constant(count),
                                  alignment);
  }

  /// Lets the runtime write `op`'s map to the stack, and returns where.
  FailureOr<Value> writeTensorMap(nvgpu::TmaCreateDescriptorOp op) {
    auto cast = op.getTensor().getDefiningOp<memref::CastOp>();
    auto type =
        cast ? dyn_cast<MemRefType>(cast.getSource().getType()) : MemRefType();
    if (!type || getTypeNumber(type.getElementType()) < 0)
      return op.emitOpError("must describe a cast of a ranked memref of f32, "
                            "f16 or bf16");
    int64_t rank = type.getRank();
    int64_t elementBytes = type.getElementTypeBitWidth() / 8;
    auto metadata =
        memref::ExtractStridedMetadataOp::create(b, cast.getSource());
    Value map = allocate(word, /*count=*/16, /*alignment=*/64);
    Value sizes = allocate(word, rank, 8), strides = allocate(word, rank, 8);
    Value box = allocate(b.getI32Type(), rank, 4);
    for (int64_t i = 0; i < rank; ++i) {
      int64_t dim = rank - 1 - i; // innermost first
      LLVM::StoreOp::create(b, toWord(metadata.getSizes()[dim]),
                            getElement(sizes, word, i));
      Value boxSize = arith::IndexCastOp::create(b, b.getI32Type(),
                                                 op.getBoxDimensions()[dim]);
      LLVM::StoreOp::create(b, boxSize, getElement(box, b.getI32Type(), i));
      if (i == 0)
        continue;
      Value bytes = LLVM::MulOp::create(b, toWord(metadata.getStrides()[dim]),
                                        constant(elementBytes));
      LLVM::StoreOp::create(b, bytes, getElement(strides, word, i - 1));
    }
    Value base = toWord(memref::ExtractAlignedPointerAsIndexOp::create(
        b, b.getIndexType(), cast.getSource()));
    Value offset = LLVM::MulOp::create(b, toWord(metadata.getOffset()),
                                       constant(elementBytes));
    Value address = LLVM::AddOp::create(b, base, offset);
    base = LLVM::IntToPtrOp::create(b, pointer, address);
    auto i32 = [&](int32_t value) -> Value {
      return LLVM::ConstantOp::create(b, b.getI32Type(),
                                      b.getI32IntegerAttr(value));
    };
    nvgpu::TensorMapDescriptorType mapType = op.getTensorMap().getType();
    callRuntime(kTensorMapFunction,
                {map, base, i32(getTypeNumber(type.getElementType())),
                 i32(rank), sizes, strides, box,
                 i32(getSwizzleBytes(mapType.getSwizzle())),
                 i32(getPromotionBytes(mapType.getL2promo()))});
    return map;
  }

  /// Nothing needs the descriptors once the launches are converted.
  void eraseTensorMaps() {
    SmallVector<nvgpu::TmaCreateDescriptorOp> maps;
    function.walk([&](nvgpu::TmaCreateDescriptorOp op) { maps.push_back(op); });
    for (nvgpu::TmaCreateDescriptorOp op : maps) {
      for (Operation *user : llvm::make_early_inc_range(op->getUsers()))
        if (user->use_empty())
          user->erase();
      if (!op->use_empty())
        continue;
      Operation *cast = op.getTensor().getDefiningOp();
      op.erase();
      if (cast && cast->use_empty())
        cast->erase();
    }
  }

  LogicalResult convert(gpu::LaunchFuncOp launch) {
    if (launch.getAsyncToken() || !launch.getAsyncDependencies().empty())
      return launch.emitOpError("must not be asynchronous: kernels run in the "
                                "order of the caller's stream");
    if (launch.hasClusterSize())
      return launch.emitOpError("must not name a cluster size: the kernel's "
                                "own attribute says it");
    b.setInsertionPoint(launch);
    b.setLoc(launch.getLoc());
    int64_t next = 0;
    SmallVector<int64_t> byPointer;
    for (Value operand : launch.getKernelOperands()) {
      if (nvgpu::TmaCreateDescriptorOp op = getTensorMap(operand)) {
        FailureOr<Value> map = writeTensorMap(op);
        if (failed(map))
          return failure();
        LLVM::StoreOp::create(b, *map, getElement(parameters, pointer, next));
        byPointer.push_back(next++);
        continue;
      }
      SmallVector<Value> values = getWords(operand);
      if (values.empty())
        return launch.emitOpError("has a parameter of type ")
               << operand.getType() << ", which cannot be passed to a kernel";
      for (Value value : values)
        LLVM::StoreOp::create(b, value, getWord(next++));
    }
    kernels.insert(launch.getKernel());
    auto index = llvm::find(kernels, launch.getKernel()) - kernels.begin();
    SmallVector<Value> arguments{LLVM::ConstantOp::create(
        b, b.getI32Type(), b.getI32IntegerAttr(index))};
    gpu::KernelDim3 grid = launch.getGridSizeOperandValues();
    gpu::KernelDim3 block = launch.getBlockSizeOperandValues();
    for (Value size : {grid.x, grid.y, grid.z, block.x, block.y, block.z})
      arguments.push_back(toWord(size));
    Value shared = launch.getDynamicSharedMemorySize();
    arguments.push_back(shared ? arith::ExtUIOp::create(b, word, shared)
                               : constant(0));
    arguments.push_back(LLVM::ConstantOp::create(
        b, b.getI32Type(),
        b.getI32IntegerAttr(launch->hasAttr(kOverlapsAttrName))));
    arguments.push_back(parameters);
    callRuntime(kLaunchFunction, arguments);
    // Other launches find the words where they have been.
    for (int64_t index : byPointer)
      LLVM::StoreOp::create(b, getWord(index),
                            getElement(parameters, pointer, index));
    launch.erase();
    return success();
  }

  ImplicitLocOpBuilder b;
  func::FuncOp function;
  llvm::SetVector<SymbolRefAttr> &kernels;
  Type pointer, word;
  Value words, parameters;
};

struct ConvertGPULaunchToRuntimePass
    : omnimoe::impl::ConvertGPULaunchToRuntimePassBase<
          ConvertGPULaunchToRuntimePass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (module->hasAttr(kKernelsAttr))
      return;
    llvm::SetVector<SymbolRefAttr> kernels;
    // The runtime's functions take their queue as well.
    for (auto function : llvm::to_vector(module.getOps<func::FuncOp>()))
      if (function.isExternal() && isChangeOfStreams(function.getName()))
        function.erase();
    for (auto function : llvm::to_vector(module.getOps<func::FuncOp>())) {
      bool launches =
          function
              .walk([](gpu::LaunchFuncOp) { return WalkResult::interrupt(); })
              .wasInterrupted();
      // The entry has a queue in any case: the runtime passes one.
      if (!launches && !function->hasAttr("llvm.emit_c_interface"))
        continue;
      if (launches && !SymbolTable::symbolKnownUseEmpty(function, module)) {
        function.emitOpError("launches kernels and is called by the program "
                             "itself; inline it first");
        return signalPassFailure();
      }
      if (failed(LaunchConverter(function, kernels).run()))
        return signalPassFailure();
    }
    Builder b(&getContext());
    SmallVector<Attribute> names;
    for (SymbolRefAttr kernel : kernels)
      names.push_back(kernel.getLeafReference());
    module->setAttr(kKernelsAttr, b.getArrayAttr(names));
  }
};
} // namespace
