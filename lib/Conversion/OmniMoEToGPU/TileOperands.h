//===- TileOperands.h - What a tile reads besides its products ---*- C++
//-*-===//
//
// Element-wise operations on the sums of a tile may read matrices of the
// result's shape, such as what the product is added to. A thread loads many
// pieces of them before it needs the first, so that it waits once for all.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TILEOPERANDS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TILEOPERANDS_H

#include "ProductTile.h"
#include "llvm/ADT/MapVector.h"

namespace mlir::omnimoe {

/// Registers of a thread for what it has loaded and not yet used.
inline constexpr int64_t kOperandRegisters = 64;

class TileOperands {
public:
  /// The matrices that operations of `body` read element by element, in memory
  /// that none of them writes to.
  static SmallVector<Value> find(Block &body);
  /// Registers of `elements` elements of `memref`.
  static int64_t getRegisters(Value memref, int64_t elements);

  /// Loads the pieces of `memref`, of `width` columns, that stand at
  /// `fragments`, which are the tile's from number `first` on.
  void load(KernelBuilder &k, Value memref, ArrayRef<Fragment> fragments,
            int64_t first, int64_t width);
  /// Keeps what has been loaded from being loaded later.
  void hold(KernelBuilder &k);
  bool has(Value memref) const { return loaded.contains(memref); }
  /// A vector, if that piece has been loaded; null if not.
  Value get(KernelBuilder &k, Value memref, int64_t fragment) const;

private:
  /// As whole registers, by the fragment's number.
  llvm::MapVector<Value, llvm::MapVector<int64_t, Value>> loaded;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TILEOPERANDS_H
