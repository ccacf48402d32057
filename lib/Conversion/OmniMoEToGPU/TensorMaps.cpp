//===- TensorMaps.cpp - Tiles that the hardware copies --------------------===//

#include "TensorMaps.h"

#include "DevicePointer.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;

static Value createMap(KernelBuilder &k, Value matrix, ArrayRef<int64_t> box,
                       bool isReadOnce = false) {
  auto type = cast<MemRefType>(matrix.getType());
  auto tile = MemRefType::get(
      box, type.getElementType(), MemRefLayoutAttrInterface(),
      k.getI64IntegerAttr(nvgpu::NVGPUDialect::kSharedMemoryAddressSpace));
  auto mapType = nvgpu::TensorMapDescriptorType::get(
      k.getContext(), tile, nvgpu::TensorMapSwizzleKind::SWIZZLE_128B,
      isReadOnce ? nvgpu::TensorMapL2PromoKind::L2PROMO_NONE
                 : nvgpu::TensorMapL2PromoKind::L2PROMO_256B,
      nvgpu::TensorMapOOBKind::OOB_ZERO,
      nvgpu::TensorMapInterleaveKind::INTERLEAVE_NONE);
  Value unranked = memref::CastOp::create(
      k, UnrankedMemRefType::get(type.getElementType(), type.getMemorySpace()),
      matrix);
  SmallVector<Value> sizes;
  for (int64_t size : box)
    sizes.push_back(k.index(size));
  return nvgpu::TmaCreateDescriptorOp::create(k, mapType, unranked, sizes);
}

static int64_t getRowElements(Value matrix) {
  return kSwizzleBytes * 8 /
         getElementTypeOrSelf(matrix.getType()).getIntOrFloatBitWidth();
}

Value mlir::omnimoe::createTensorMap(KernelBuilder &k, Value matrix,
                                     int64_t rows) {
  SmallVector<int64_t> box{rows, getRowElements(matrix)};
  if (cast<MemRefType>(matrix.getType()).getRank() == 3)
    box.insert(box.begin(), 1);
  return createMap(k, matrix, box);
}

Value mlir::omnimoe::createLineTensorMap(KernelBuilder &k, Value matrix,
                                         int64_t gridColumns, bool ofColumns,
                                         int64_t rows) {
  auto type = cast<MemRefType>(matrix.getType());
  auto metadata = memref::ExtractStridedMetadataOp::create(k, matrix);
  OpFoldResult inRow = metadata.getConstifiedMixedStrides().front();
  std::optional<int64_t> known = getConstantIntValue(inRow);
  OpFoldResult inColumn =
      known ? OpFoldResult(k.getIndexAttr(*known * gridColumns))
            : OpFoldResult(k.mul(cast<Value>(inRow), gridColumns));
  int64_t gridRows = type.getDimSize(0) / gridColumns;
  SmallVector<OpFoldResult> sizes{k.getIndexAttr(gridRows),
                                  k.getIndexAttr(gridColumns),
                                  k.getIndexAttr(type.getDimSize(1))};
  SmallVector<OpFoldResult> strides{inColumn, inRow, k.getIndexAttr(1)};
  if (ofColumns) {
    std::swap(sizes[0], sizes[1]);
    std::swap(strides[0], strides[1]);
  }
  Value lines = memref::ReinterpretCastOp::create(
      k, matrix, metadata.getConstifiedMixedOffset(), sizes, strides);
  return createMap(k, lines, {1, rows, getRowElements(matrix)},
                   /*isReadOnce=*/true);
}

Value mlir::omnimoe::createPermutedTensorMap(KernelBuilder &k, Value matrix,
                                             int64_t rows) {
  auto type = cast<MemRefType>(matrix.getType());
  int64_t stride = type.getStridesAndOffset().first.front();
  int64_t groups = type.getDimSize(0) / kPermutedRows;
  Value permuted = memref::ReinterpretCastOp::create(
      k,
      MemRefType::get(
          {groups, 4, 4, 2, type.getDimSize(1)}, type.getElementType(),
          StridedLayoutAttr::get(
              k.getContext(), 0,
              {kPermutedRows * stride, 2 * stride, 8 * stride, stride, 1})),
      matrix, /*offset=*/0,
      ArrayRef<int64_t>{groups, 4, 4, 2, type.getDimSize(1)},
      ArrayRef<int64_t>{kPermutedRows * stride, 2 * stride, 8 * stride, stride,
                        1});
  return createMap(k, permuted,
                   {rows / kPermutedRows, 4, 4, 2, getRowElements(matrix)});
}

Value mlir::omnimoe::getTensorMapPointer(KernelBuilder &k, Value map) {
  return UnrealizedConversionCastOp::create(
             k, LLVM::LLVMPointerType::get(k.getContext()), map)
      .getResult(0);
}

static void copyBox(KernelBuilder &k, Value target, Value mapPointer,
                    Value barrier, ValueRange coordinates,
                    Value policy = Value(), int64_t blocks = 1) {
  Value mask;
  if (blocks > 1) {
    mask = k.integer(k.getI16Type(), (1 << blocks) - 1);
    target = LLVM::AddrSpaceCastOp::create(
        k, LLVM::LLVMPointerType::get(k.getContext(), kSharedClusterSpace),
        target);
  }
  NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
      k, target, mapPointer, coordinates, barrier,
      /*im2colOffsets=*/ValueRange{}, mask, policy, NVVM::TMALoadMode::TILE,
      /*isCTAOnly=*/blocks == 1, NVVM::CTAGroupKindAttr(),
      /*predicate=*/Value());
}

Value mlir::omnimoe::getCachePolicy(KernelBuilder &k, Value isReadOnce) {
  // What `createpolicy.fractional.L2` makes of all of a copy: evict_first and
  // evict_normal.
  return k.choose(isReadOnce, k.integer(k.getI64Type(), 0x12f0000000000000),
                  k.integer(k.getI64Type(), 0x1000000000000000));
}

void mlir::omnimoe::copyTile(KernelBuilder &k, Value target, Value mapPointer,
                             Value barrier, Value row, Value column,
                             Value matrix, Value policy, int64_t blocks) {
  SmallVector<Value> position{column, row};
  if (matrix)
    position.push_back(matrix);
  copyBox(k, target, mapPointer, barrier, position, policy, blocks);
}

void mlir::omnimoe::copyPermutedTile(KernelBuilder &k, Value target,
                                     Value mapPointer, Value barrier, Value row,
                                     Value column) {
  Value zero = k.i32(0);
  Value group = arith::DivUIOp::create(k, row, k.i32(kPermutedRows));
  copyBox(k, target, mapPointer, barrier, {column, zero, zero, zero, group});
}

void mlir::omnimoe::prefetchTensorMap(KernelBuilder &k, Value mapPointer) {
  NVVM::PrefetchOp::create(k, NVVM::PrefetchCacheLevelAttr(),
                           NVVM::CacheEvictionPriorityAttr(), mapPointer,
                           /*predicate=*/Value(), /*tensormap=*/true);
}
