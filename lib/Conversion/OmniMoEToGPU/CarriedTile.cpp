//===- CarriedTile.cpp - A finished tile in registers ---------------------===//

#include "CarriedTile.h"

#include "DevicePointer.h"
#include "TensorMaps.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Registers of 8 neighbouring columns of a row.
static constexpr int64_t kFragmentRegisters = 4;

CarriedTile CarriedTile::fromValues(ValueRange values) {
  return {values[0], values[1], values[2],
          llvm::to_vector(values.drop_front(3))};
}

SmallVector<Value> CarriedTile::getValues() const {
  SmallVector<Value> values{any, row, column};
  llvm::append_range(values, registers);
  return values;
}

void mlir::omnimoe::storeCarried(KernelBuilder &k, const CarriedTile &carried,
                                 Value result, Value row, Value column,
                                 int64_t columns, int64_t round,
                                 int64_t rounds) {
  auto type = cast<MemRefType>(result.getType());
  row = k.add(carried.row, row);
  column = k.add(carried.column, column);
  Value rows = arith::IndexCastOp::create(k, k.getI32Type(),
                                          memref::DimOp::create(k, result, 0));
  Value pointer = getPointer(k, result, kGlobalSpace);
  int64_t stride = type.getStridesAndOffset().first.front();
  int64_t groups = columns / kPermutedRows / rounds;
  for (int64_t half : {0, 1}) {
    Value ownRow = k.add(row, 8 * half);
    Value inRows = k.compare(arith::CmpIPredicate::ult, ownRow, rows);
    Value offset =
        k.mul(arith::ExtUIOp::create(k, k.getI64Type(), ownRow), stride);
    Value ofRow = movePointer(k, pointer, type.getElementType(), offset);
    for (int64_t i = 0; i < groups; ++i) {
      int64_t at = round * groups + i;
      Value ownColumn = k.add(column, at * kPermutedRows);
      Value inside =
          k.both(inRows, k.compare(arith::CmpIPredicate::ult, ownColumn,
                                   k.i32(type.getDimSize(1))));
      SmallVector<Value> operands{
          movePointer(k, ofRow, type.getElementType(), ownColumn)};
      llvm::append_range(
          operands,
          ArrayRef(carried.registers)
              .slice((2 * at + half) * kFragmentRegisters, kFragmentRegisters));
      NVVM::InlinePtxOp::create(k, TypeRange{}, operands, ValueRange{},
                                "st.global.v4.b32 [$0], {$1, $2, $3, $4};",
                                inside);
    }
  }
}
