//===- WarpgroupMatrix.cpp - Products by a whole warpgroup ----------------===//

#include "WarpgroupMatrix.h"

#include "TensorMaps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

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

WarpgroupMatrices::WarpgroupMatrices(KernelBuilder &k, Type elementType,
                                     Value left, Value right,
                                     int64_t stageBytes)
    : k(k), elementType(elementType),
      accumulatorType(LLVM::LLVMStructType::getLiteral(
          k.getContext(),
          SmallVector<Type>(kWarpgroupTileColumns / 2, k.getF32Type()))),
      left(getDescriptor(left)), right(getDescriptor(right)),
      stageBytes(stageBytes) {}

Value WarpgroupMatrices::getDescriptor(Value pointer) {
  Type i64 = k.getI64Type();
  Value address = LLVM::PtrToIntOp::create(k, i64, pointer);
  Value units = arith::AndIOp::create(
      k, arith::ShRUIOp::create(k, address, k.integer(i64, 4)),
      k.integer(i64, 0x3fff));
  return arith::OrIOp::create(k, units, k.integer(i64, kDescriptorLayout));
}

Value WarpgroupMatrices::multiply(Value stage, Value accumulators) {
  Type i64 = k.getI64Type();
  Value offset = arith::ExtUIOp::create(
      k, i64, k.mul(stage, stageBytes / kDescriptorUnit));
  NVVM::WGMMATypes type =
      elementType.isF16() ? NVVM::WGMMATypes::f16 : NVVM::WGMMATypes::bf16;
  auto scale =
      accumulators ? NVVM::WGMMAScaleOut::one : NVVM::WGMMAScaleOut::zero;
  if (!accumulators)
    accumulators = LLVM::UndefOp::create(k, accumulatorType);
  auto shape = NVVM::MMAShapeAttr::get(
      k.getContext(), 64, kWarpgroupTileColumns, kInstructionDepth);
  NVVM::WgmmaFenceAlignedOp::create(k);
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
  NVVM::WgmmaGroupSyncAlignedOp::create(k);
  return accumulators;
}

void WarpgroupMatrices::wait(int64_t pending) {
  NVVM::WgmmaWaitGroupSyncOp::create(k, pending);
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
    std::string results, operands;
    for (int64_t i = 0; i < kFencedValues; ++i) {
      before.push_back(
          LLVM::ExtractValueOp::create(k, accumulators, first + i));
      results += i ? ",=f" : "=f";
      operands += "," + std::to_string(i);
    }
    auto fenced = LLVM::LLVMStructType::getLiteral(
        k.getContext(), SmallVector<Type>(kFencedValues, k.getF32Type()));
    auto pass = LLVM::InlineAsmOp::create(
        k, fenced, before, "", results + operands, /*has_side_effects=*/true,
        /*is_align_stack=*/false, LLVM::TailCallKind::None,
        LLVM::AsmDialectAttr::get(k.getContext(), LLVM::AsmDialect::AD_ATT),
        ArrayAttr());
    for (int64_t i = 0; i < kFencedValues; ++i)
      values.push_back(LLVM::ExtractValueOp::create(k, pass.getRes(), i));
  }
  return values;
}
