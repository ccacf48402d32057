//===- CarriedTile.h - A finished tile in registers -------------*- C++ -*-===//
//
// The 16-bit results of a tile that a thread of a consumer has, packed in
// pairs. They are stored while the next tile is under way.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_CARRIEDTILE_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_CARRIEDTILE_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// What a consumer carries from tile to tile: a finished tile, where it
/// belongs, and whether there is one.
struct CarriedTile {
  static CarriedTile fromValues(ValueRange values);
  SmallVector<Value> getValues() const;

  Value any, row, column;
  SmallVector<Value> registers;
};

/// Stores one of `rounds` parts of a tile of `columns` columns to `result`, 16
/// bytes at a time. `row` and `column`, of the tile, are the thread's first.
void storeCarried(KernelBuilder &k, const CarriedTile &carried, Value result,
                  Value row, Value column, int64_t columns, int64_t round,
                  int64_t rounds);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_CARRIEDTILE_H
