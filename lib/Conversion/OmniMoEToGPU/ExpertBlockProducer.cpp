//===- ExpertBlockProducer.cpp - What fills the stages --------------------===//

#include "ExpertBlockKernel.h"

#include "BlockEmitter.h"
#include "DevicePointer.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

/// Rows that a thread of the producer gathers a piece of.
static constexpr int64_t kGatheredRows = 8;
static constexpr int64_t kRowStep = kSlotTileRows / kGatheredRows;

/// The up vectors of a pass: pieces of a group's, or the same of each table.
SmallVector<ExpertBlockKernel::Copy>
ExpertBlockKernel::getUpCopies(int64_t pass) {
  SmallVector<Copy> copies;
  if (block.isWide())
    for (TableMap map : upMaps)
      copies.push_back({map, pass * vectors.rows});
  else
    for (int64_t first = 0; first < vectors.depth; first += vectors.rows)
      copies.push_back({upMaps.front(), first});
  return copies;
}

SmallVector<ExpertBlockKernel::Copy> ExpertBlockKernel::getDownCopies() {
  SmallVector<Copy> copies;
  for (int64_t first = 0; first < vectors.depth; first += vectors.rows)
    copies.push_back({downMap, first});
  return copies;
}

/// Lets the hardware copy vectors behind the tokens of a stage. What is past a
/// group belongs to another and meets no pair; past a wide expert, or a line of
/// the grid, there are zeros.
void ExpertBlockKernel::copyVectors(ArrayRef<Copy> copies, const RowTile &tile,
                                    Value stage, Value column) {
  int64_t bytes = vectors.rows * kSwizzleBytes;
  Value barrier = ring.expect(stage, copies.size() * bytes);
  Value target =
      movePointer(k, getStage(stage), k.getI8Type(), k.i32(kTokenBytes));
  Value matrix = block.isWide() ? tile.group : tile.line;
  if (!blockOfCluster) {
    for (auto [i, copy] : llvm::enumerate(copies))
      copyTile(k, movePointer(k, target, k.getI8Type(), k.i32(i * bytes)),
               copy.map.rows, barrier, k.add(tile.firstVector, copy.first),
               column, matrix, cachePolicy);
    return;
  }
  // Each block of the cluster copies a part, for all of them.
  Value own =
      movePointer(k, target, k.getI8Type(), k.mul(blockOfCluster, bytes));
  Value first = k.add(tile.firstVector, k.mul(blockOfCluster, vectors.rows));
  auto copyPart = [&](Value map) {
    copyTile(k, own, map, barrier, first, column, matrix, cachePolicy,
             clusterBlocks);
  };
  // Maps are parameters of the kernel: their addresses cannot be chosen from.
  k.when(
      tile.isRow, [&] { copyPart(copies.front().map.rows); },
      [&] { copyPart(copies.front().map.columns); });
}

/// Fills a stage for each step along the hidden size: with vectors, and with
/// what `fillRest` does, which says that the threads are done.
RingPosition ExpertBlockKernel::produce(
    ArrayRef<Copy> copies, const RowTile &tile, RingPosition at,
    llvm::function_ref<void(Value step, Value stage)> fillRest) {
  Value isCopying =
      k.both(isFirstLane, k.compare(CmpIPredicate::eq, warp, k.i32(0)));
  ValueRange end = k.rolledLoop(
      k.i32(0), k.i32(steps), k.i32(1), {at.stage, at.parity},
      [&](Value step, ValueRange carried) -> SmallVector<Value> {
        RingPosition now{carried[0], carried[1]};
        ring.waitEmpty(now);
        k.when(isCopying, [&] {
          copyVectors(copies, tile, now.stage, k.mul(step, kBlockDepth));
        });
        fillRest(step, now.stage);
        RingPosition next = ring.advance(now);
        return {next.stage, next.parity};
      });
  return {end[0], end[1]};
}

/// A thread gathers 16 bytes, at the same place, of every 16th row. Tiles often
/// are not full: rows that do not exist are zeros, which cost no reads, and
/// little energy to multiply.
RingPosition ExpertBlockKernel::gatherTokens(const RowTile &tile,
                                             RingPosition at) {
  Value piece = k.both(thread, k.i32(7));
  Value row = arith::ShRUIOp::create(k, thread, k.i32(3));
  // Pieces of x are counted, so that 31 bits reach 32 GB of it (its sums take
  // twice as much memory). The sign is that of rows that do not exist: there
  // are no registers for more.
  int64_t pieces = block.products.getHiddenSize() * 2 / kAccessBytes;
  Value sign = k.i32(std::numeric_limits<int32_t>::min());
  SmallVector<Value> sources;
  Value lastRow = k.sub(tile.last, 1);
  for (int64_t i = 0; i < kGatheredRows; ++i) {
    Value own = k.add(k.add(tile.first, row), i * kRowStep), end = tile.last;
    if (blockOfCluster) {
      Value middle = k.add(tile.first, getSplit(tile));
      if (i * kRowStep < kWarpgroupRows)
        end = middle;
      else
        own = k.add(k.add(middle, row), i * kRowStep - kWarpgroupRows);
    }
    Value exists = k.compare(CmpIPredicate::slt, own, end);
    own = k.min(own, lastRow);
    Value source = k.add(k.mul(loadToken(own), pieces), piece);
    sources.push_back(k.choose(exists, source, k.either(source, sign)));
  }
  // The swizzle of 128 bytes: rows permute the pieces by their number mod 8.
  Value swizzled = arith::XOrIOp::create(k, piece, k.both(row, k.i32(7)));
  Value place = k.add(k.mul(row, kSwizzleBytes), k.mul(swizzled, kAccessBytes));
  Value x = getPointer(k, block.products.getX(), kGlobalSpace);
  auto gather = [&](Value step, Value stage) {
    Value target = movePointer(k, getStage(stage), k.getI8Type(), place);
    Value source = movePointer(k, x, k.getI8Type(), k.mul(step, kSwizzleBytes));
    for (int64_t i = 0; i < kGatheredRows; ++i) {
      Value index =
          k.both(sources[i], k.i32(std::numeric_limits<int32_t>::max()));
      Value offset =
          k.mul(arith::ExtUIOp::create(k, k.getI64Type(), index).getResult(),
                kAccessBytes);
      Value exists = k.compare(CmpIPredicate::sge, sources[i], k.i32(0));
      NVVM::CpAsyncOp::create(k,
                              movePointer(k, target, k.getI8Type(),
                                          k.i32(i * kRowStep * kSwizzleBytes)),
                              movePointer(k, source, k.getI8Type(), offset),
                              kAccessBytes, NVVM::LoadCacheModifierKind::CG,
                              k.choose(exists, k.i32(kAccessBytes), k.i32(0)));
    }
    ring.fillWhenCopied(stage);
  };
  for (int64_t pass = 0; pass < vectors.passes; ++pass)
    at = produce(getUpCopies(pass), tile, at, gather);
  return at;
}

RingPosition ExpertBlockKernel::copyDownVectors(const RowTile &tile,
                                                RingPosition at) {
  return produce(getDownCopies(), tile, at, [&](Value, Value stage) {
    NVVM::SyncWarpOp::create(k, k.i32(-1));
    ring.fill(stage, isFirstLane, kWarp);
  });
}

/// The producer comes to its next tile while consumers still have stages of
/// this one to use.
void ExpertBlockKernel::emitProducer() {
  RingPosition start = ring.getProducerStart(), first = queue.getStart();
  k.loopWhile(
      {firstTile, start.stage, start.parity, first.stage, first.parity},
      [&](ValueRange carried) { return isTile(carried[0]); },
      [&](ValueRange carried) -> SmallVector<Value> {
        RingPosition told{carried[3], carried[4]};
        RowTile tile = loadTile(carried[0]);
        RingPosition at = gatherTokens(tile, {carried[1], carried[2]});
        at = copyDownVectors(tile, at);
        Value index = getTileOf(queue.take(told, isFirstLane));
        told = queue.advance(told);
        return {index, at.stage, at.parity, told.stage, told.parity};
      });
}
