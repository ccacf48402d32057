//===- WarpgroupMatrix.cpp - Products by a whole warpgroup ----------------===//

#include "WarpgroupMatrix.h"

#include "TensorMaps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Elements of the summed loop that one instruction takes, and how many of
/// them make a swizzled row.
static constexpr int64_t kInstructionDepth = 16, kInstructions = 4;
/// Descriptors count in units of 16 bytes.
static constexpr int64_t kDescriptorUnit = 16;
/// 128-byte swizzling; 8 rows are 1024 bytes apart.
static constexpr int64_t kDescriptorLayout =
    int64_t(1) << 62 | int64_t(1024 / kDescriptorUnit) << 32 | int64_t(1) << 16;
/// Accumulators that pass through one empty instruction.
static constexpr int64_t kFencedValues = 16;

static Type getAccumulators(KernelBuilder &k, int64_t columns) {
  return LLVM::LLVMStructType::getLiteral(
      k.getContext(), SmallVector<Type>(columns / 2, k.getF32Type()));
}

static Value getDescriptor(KernelBuilder &k, Value pointer) {
  Type i64 = k.getI64Type();
  Value address = LLVM::PtrToIntOp::create(k, i64, pointer);
  Value units = arith::AndIOp::create(
      k, arith::ShRUIOp::create(k, address, k.integer(i64, 4)),
      k.integer(i64, 0x3fff));
  return arith::OrIOp::create(k, units, k.integer(i64, kDescriptorLayout));
}

/// How far the descriptor of `stage` is from that of the first stage.
static Value getStageOffset(KernelBuilder &k, Value stage, int64_t stageBytes) {
  return arith::ExtUIOp::create(k, k.getI64Type(),
                                k.mul(stage, stageBytes / kDescriptorUnit));
}

void mlir::omnimoe::beginProducts(KernelBuilder &k) {
  NVVM::WgmmaFenceAlignedOp::create(k);
}

void mlir::omnimoe::commitProducts(KernelBuilder &k) {
  NVVM::WgmmaGroupSyncAlignedOp::create(k);
}

void mlir::omnimoe::waitForProducts(KernelBuilder &k, int64_t pending) {
  NVVM::WgmmaWaitGroupSyncOp::create(k, pending);
}

//===----------------------------------------------------------------------===//
// Both operands in shared memory
//===----------------------------------------------------------------------===//

WarpgroupMatrices::WarpgroupMatrices(KernelBuilder &k, Type elementType,
                                     Value left, Value right,
                                     int64_t stageBytes, int64_t columns)
    : k(k), elementType(elementType),
      accumulatorType(getAccumulators(k, columns)),
      left(getDescriptor(k, left)), right(getDescriptor(k, right)),
      stageBytes(stageBytes), columns(columns) {}

Value WarpgroupMatrices::multiply(Value stage, Value accumulators) {
  beginProducts(k);
  accumulators = add(stage, accumulators);
  commitProducts(k);
  return accumulators;
}

Value WarpgroupMatrices::add(Value stage, Value accumulators) {
  Value offset = getStageOffset(k, stage, stageBytes);
  NVVM::WGMMATypes type =
      elementType.isF16() ? NVVM::WGMMATypes::f16 : NVVM::WGMMATypes::bf16;
  auto scale =
      accumulators ? NVVM::WGMMAScaleOut::one : NVVM::WGMMAScaleOut::zero;
  if (!accumulators)
    accumulators = LLVM::UndefOp::create(k, accumulatorType);
  auto shape =
      NVVM::MMAShapeAttr::get(k.getContext(), 64, columns, kInstructionDepth);
  for (int64_t i = 0; i < kInstructions; ++i) {
    int64_t along = i * kSwizzleBytes / kInstructions / kDescriptorUnit;
    Value at = k.add(offset, along);
    accumulators = NVVM::WgmmaMmaAsyncOp::create(
        k, accumulatorType, accumulators, k.add(left, at), k.add(right, at),
        shape, type, type, NVVM::WGMMATypes::f32, scale,
        NVVM::WGMMAScaleIn::one, NVVM::WGMMAScaleIn::one, NVVM::MMALayout::row,
        NVVM::MMALayout::col, NVVM::MMAIntOverflowAttr());
    scale = NVVM::WGMMAScaleOut::one;
  }
  return accumulators;
}

//===----------------------------------------------------------------------===//
// The left operand in registers
//===----------------------------------------------------------------------===//

FragmentProduct::FragmentProduct(KernelBuilder &k, Type elementType,
                                 Value right, int64_t stageBytes, int64_t depth)
    : k(k), elementType(elementType),
      accumulatorType(getAccumulators(k, kFragmentProductColumns)),
      right(getDescriptor(k, right)), stageBytes(stageBytes), depth(depth) {}

Value FragmentProduct::multiply(ArrayRef<Value> fragments, Value stage) {
  constexpr int64_t sums = kFragmentProductColumns / 2, perStep = 4;
  // The dialect's operation has no left operand in registers. `columns` come
  // first in the right one's rows, which the last immediate says.
  std::string results, ties, places;
  for (int64_t i = 0; i < sums; ++i) {
    results += i ? ",=f" : "=f";
    ties += "," + std::to_string(i);
    places += (i ? ", $" : "$") + std::to_string(i);
  }
  auto operand = [&](int64_t i) { return "$" + std::to_string(2 * sums + i); };
  std::string type = elementType.isF16() ? "f16" : "bf16";
  std::string text = "{\n.reg .pred adds;\nsetp.ne.b32 adds, " + operand(5) +
                     ", 0;\nwgmma.mma_async.sync.aligned.m64n" +
                     std::to_string(kFragmentProductColumns) + "k16.f32." +
                     type + "." + type + " {" + places + "}, {" + operand(0) +
                     ", " + operand(1) + ", " + operand(2) + ", " + operand(3) +
                     "}, " + operand(4) + ", adds, 1, 1, 1;\n}\n";
  std::string constraints = results + ties + ",r,r,r,r,l,n";

  Value offset = getStageOffset(k, stage, stageBytes);
  Value accumulators = LLVM::UndefOp::create(k, accumulatorType);
  beginProducts(k);
  for (int64_t step = 0; step < depth / kInstructionDepth; ++step) {
    SmallVector<Value> operands;
    for (int64_t i = 0; i < sums; ++i)
      operands.push_back(LLVM::ExtractValueOp::create(k, accumulators, i));
    llvm::append_range(operands, fragments.slice(perStep * step, perStep));
    int64_t along = step * kInstructionDepth * kSwizzleBytes / kDescriptorUnit;
    operands.push_back(k.add(right, k.add(offset, along)));
    operands.push_back(k.i32(step > 0));
    accumulators =
        LLVM::InlineAsmOp::create(
            k, accumulatorType, operands, text, constraints,
            /*has_side_effects=*/true, /*is_align_stack=*/false,
            LLVM::TailCallKind::None,
            LLVM::AsmDialectAttr::get(k.getContext(), LLVM::AsmDialect::AD_ATT),
            ArrayAttr())
            .getRes();
  }
  commitProducts(k);
  return accumulators;
}

SmallVector<Value> mlir::omnimoe::keepInPlace(KernelBuilder &k,
                                              ArrayRef<Value> words) {
  Type type = words.front().getType();
  std::string results, operands;
  for (size_t i = 0; i < words.size(); ++i) {
    results += (i ? ",=" : "=");
    results += type.isF32() ? "f" : "r";
    operands += "," + std::to_string(i);
  }
  auto all = LLVM::LLVMStructType::getLiteral(
      k.getContext(), SmallVector<Type>(words.size(), type));
  auto pass = LLVM::InlineAsmOp::create(
      k, all, words, "", results + operands, /*has_side_effects=*/true,
      /*is_align_stack=*/false, LLVM::TailCallKind::None,
      LLVM::AsmDialectAttr::get(k.getContext(), LLVM::AsmDialect::AD_ATT),
      ArrayAttr());
  SmallVector<Value> values;
  for (size_t i = 0; i < words.size(); ++i)
    values.push_back(LLVM::ExtractValueOp::create(k, pass.getRes(), i));
  return values;
}

SmallVector<Value> mlir::omnimoe::readAccumulators(KernelBuilder &k,
                                                   Value accumulators) {
  // Nothing but the order of volatile instructions keeps what is made of the
  // accumulators behind the wait: let them pass through empty ones.
  auto type = cast<LLVM::LLVMStructType>(accumulators.getType());
  int64_t count = type.getBody().size();
  SmallVector<Value> values;
  for (int64_t first = 0; first < count; first += kFencedValues) {
    SmallVector<Value> before;
    for (int64_t i = first; i < std::min(first + kFencedValues, count); ++i)
      before.push_back(LLVM::ExtractValueOp::create(k, accumulators, i));
    llvm::append_range(values, keepInPlace(k, before));
  }
  return values;
}
