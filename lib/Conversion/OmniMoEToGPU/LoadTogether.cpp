//===- LoadTogether.cpp - Several loads of a thread at once ---------------===//

#include "LoadTogether.h"

#include "WarpgroupMatrix.h"

using namespace mlir;
using namespace mlir::omnimoe;

SmallVector<Position> mlir::omnimoe::getPositions(KernelBuilder &k, Value from,
                                                  Value end, int64_t step,
                                                  int64_t count) {
  SmallVector<Position> positions;
  for (int64_t i = 0; i < count; ++i) {
    Value at = k.add(from, i * step);
    positions.push_back({k.compare(arith::CmpIPredicate::ult, at, end),
                         k.min(at, k.sub(end, 1))});
  }
  return positions;
}

SmallVector<Value>
mlir::omnimoe::loadTogether(KernelBuilder &k, ArrayRef<Value> places,
                            llvm::function_ref<Value(Value)> load) {
  SmallVector<Value> values;
  Type i32 = k.getI32Type();
  for (Value place : places) {
    Value value = load(place);
    values.push_back(value.getType() == i32
                         ? value
                         : arith::ExtUIOp::create(k, i32, value).getResult());
  }
  return holdInPlace(k, values);
}

SmallVector<Value>
mlir::omnimoe::loadTogether(KernelBuilder &k, ArrayRef<Position> positions,
                            llvm::function_ref<Value(Value)> load) {
  SmallVector<Value> places;
  for (const Position &position : positions)
    places.push_back(position.readable);
  return loadTogether(k, places, load);
}

SmallVector<Value> mlir::omnimoe::holdLoaded(KernelBuilder &k,
                                             ArrayRef<Value> values) {
  Type type = values.front().getType(), i32 = k.getI32Type();
  if (type == i32 || type.isF32())
    return holdInPlace(k, values);
  Type bits = k.getIntegerType(type.getIntOrFloatBitWidth());
  SmallVector<Value> words;
  for (Value value : values)
    words.push_back(arith::ExtUIOp::create(
        k, i32, k.createOrFold<arith::BitcastOp>(bits, value)));
  SmallVector<Value> held;
  for (Value word : holdInPlace(k, words))
    held.push_back(k.createOrFold<arith::BitcastOp>(
        type, arith::TruncIOp::create(k, bits, word).getResult()));
  return held;
}
