//===- TileQueue.h - Tiles handed out as blocks ask for them -----*- C++
//-*-===//
//
// A persistent kernel whose blocks walk a list of tiles in fixed steps drifts
// apart, and tiles that share operands no longer meet in the cache. Here blocks
// take the next tile of the list when they need one, so that the tiles under
// way are always neighbours in the list. One thread of a block asks, by adding
// to a counter in memory, and tells the warps through shared memory. A cluster
// of blocks takes tiles together: its first block asks, and tells all of them.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TILEQUEUE_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TILEQUEUE_H

#include "BarrierRing.h"

namespace mlir::omnimoe {

class TileQueue {
public:
  /// `counter`, i32 [1] in memory, is 0 when the kernel starts. Each block, or
  /// cluster of `clusterBlocks` blocks along z, takes the tile of its own
  /// number first.
  TileQueue(KernelBuilder &k, gpu::LaunchOp launch, Value counter,
            int64_t clusterBlocks = 1);

  /// To be called by one thread, as `BarrierRing::emitInit`; `warps` warps take
  /// each tile.
  void emitInit(int64_t warps) { ring.emitInit(warps); }

  RingPosition getStart() { return ring.getConsumerStart(); }
  RingPosition advance(RingPosition at) { return ring.advance(at); }

  /// Asks for the next tile, in the thread of each block where `asks`. The
  /// answer takes its time, so is best used later.
  Value ask(Value asks);
  /// Tells the warps what was asked for.
  void tell(RingPosition at, Value asks, Value ticket);
  /// The tile that was told, in all threads of a warp.
  Value take(RingPosition at, Value isFirstLane);

private:
  KernelBuilder &k;
  BarrierRing ring;
  void tellCluster(RingPosition at, Value ticket);

  int64_t clusterBlocks;
  Value counter, numbers, blocks, isFirstBlock;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TILEQUEUE_H
