//===- TensorMaps.h - Tiles that the hardware copies -------------*- C++
//-*-===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TENSORMAPS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TENSORMAPS_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// Bytes of a row of a tile in shared memory; its 16-byte pieces are permuted
/// within 8 rows, so that neither copies nor products meet bank conflicts.
inline constexpr int64_t kSwizzleBytes = 128;
/// Rows that the map of a right operand permutes among each other.
inline constexpr int64_t kPermutedRows = 32;

/// A map, made on the host, for tiles of `rows` rows of 128 bytes of `matrix`,
/// or of one of the matrices of a three-dimensional array. What a tile has
/// beyond its matrix is filled with zeros.
Value createTensorMap(KernelBuilder &k, Value matrix, int64_t rows);

/// The same of `matrix` seen as the rows of a grid of `gridColumns` columns, or
/// as its columns: an array of matrices, one for each line. The cache fetches
/// no more than a tile asks for, since it is not to keep it.
Value createLineTensorMap(KernelBuilder &k, Value matrix, int64_t gridColumns,
                          bool ofColumns, int64_t rows);

/// The same, with the rows of the tile in an order that gives each thread
/// neighbouring columns of a product: row 8 q + 2 j + e of 32 comes to lie at
/// 8 j + 2 q + e. The number of rows of `matrix` is a multiple of 32.
Value createPermutedTensorMap(KernelBuilder &k, Value matrix, int64_t rows);

/// The pointer by which a kernel knows `map`.
Value getTensorMapPointer(KernelBuilder &k, Value map);

/// Brings `map` close before it is used.
void prefetchTensorMap(KernelBuilder &k, Value mapPointer);

/// How long the second-level cache keeps what a copy brings (i64), where
/// `isReadOnce`: not longer than it must.
Value getCachePolicy(KernelBuilder &k, Value isReadOnce);

/// Copies the tile at row `row`, element `column` to `target` in shared memory
/// and lets `barrier` count the bytes. `matrix` is the number of the matrix in
/// an array of them, and `policy` how long the cache keeps it. With several
/// `blocks`, it is copied to all blocks of the cluster, and the barrier of each
/// counts.
void copyTile(KernelBuilder &k, Value target, Value mapPointer, Value barrier,
              Value row, Value column, Value matrix = Value(),
              Value policy = Value(), int64_t blocks = 1);
void copyPermutedTile(KernelBuilder &k, Value target, Value mapPointer,
                      Value barrier, Value row, Value column);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TENSORMAPS_H
