//===- GatheredRows.cpp - Rows that threads copy to a tile ----------------===//

#include "GatheredRows.h"

#include "BlockEmitter.h"
#include "DevicePointer.h"
#include "TensorMaps.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

/// Pieces of a swizzled row, each copied by a thread.
static constexpr int64_t kPieces = kSwizzleBytes / kAccessBytes;
/// A thread copies a piece, at the same place, of every so manyth row.
static constexpr int64_t kRowStep = GatheredRows::kThreads / kPieces;
/// Rows that swizzling permutes pieces by.
static constexpr int64_t kSwizzledRows = 8;
static_assert(kRowStep % kSwizzledRows == 0);
/// Stands for a row of zeros.
static constexpr int64_t kNoRow = -1;

GatheredRows::GatheredRows(KernelBuilder &k, const RowGather &gather,
                           Value indices, Value thread, int64_t tileRows)
    : k(k), gather(gather), indices(indices), tileRows(tileRows) {
  Type type = getElementTypeOrSelf(gather.matrix.getType());
  elements = kAccessBytes * 8 / type.getIntOrFloatBitWidth();
  row = arith::DivUIOp::create(k, thread, k.i32(kPieces));
  piece = arith::RemUIOp::create(k, thread, k.i32(kPieces));
}

SmallVector<Value> GatheredRows::find(Value firstRow) {
  Value matrixRows = memref::DimOp::create(k, gather.matrix, 0);
  // Rows past the end are not stored: any row does.
  Value last = k.sub(k.toI32(memref::DimOp::create(k, indices, 0)), 1);
  SmallVector<Value> rows;
  for (int64_t i = 0; i < tileRows; i += kRowStep) {
    Value at = k.min(k.add(k.add(firstRow, row), i), last);
    Value index = k.load(indices, k.toIndex(at));
    auto [found, isRead] = emitGatheredRow(k, gather, index);
    Value inside = k.compare(CmpIPredicate::ult, found, matrixRows);
    if (isRead)
      inside = k.both(inside, isRead);
    rows.push_back(k.choose(inside, k.toI32(found), k.i32(kNoRow)));
  }
  return rows;
}

void GatheredRows::copy(Value target, ArrayRef<Value> rows, Value column) {
  Value swizzled = arith::XOrIOp::create(
      k, piece,
      arith::RemUIOp::create(k, row, k.i32(kSwizzledRows)).getResult());
  target = movePointer(
      k, target, k.getI8Type(),
      k.add(k.mul(row, kSwizzleBytes), k.mul(swizzled, kAccessBytes)));
  auto type = cast<MemRefType>(gather.matrix.getType());
  int64_t rowElements = type.getDimSize(1);
  Value first = k.add(column, k.mul(piece, elements));
  Value inRow;
  if (rowElements % (kPieces * elements) != 0)
    inRow = k.compare(CmpIPredicate::ult, first, k.i32(rowElements));
  Value source = movePointer(k, getPointer(k, gather.matrix, kGlobalSpace),
                             type.getElementType(), first);
  for (auto [i, found] : llvm::enumerate(rows)) {
    Value isRead = k.compare(CmpIPredicate::ne, found, k.i32(kNoRow));
    if (inRow)
      isRead = k.both(isRead, inRow);
    Value known = k.choose(isRead, found, k.i32(0));
    Value offset =
        k.mul(arith::ExtUIOp::create(k, k.getI64Type(), known).getResult(),
              rowElements);
    // Of fewer bytes than a piece has, the rest are zeros.
    NVVM::CpAsyncOp::create(
        k,
        movePointer(k, target, k.getI8Type(),
                    k.i32(i * kRowStep * kSwizzleBytes)),
        movePointer(k, source, type.getElementType(), offset), kAccessBytes,
        NVVM::LoadCacheModifierKind::CG,
        k.choose(isRead, k.i32(kAccessBytes), k.i32(0)));
  }
}

/// Copies were written as threads write; products read as engines do.
void mlir::omnimoe::showCopiesToProducts(KernelBuilder &k) {
  NVVM::FenceProxyOp::create(
      k, NVVM::ProxyKind::async_shared,
      NVVM::SharedSpaceAttr::get(k.getContext(),
                                 NVVM::SharedSpace::shared_cta));
}
