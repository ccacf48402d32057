//===- RowCoefficients.h - Coefficients of a warpgroup's rows ----*- C++
//-*-===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROWCOEFFICIENTS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROWCOEFFICIENTS_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// A tile of the list, i32, and its first vector: in the table, in a wide
/// expert, or in a line of the grid.
struct RowTile {
  Value group, first, last, firstVector;
  Value line;  ///< the number of a line of the grid, among rows or columns
  Value isRow; ///< which of both it is; null if groups are no lines
};

/// How the products of the 64 rows of a tile that one warpgroup has become
/// coefficients. What they take from memory is asked for long before products
/// are there: `lookAhead` while the tile before is not done, `loadPairs`, then
/// `loadOperands`, which depends on it, then `compute`.
class RowCoefficients {
public:
  virtual ~RowCoefficients() = default;

  /// What is asked for ahead of tile number `tile`.
  virtual SmallVector<Value> lookAhead(Value tile) = 0;
  /// From here on it is about the rows of `tile`.
  virtual void begin(const RowTile &tile, ValueRange ahead) = 0;
  virtual void loadPairs() = 0;
  virtual void loadOperands() = 0;
  /// What a product takes from registers, two coefficients in each i32, of
  /// `products` as accumulators hold them. Pieces of `scratch` are 8 KB of the
  /// warpgroup's shared memory each, in which nothing is needed any more.
  virtual SmallVector<Value> compute(ArrayRef<Value> products,
                                     ArrayRef<Value> scratch) = 0;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROWCOEFFICIENTS_H
