//===- WarpgroupProduct.cpp - Dense products at the hardware's full rate --===//

#include "WarpgroupProduct.h"

#include "ClusterParts.h"
#include "DevicePointer.h"
#include "KnownDivisor.h"
#include "ThreadTeam.h"
#include "TileEpilogue.h"
#include "WarpgroupKernel.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Tiles along the rows that are computed near each other in time, so that
/// they share the right operand in the second-level cache. Of two products, one
/// behind the other gets their result column by column, and the cache holds the
/// last ones.
static constexpr int64_t kRasterRows = 8, kRasterRowsOfTwo = 32;
/// Steps of a summed loop for which the left operand may be more than the cache
/// holds.
static constexpr int64_t kLongSteps = 32;
/// Registers of a thread: the producer needs few, more if it gathers rows; the
/// consumers many.
namespace {
struct RegisterSplit {
  int64_t producer, consumer;
};
} // namespace
static constexpr RegisterSplit kWithCopies{24, 240}, kWithGathers{40, 232};
/// Pieces that a carried tile is stored in.
static constexpr int64_t kStoreRounds = 4;

WarpgroupKernel::WarpgroupKernel(KernelBuilder &k, const WarpgroupTile &tile,
                                 gpu::LaunchOp launch, ArrayRef<Value> maps)
    : k(k), tile(tile), maps(maps), numProducts(tile.products.size()),
      columns(kWarpgroupTileColumns / numProducts), ring(k, launch, kStages) {
  auto leftType = cast<MemRefType>(tile.left.getType());
  elementType = leftType.getElementType();
  steps = llvm::divideCeil(leftType.getDimSize(1), kDepth) / tile.parts;
  leftBytes = kWarpgroupTileRows * kSwizzleBytes;
  rightBytes = kWarpgroupTileColumns * kSwizzleBytes;
  Type resultType = getElementTypeOrSelf(tile.result.getType());
  keeps = tile.parts == 1 && resultType.getIntOrFloatBitWidth() == 16 &&
          TileEpilogue::mayKeep(*this->tile.forall.getBody());
  int64_t registers = 0;
  for (Value memref : TileOperands::find(*this->tile.forall.getBody())) {
    registers += TileOperands::getRegisters(
        memref, kWarpgroupTileRows * columns / (kConsumers * 128 * tile.parts));
    if (registers <= kOperandRegisters &&
        getAlignedElements(memref, kFragmentWidth) == kFragmentWidth)
      early.push_back(memref);
  }
  rounds = 1;
  while (keeps && 2 * rounds <= std::min(kStoreRounds, steps))
    rounds *= 2;

  thread = k.toI32(launch.getThreadIds().x);
  firstTile = k.toI32(launch.getBlockIds().x);
  tileStep = k.toI32(launch.getGridSize().x);
  part = k.toI32(launch.getBlockIds().z);
  lane = arith::AndIOp::create(k, thread, k.i32(31));
  warp = getUniformWarp(k, thread);
  group = arith::ShRUIOp::create(k, warp, k.i32(2));

  Value rows = k.toI32(memref::DimOp::create(k, tile.result, 0));
  rowTiles = arith::CeilDivUIOp::create(k, rows, k.i32(kWarpgroupTileRows));
  columnTiles = k.i32(llvm::divideCeil(
      cast<MemRefType>(tile.result.getType()).getDimSize(1), columns));
  tiles = k.mul(rowTiles, columnTiles);

  stages = getAlignedSharedMemory(k, kStageAlignment);
  if (tile.gather)
    gathered.emplace(k, *tile.gather, tile.indices, thread, kWarpgroupTileRows);
}

/// Tiles follow one another along the rows, a band of them, then along the
/// columns.
WarpgroupKernel::TilePosition WarpgroupKernel::getPosition(Value tileIndex) {
  int64_t rasterRows = numProducts > 1 ? kRasterRowsOfTwo : kRasterRows;
  Value band = k.mul(columnTiles, rasterRows);
  Value firstRow =
      k.mul(arith::DivUIOp::create(k, tileIndex, band), rasterRows);
  Value inBand = arith::RemUIOp::create(k, tileIndex, band);
  Value height =
      arith::MinUIOp::create(k, k.sub(rowTiles, firstRow), k.i32(rasterRows));
  Value row = k.add(firstRow, arith::RemUIOp::create(k, inBand, height));
  Value column = arith::DivUIOp::create(k, inBand, height);
  return {k.mul(row, kWarpgroupTileRows), k.mul(column, columns)};
}

Value WarpgroupKernel::getStage(Value stage) {
  return movePointer(k, stages, k.getI8Type(),
                     k.mul(stage, leftBytes + rightBytes));
}

/// Lets the hardware copy the operands' tiles, and this thread what it copies
/// of `rows`.
void WarpgroupKernel::fillStage(RingPosition at, TilePosition position,
                                ArrayRef<Value> rows, Value step,
                                Value copies) {
  ring.waitEmpty(at);
  Value left = getStage(at.stage);
  // From the end, which the kernel before has written last.
  if (numProducts == 1 && steps >= kLongSteps)
    step = k.sub(k.i32(steps - 1), step);
  if (tile.parts > 1)
    step = k.add(k.mul(part, steps), step);
  Value column = k.mul(step, kDepth);
  auto copyTiles = [&] {
    Value barrier =
        ring.expect(at.stage, rightBytes + (gathered ? 0 : leftBytes));
    if (!gathered)
      copyTile(k, left, maps.front(), barrier, position.row, column);
    Value right = movePointer(k, left, k.getI8Type(), k.i32(leftBytes));
    for (Value map : maps.take_back(numProducts)) {
      copyPermutedTile(k, right, map, barrier, position.column, column);
      right =
          movePointer(k, right, k.getI8Type(), k.i32(rightBytes / numProducts));
    }
  };
  if (!gathered)
    return copyTiles();
  k.when(copies, copyTiles);
  gathered->copy(left, rows, column);
  ring.fillWhenCopied(at.stage);
}

void WarpgroupKernel::emitProducer(Value copies) {
  RingPosition start = ring.getProducerStart();
  k.loop(firstTile, tiles, tileStep, {start.stage, start.parity},
         [&](Value tileIndex, ValueRange carried) -> SmallVector<Value> {
           TilePosition position = getPosition(tileIndex);
           SmallVector<Value> rows;
           if (gathered)
             rows = gathered->find(position.row);
           auto emitStep = [&](Value step,
                               ValueRange carried) -> SmallVector<Value> {
             RingPosition at{carried[0], carried[1]};
             fillStage(at, position, rows, step, copies);
             RingPosition next = ring.advance(at);
             return {next.stage, next.parity};
           };
           Value from = k.i32(0), to = k.i32(steps), one = k.i32(1);
           return llvm::to_vector_of<Value>(
               gathered ? k.rolledLoop(from, to, one, carried, emitStep)
                        : k.loop(from, to, one, carried, emitStep));
         });
  // What a thread copies must arrive while there is the thread.
  if (gathered)
    NVVM::CpAsyncWaitGroupOp::create(k, 0);
}

LogicalResult WarpgroupKernel::emit() {
  k.when(k.compare(arith::CmpIPredicate::eq, thread, k.i32(0)), [&] {
    ring.emitInit(kConsumers * kWarpsOfGroup,
                  1 + (gathered ? GatheredRows::kThreads : 0));
    for (Value map : maps)
      prefetchTensorMap(k, map);
  });
  gpu::BarrierOp::create(k);
  RegisterSplit registers = gathered ? kWithGathers : kWithCopies;
  LogicalResult result = success();
  k.when(
      k.compare(arith::CmpIPredicate::eq, group, k.i32(0)),
      [&] {
        NVVM::SetMaxRegisterOp::create(k, registers.producer,
                                       NVVM::SetMaxRegisterAction::decrease);
        Value elected = NVVM::ElectSyncOp::create(k, k.getI1Type(), Value());
        Value isFirst = k.compare(arith::CmpIPredicate::eq, warp, k.i32(0));
        Value copies = k.both(isFirst, elected);
        if (gathered)
          emitProducer(copies);
        else
          k.when(copies, [&] { emitProducer(copies); });
        // Consumers meet before and after they read each other's parts.
        for (int64_t meeting = 0; tile.parts > 1 && meeting < 2; ++meeting)
          meetInCluster(k);
      },
      [&] {
        NVVM::SetMaxRegisterOp::create(k, registers.consumer,
                                       NVVM::SetMaxRegisterAction::increase);
        result = emitConsumer();
        if (tile.parts > 1)
          meetInCluster(k);
      });
  return result;
}

LogicalResult mlir::omnimoe::convertWarpgroupTile(RewriterBase &rewriter,
                                                  const WarpgroupTile &tile,
                                                  StringRef name,
                                                  TargetAttr target,
                                                  FlatSymbolRefAttr module) {
  scf::ForallOp forall = tile.forall;
  rewriter.setInsertionPoint(forall);
  KernelBuilder k(forall.getLoc(), rewriter);
  int64_t columns = kWarpgroupTileColumns / tile.products.size();
  Value tiles = getNumTiles(k, tile);
  // As many blocks as are done in the fewest turns. More would not end sooner,
  // and multiprocessors share their ways to the second-level cache.
  Value turns =
      arith::CeilDivUIOp::create(k, tiles, k.index(target.getUnits()));
  Value blocks = arith::CeilDivUIOp::create(k, tiles, k.max(turns, k.index(1)));
  // A cluster has one tile: its memory is not free for another before the end.
  if (tile.parts > 1)
    blocks = tiles;
  LogicalResult result = success();
  k.when(k.compare(arith::CmpIPredicate::ugt, tiles, k.index(0)), [&] {
    SmallVector<Value> maps;
    if (!tile.gather)
      maps.push_back(createTensorMap(k, tile.left, kWarpgroupTileRows));
    for (Value right : tile.rights)
      maps.push_back(createPermutedTensorMap(k, right, columns));
    Value one = k.index(1);
    auto launch = gpu::LaunchOp::create(
        k, blocks, one, k.index(tile.parts), k.index(WarpgroupKernel::kThreads),
        one, one, k.i32(WarpgroupKernel::kSharedBytes));
    launch.setModuleAttr(module);
    launch.setFunctionAttr(FlatSymbolRefAttr::get(k.getContext(), name));
    OpBuilder::InsertionGuard guard(k);
    k.setInsertionPointToStart(&launch.getBody().front());
    for (Value &map : maps)
      map = getTensorMapPointer(k, map);
    result = WarpgroupKernel(k, tile, launch, maps).emit();
    k.setInsertionPointToEnd(&launch.getBody().front());
    gpu::TerminatorOp::create(k);
  });
  rewriter.eraseOp(forall);
  return result;
}
