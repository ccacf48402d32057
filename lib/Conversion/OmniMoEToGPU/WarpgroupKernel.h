//===- WarpgroupKernel.h - The kernel of a dense product ---------*- C++
//-*-===//
//
// 1. All: make the barriers. Then each warpgroup goes its own way.
// 2. Producer, one thread: for each tile and step along the summed loop wait
//    until the stage is free and let the hardware copy both operands' tiles.
//    Where rows are gathered, all threads wait, and copy the left one's.
// 3. Consumers: for each tile and step wait for the stage, start its products,
//    and release the stage before it, whose products are done by then.
// 4. After the last step make the results of the sums. 16-bit results are
//    carried over and stored in pieces behind the first steps of the next tile;
//    others are stored at once. What is added to the sums has been loaded
//    before, if a thread has the registers.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPKERNEL_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPKERNEL_H

#include "BarrierRing.h"
#include "CarriedTile.h"
#include "GatheredRows.h"
#include "TensorMaps.h"
#include "TileOperands.h"
#include "WarpgroupProduct.h"

#include "mlir/IR/IRMapping.h"

namespace mlir::omnimoe {

class WarpgroupKernel {
public:
  WarpgroupKernel(KernelBuilder &k, const WarpgroupTile &tile,
                  gpu::LaunchOp launch, ArrayRef<Value> maps);

  LogicalResult emit();

  /// Threads of a block, and bytes of shared memory.
  static constexpr int64_t kConsumers = 2, kWarpsOfGroup = 4;
  static constexpr int64_t kThreads = 128 * (kConsumers + 1);
  static constexpr int64_t kStages = 4;
  static constexpr int64_t kStageAlignment = 1024; ///< for swizzling
  static constexpr int64_t kSharedBytes =
      kStageAlignment +
      kStages * kSwizzleBytes * (kWarpgroupTileRows + kWarpgroupTileColumns);

private:
  /// Elements of the summed loop in a stage: a swizzled row of 128 bytes.
  static constexpr int64_t kDepth = kWarpgroupTileDepth;
  /// Neighbouring columns that a thread holds of a row.
  static constexpr int64_t kFragmentWidth = 8;

  struct TilePosition {
    Value row, column; ///< of the result, i32
  };
  TilePosition getPosition(Value tileIndex);
  /// `copies`: the thread that lets the hardware copy.
  void emitProducer(Value copies);
  void fillStage(RingPosition at, TilePosition position, ArrayRef<Value> rows,
                 Value step, Value copies);
  LogicalResult emitConsumer();
  IRMapping cloneViews(TilePosition position);
  TileOperands loadOperands(const IRMapping &views);
  LogicalResult emitResult(Block *body, TilePosition position, IRMapping &views,
                           TileOperands operands, Value accumulators,
                           CarriedTile &finished);
  void storeRound(const CarriedTile &carried, int64_t round);
  Value getStage(Value stage);
  SmallVector<Fragment> getFragments();
  TileSums shareParts(const TileSums &own);
  void awaitTurn();
  void giveTurn();
  TilePosition getThreadPosition();

  KernelBuilder &k;
  WarpgroupTile tile;
  ArrayRef<Value> maps; ///< for the hardware's copies, the left operand first

  int64_t numProducts, columns, steps, rounds;
  int64_t leftBytes, rightBytes;
  bool keeps;
  Type elementType;
  /// What is loaded before the sums are computed, in the tile's body.
  SmallVector<Value> early;

  BarrierRing ring;
  std::optional<GatheredRows> gathered;
  Value thread, warp, group, lane;
  Value part; ///< of the summed loop that the block takes
  Value rowTiles, columnTiles, tiles, firstTile, tileStep;
  Value stages;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_WARPGROUPKERNEL_H
