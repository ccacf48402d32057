//===- ProductTile.h - A tile of a dense product by a block ------*- C++
//-*-===//
//
// A thread block computes a tile of rows x columns of the result, with the sums
// spread over the registers of its threads: each thread holds fragments, which
// are a few neighbouring columns of one row. What multiplies is an
// implementation of `TileMultiplier`; what is then done to the sums, and where
// they go, is the same for all.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PRODUCTTILE_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PRODUCTTILE_H

#include "Utils/KernelBuilder.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

namespace mlir::omnimoe {

/// Rows and columns of a tile, and the threads that compute it.
inline constexpr int64_t kTileSize = kSmallTileSize;
inline constexpr int64_t kTileThreads = 128;
/// Threads that compute two tiles of narrow products of the same rows.
inline constexpr int64_t kRowTileThreads = 256;
/// A tile has at least as many rows and columns, even if they are not used.
inline constexpr int64_t kLeastTileSize = 32;

/// Neighbouring columns of one row of the tile, held by a thread.
struct Fragment {
  Value row, column;
};

/// One f32 for each column of each fragment of a thread.
using TileSums = SmallVector<Value>;

class TileMultiplier {
public:
  TileMultiplier(KernelBuilder &k, Value threadId) : k(k), threadId(threadId) {}
  virtual ~TileMultiplier() = default;

  /// Columns of a fragment.
  virtual int64_t getFragmentWidth() const = 0;
  /// The fragments of a thread.
  virtual SmallVector<Fragment> getFragments() = 0;
  /// Whether the thread's lane is odd, if each lane of an odd number has the
  /// fragments right behind those of the lane before it; null if not.
  virtual Value getIsOddOfPair() { return nullptr; }
  /// How many neighbouring lanes hold one row together, and all of it; 0 if
  /// rows are spread over warps.
  virtual int64_t getLanesOfRow() { return 0; }
  bool holdsRows() { return getLanesOfRow() > 0; }
  /// `sums` plus the product.
  virtual TileSums multiply(const MatrixProduct &product, TileSums sums) = 0;

protected:
  KernelBuilder &k;
  Value threadId;
};

/// Stands for products whose sums are computed before the operations of their
/// tile are walked, in the order of the products.
class ReadySums : public TileMultiplier {
public:
  ReadySums(KernelBuilder &k, int64_t fragmentWidth,
            SmallVector<Fragment> fragments, SmallVector<TileSums> sums,
            Value isOddOfPair, int64_t lanesOfRow = 0)
      : TileMultiplier(k, Value()), fragmentWidth(fragmentWidth),
        fragments(std::move(fragments)), sums(std::move(sums)),
        isOddOfPair(isOddOfPair), lanesOfRow(lanesOfRow) {}

  int64_t getFragmentWidth() const override { return fragmentWidth; }
  SmallVector<Fragment> getFragments() override { return fragments; }
  Value getIsOddOfPair() override { return isOddOfPair; }
  int64_t getLanesOfRow() override { return lanesOfRow; }
  TileSums multiply(const MatrixProduct &, TileSums) override {
    return sums[next++];
  }

private:
  int64_t fragmentWidth;
  SmallVector<Fragment> fragments;
  SmallVector<TileSums> sums;
  Value isOddOfPair;
  int64_t lanesOfRow;
  size_t next = 0;
};

/// What a thread has of two products of the same rows: of one of them, the sums
/// of a share of the depth, and of the block's part of that.
struct RowShares {
  /// Of each of the thread's rows, which are 8 apart: two neighbours of every 8
  /// columns.
  SmallVector<TileSums> rows;
  Value firstRow, firstColumn;
  Value product; ///< 0 or 1
  Value share;   ///< 0 or 1
  Value thread;  ///< of the kTileThreads that have the share
  Value buffer;  ///< shared memory that is free by now
};

class RowMultiplier {
public:
  virtual ~RowMultiplier() = default;
  virtual RowShares multiplyBoth(ArrayRef<MatrixProduct> products) = 0;
};

/// Products of two f16 or two bf16 matrices by tensor cores (mma.sync), in
/// tiles of up to `tile`. The launch has `parts` blocks along its last
/// dimension, a cluster, that share the summed loop. Where the block has
/// buffers of its own besides, the operands are in dynamic shared memory.
std::unique_ptr<TileMultiplier>
createTensorCoreMultiplier(KernelBuilder &k, gpu::LaunchOp launch,
                           ProductTile tile, int64_t parts = 1,
                           bool hasBuffers = false);
/// The same for two products, each with results of `tile`, by kRowTileThreads.
std::unique_ptr<RowMultiplier> createRowMultiplier(KernelBuilder &k,
                                                   gpu::LaunchOp launch,
                                                   ProductTile tile,
                                                   int64_t parts);
/// Products of any floats in f32.
std::unique_ptr<TileMultiplier> createFMAMultiplier(KernelBuilder &k,
                                                    gpu::LaunchOp launch);

/// A matrix, and where in it a tile begins.
struct MatrixCut {
  Value matrix;
  OpFoldResult row, column;
};
/// What `memref` is cut from, with all strides one.
std::optional<MatrixCut> getCut(Value memref);

/// True for a buffer that a tile makes for itself, whose values may only live
/// in registers.
bool isOfTile(Value memref);

/// An operand of a product as its tile is stored: rows of neighbouring
/// elements, `outer` of them, `inner` elements long.
struct StoredOperand {
  Value memref;
  Value outer, inner;
  Type elementType;
  bool transposed;  ///< rows follow the summed loop
  int64_t elements; ///< neighbours that one access may take
};

/// `operand` for accesses of up to `accessBytes` bytes.
StoredOperand getStoredOperand(KernelBuilder &k, Value operand, bool transposed,
                               int64_t accessBytes);

/// A piece of a tile that a thread copies.
struct TilePiece {
  Value row, column;  ///< in the stored tile
  Value outer, inner; ///< in the operand
  Value valid;        ///< whether it lies inside of the operand
};

/// The pieces that a thread copies of the tile at `summed` of `operand`, which
/// has `size` rows or columns of the result and `depth` of the summed loop,
/// where `threads` share the copying.
SmallVector<TilePiece> getTilePieces(KernelBuilder &k, Value threadId,
                                     const StoredOperand &operand, int64_t size,
                                     int64_t depth, Value summed,
                                     int64_t threads = kTileThreads);

/// Powers of two that bound the rows and columns of a tile's `result`, if a
/// block can compute it.
FailureOr<ProductTile> getProductTile(Value result);

/// True if `body` is a tile of dense products: what else is done to the sums
/// needs no other thread's.
bool isProductTile(Block *body);

/// Blocks that share a tile's sums where there are too few tiles of few rows to
/// keep `target` busy.
int64_t getNumParts(scf::ForallOp forall, TargetAttr target);

/// Replaces the operations of such a tile by code for all threads of the block,
/// or of the cluster of `parts` blocks.
LogicalResult emitProductTile(KernelBuilder &k, gpu::LaunchOp launch,
                              int64_t parts);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PRODUCTTILE_H
