//===- RowTile.h - Two narrow products and their whole rows ------*- C++
//-*-===//
//
// A tile of two products of the same rows, each with so few columns that a warp
// holds whole rows of one of them in registers. What is made of rows, such as a
// softmax, needs no shared memory then: four lanes share a row.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROWTILE_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROWTILE_H

#include "ProductTile.h"

namespace mlir::omnimoe {

struct RowTile {
  ProductTile tile; ///< of either product
  int64_t parts;    ///< of the summed loop, one for each block of a cluster
  SmallVector<MatrixProduct, 2> products;
  /// Which product each operation works on the result of.
  DenseMap<Operation *, size_t> owners;
};

/// The operations of `body` as a tile of rows, if all of them can be computed
/// in registers.
std::optional<RowTile> matchRowTile(Block &body);

/// Replaces the operations of `tile`, which stand in `launch` by now, by code
/// for its threads.
LogicalResult emitRowTile(KernelBuilder &k, gpu::LaunchOp launch,
                          const RowTile &tile);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROWTILE_H
