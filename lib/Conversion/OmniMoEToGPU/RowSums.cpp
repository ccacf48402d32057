//===- RowSums.cpp - Sums of a warpgroup, added to rows of memory ---------===//

#include "RowSums.h"

#include "DevicePointer.h"
#include "WarpgroupMatrix.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

TwoRows mlir::omnimoe::getOwnRows(KernelBuilder &k, Value warp, Value lane) {
  Value row = k.add(k.mul(warp, 16),
                    arith::ShRUIOp::create(k, lane, k.i32(2)).getResult());
  return {row, k.add(row, 8)};
}

RowSums::RowSums(KernelBuilder &k, Value out, int64_t elements, TwoRows rows,
                 TwoRows exist, Value lane)
    : k(k), exist(exist),
      isOdd(k.compare(CmpIPredicate::ne, k.both(lane, k.i32(1)), k.i32(0))) {
  // A lane adds 4 of each 16 columns: those of the first 8 if it is even.
  Value quad = k.both(lane, k.i32(3));
  Value column =
      k.add(k.mul(k.both(quad, k.i32(1)), 8),
            k.mul(arith::ShRUIOp::create(k, quad, k.i32(1)).getResult(), 4));
  Value first =
      movePointer(k, getPointer(k, out, kGlobalSpace), k.getF32Type(), column);
  for (int64_t half : {0, 1}) {
    Value row = arith::ExtUIOp::create(k, k.getI64Type(), rows[half]);
    pointers[half] =
        movePointer(k, first, k.getF32Type(), k.mul(row, elements));
  }
}

void RowSums::add(Value accumulators, Value column,
                  llvm::function_ref<Value(Value, int64_t)> round) {
  SmallVector<Value> sums = readAccumulators(k, accumulators);
  for (int64_t half : {0, 1}) {
    Value pointer = movePointer(k, pointers[half], k.getF32Type(), column);
    // Neighbouring lanes have 2 columns each of two products of 8 columns; they
    // exchange a half so that each has 4 neighbours of one product.
    for (int64_t pair = 0; pair < kFragmentProductColumns / 16; ++pair) {
      Value low[2], high[2], received[2];
      for (int64_t e : {0, 1}) {
        low[e] = sums[8 * pair + 2 * half + e];
        high[e] = sums[8 * pair + 4 + 2 * half + e];
        if (round)
          for (Value *sum : {&low[e], &high[e]})
            *sum = round(*sum, half);
        received[e] = NVVM::ShflOp::create(
            k, k.getF32Type(), k.i32(-1), k.choose(isOdd, low[e], high[e]),
            k.i32(1), k.i32(31), NVVM::ShflKind::bfly, UnitAttr());
      }
      SmallVector<Value> operands{
          movePointer(k, pointer, k.getF32Type(), k.i32(16 * pair))};
      for (int64_t e : {0, 1})
        operands.push_back(k.choose(isOdd, received[e], low[e]));
      for (int64_t e : {0, 1})
        operands.push_back(k.choose(isOdd, high[e], received[e]));
      NVVM::InlinePtxOp::create(k, TypeRange{}, operands, ValueRange{},
                                "red.global.v4.f32.add [$0], {$1, $2, $3, $4};",
                                exist[half]);
    }
  }
}
