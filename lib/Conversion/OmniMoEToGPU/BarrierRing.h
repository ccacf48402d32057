//===- BarrierRing.h - A ring of stages between producer and consumers C++
//-===//
//
// Tiles of operands travel from a producer to consumers through stages of
// shared memory. Each stage has two barriers: `full` completes when all its
// bytes have arrived, `empty` when all consumers have read it. A stage is used
// again and again, so a barrier is waited for by the parity of its use.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_BARRIERRING_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_BARRIERRING_H

#include "Utils/KernelBuilder.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace mlir::omnimoe {

/// What is in block `block` (i32) of the cluster where `place` is in this one's
/// shared memory.
Value getPlaceInBlock(KernelBuilder &k, Value place, Value block);

/// A stage and the parity of its use, as i32.
struct RingPosition {
  Value stage, parity;
};

class BarrierRing {
public:
  /// Reserves the barriers of `stages` stages in the shared memory of `launch`.
  /// With several `blocks`, those of a cluster, producers wait for the
  /// consumers of all of them.
  BarrierRing(KernelBuilder &k, gpu::LaunchOp launch, int64_t stages,
              int64_t blocks = 1);

  /// To be called by one thread before any other use; all threads of the block
  /// or cluster must meet after it. `consumers` of a block release each use of
  /// a stage; `producers` fill it: one if a single thread announces all its
  /// bytes.
  void emitInit(int64_t consumers, int64_t producers = 1);

  RingPosition getProducerStart() { return {k.i32(0), k.i32(1)}; }
  RingPosition getConsumerStart() { return {k.i32(0), k.i32(0)}; }
  /// The stage after `position`; the parity flips where the ring closes.
  RingPosition advance(RingPosition position);

  /// Waits until the consumers have read what was in the stage.
  void waitEmpty(RingPosition position);
  /// Waits until the stage's bytes are there.
  void waitFull(RingPosition position);
  /// Announces `bytes` bytes for the stage and returns the barrier that counts
  /// them.
  Value expect(Value stage, int64_t bytes);
  /// Says that `producers` of the stage have filled their part, in threads
  /// where `predicate`.
  void fill(Value stage, Value predicate, int64_t producers = 1);
  /// Says that this thread, a producer, has filled its part as soon as the
  /// copies that it began (cp.async) have arrived.
  void fillWhenCopied(Value stage);
  /// Says that this consumer has read the stage, in threads where `predicate`.
  void release(Value stage, Value predicate);
  /// The same to all blocks of the cluster, in each of which a producer writes
  /// to this one's stage: lane i of a warp says it to block i.
  void releaseToCluster(Value stage, Value lane);
  /// The same to block `block` alone, in threads where `predicate`.
  void releaseToBlock(Value stage, Value block, Value predicate);

private:
  Value getBarrier(int64_t kind, Value stage);
  void arrive(Value barrier, Value predicate, int64_t count = 1);
  void wait(Value barrier, Value parity);

  KernelBuilder &k;
  int64_t stages, blocks;
  Value barriers;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_BARRIERRING_H
