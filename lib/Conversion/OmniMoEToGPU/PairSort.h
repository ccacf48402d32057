//===- PairSort.h - Pairs in the order of their groups -----------*- C++
//-*-===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PAIRSORT_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PAIRSORT_H

#include "BlockKernel.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {

/// Threads of a block in the kernels of a dispatch, positions that a lane has
/// at a time, and so positions of a tile.
inline constexpr int64_t kDispatchThreads = 256;
inline constexpr int64_t kTurns = 8;
inline constexpr int64_t kTilePairs = kDispatchThreads * kTurns;

/// How P pairs are shared out: block b has positions [b * chunk, (b + 1) *
/// chunk), which it walks in tiles. Each of its warps has an equal part of a
/// tile, in the order of warps, and takes it 32 positions at a time, in kTurns
/// turns. All values are indices on the host.
struct PairChunks {
  Value pairs, chunk, blocks;
  int64_t maxBlocks, topK;
};

PairChunks getPairChunks(KernelBuilder &k, DispatchOp op, int64_t units);

/// A thread's positions in a tile, and whether they are those of pairs. They
/// are i32: there are less than 2^31 pairs.
struct TilePositions {
  Value tile, end; ///< of the tile, and of the pairs in it
  SmallVector<Value> positions, exist;
  /// A position that can be read in turn `turn`.
  Value readable(KernelBuilder &k, unsigned turn) const {
    return k.toIndex(k.min(positions[turn], k.sub(end, 1)));
  }
};

/// Walks the tiles of a block, carrying values along from `inits`.
SmallVector<Value>
forEachTile(KernelBuilder &k, BlockKernel &kernel, const PairChunks &chunks,
            ValueRange inits,
            llvm::function_ref<SmallVector<Value>(const TilePositions &tile,
                                                  ValueRange carried)>
                body);

/// Emits the kernels that write the pairs of `op` in the order of their groups,
/// and within a group in their own, and `keys`, their groups. Pairs without an
/// expert come last, with the number of groups as key. `prefix` starts the
/// names of the kernels.
void emitPairSort(KernelBuilder &k, DispatchOp op, const PairChunks &chunks,
                  Value keys, StringRef prefix);

/// Emits the kernels that write the offsets, tokens and starts of `op` from its
/// sorted pairs.
void emitSlots(KernelBuilder &k, DispatchOp op, const PairChunks &chunks,
               Value keys, StringRef prefix);

/// Emits the kernel that writes what travels with the sorted pairs of `op`, if
/// anything does.
void emitCarried(KernelBuilder &k, DispatchOp op, const PairChunks &chunks,
                 Value keys, StringRef prefix);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PAIRSORT_H
