//===- WarpgroupProduct.cpp - Dense products at the hardware's full rate --===//
//
// 1. All: make the barriers. Then each warpgroup goes its own way.
// 2. Producer, one thread: for each tile and step along the summed loop wait
//    until the stage is free and let the hardware copy both operands' tiles.
//    Where rows are gathered, all threads wait, and copy the left one's.
// 3. Consumers: for each tile and step wait for the stage, start its products,
//    and release the stage before it, whose products are done by then.
// 4. After the last step make the results of the sums. 16-bit results are
//    carried over and stored in pieces behind the first steps of the next tile;
//    others are stored at once.
//
//===----------------------------------------------------------------------===//

#include "WarpgroupProduct.h"

#include "BarrierRing.h"
#include "CarriedTile.h"
#include "ClusterParts.h"
#include "DevicePointer.h"
#include "GatheredRows.h"
#include "KnownDivisor.h"
#include "TensorMaps.h"
#include "TileEpilogue.h"
#include "WarpgroupMatrix.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace mlir::omnimoe;

static constexpr int64_t kConsumers = 2;
static constexpr int64_t kThreads = 128 * (kConsumers + 1);
static constexpr int64_t kWarpsOfGroup = 4;
static constexpr int64_t kStages = 4;
/// Elements of the summed loop in a stage: a swizzled row of 128 bytes.
static constexpr int64_t kDepth = kWarpgroupTileDepth;
/// Bytes that the stages are aligned to, as swizzling asks for.
static constexpr int64_t kStageAlignment = 1024;
/// Tiles along the rows that are computed near each other in time, so that
/// they share the right operand in the second-level cache.
static constexpr int64_t kRasterRows = 8;
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
/// The barrier of the consumers alone; the first is the block's.
static constexpr int64_t kConsumerBarrier = 1;
/// Neighbouring columns that a thread holds of a row.
static constexpr int64_t kFragmentWidth = 8;

namespace {
class WarpgroupKernel {
public:
  WarpgroupKernel(KernelBuilder &k, const WarpgroupTile &tile,
                  gpu::LaunchOp launch, ArrayRef<Value> maps);

  LogicalResult emit();

private:
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
} // namespace

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
  // The same for all lanes, and known to be.
  Value ownWarp = arith::ShRUIOp::create(k, thread, k.i32(5));
  warp = NVVM::ShflOp::create(k, k.getI32Type(), k.i32(-1), ownWarp, k.i32(0),
                              k.i32(31), NVVM::ShflKind::idx, UnitAttr());
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

/// Tiles follow one another along the rows, `kRasterRows` of them, then along
/// the columns.
WarpgroupKernel::TilePosition WarpgroupKernel::getPosition(Value tileIndex) {
  Value band = k.mul(columnTiles, kRasterRows);
  Value firstRow =
      k.mul(arith::DivUIOp::create(k, tileIndex, band), kRasterRows);
  Value inBand = arith::RemUIOp::create(k, tileIndex, band);
  Value height =
      arith::MinUIOp::create(k, k.sub(rowTiles, firstRow), k.i32(kRasterRows));
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

/// The first row and column of the tile that a consumer's thread has.
WarpgroupKernel::TilePosition WarpgroupKernel::getThreadPosition() {
  Value row = k.add(k.mul(k.sub(warp, kWarpsOfGroup), 16),
                    arith::ShRUIOp::create(k, lane, k.i32(2)));
  return {row, k.mul(arith::AndIOp::create(k, lane, k.i32(3)), kFragmentWidth)};
}

void WarpgroupKernel::storeRound(const CarriedTile &carried, int64_t round) {
  auto [row, column] = getThreadPosition();
  storeCarried(k, carried, tile.result, row, column, columns, round, rounds);
}

/// A thread has, for each 32 of the columns that the block holds in the end, 8
/// neighbours of two rows.
SmallVector<Fragment> WarpgroupKernel::getFragments() {
  int64_t held = columns / tile.parts;
  auto [row, column] = getThreadPosition();
  if (tile.parts > 1)
    column = k.add(column, k.mul(part, held));
  SmallVector<Fragment> fragments;
  for (int64_t at = 0; at < held; at += kPermutedRows)
    for (int64_t half : {0, 8})
      fragments.push_back(
          {k.toIndex(k.add(row, half)), k.toIndex(k.add(column, at))});
  return fragments;
}

/// Each block of a cluster adds up all parts of the sums of some columns. The
/// stages' memory is free by then.
TileSums WarpgroupKernel::shareParts(const TileSums &own) {
  Value consumer = k.sub(thread, kThreads - kConsumers * 128);
  NVVM::BarrierOp::create(k, Type(), k.i32(kConsumerBarrier),
                          k.i32(kConsumers * 128), NVVM::BarrierReductionAttr(),
                          Value());
  storePart(k, own, stages, consumer, kConsumers * 128);
  meetInCluster(k);
  int64_t share = own.size() / tile.parts;
  return addParts(k, stages, consumer, kConsumers * 128, tile.parts,
                  k.mul(part, share), share);
}

/// The second consumer waits until the first has multiplied its tile.
void WarpgroupKernel::awaitTurn() {
  k.when(k.compare(arith::CmpIPredicate::eq, group, k.i32(2)), [&] {
    NVVM::BarrierOp::create(k, Type(), k.i32(kConsumerBarrier),
                            k.i32(kConsumers * 128),
                            NVVM::BarrierReductionAttr(), Value());
  });
}

void WarpgroupKernel::giveTurn() {
  k.when(k.compare(arith::CmpIPredicate::eq, group, k.i32(1)), [&] {
    NVVM::BarrierArriveOp::create(k, k.i32(kConsumerBarrier),
                                  k.i32(kConsumers * 128));
  });
}

/// Copies what the tile at `position` says of its matrices, without the
/// operations on them.
IRMapping WarpgroupKernel::cloneViews(TilePosition position) {
  IRMapping mapping;
  Value ivs[] = {position.row, position.column};
  for (auto [loop, iv] :
       {std::pair{tile.rowLoop, ivs[0]}, std::pair{tile.columnLoop, ivs[1]}})
    if (loop >= 0)
      mapping.map(tile.forall.getInductionVar(loop), k.toIndex(iv));
  for (Operation &op : tile.forall.getBody()->without_terminator())
    if (!isa<linalg::LinalgOp, memref::CopyOp, memref::DeallocOp>(op))
      k.clone(op, mapping);
  return mapping;
}

/// Loads what the results are made of besides the sums.
TileOperands WarpgroupKernel::loadOperands(const IRMapping &views) {
  TileOperands operands;
  for (Value memref : early)
    operands.load(k, views.lookupOrDefault(memref), getFragments(), /*first=*/0,
                  kFragmentWidth);
  operands.hold(k);
  return operands;
}

/// Makes the results of the sums, by the operations of the tile.
LogicalResult WarpgroupKernel::emitResult(Block *body, TilePosition position,
                                          IRMapping &views,
                                          TileOperands operands,
                                          Value accumulators,
                                          CarriedTile &finished) {
  // Accumulators lie as products of 8 columns give them: two columns of a row,
  // then the same of the row 8 below. Four such products make a fragment.
  SmallVector<Value> values = readAccumulators(k, accumulators);
  SmallVector<TileSums> sums(numProducts);
  for (int64_t product = 0; product < numProducts; ++product)
    for (int64_t at = 0; at < columns; at += kPermutedRows)
      for (int64_t half : {0, 1})
        for (int64_t i = 0; i < kPermutedRows / 8; ++i)
          for (int64_t e : {0, 1})
            sums[product].push_back(
                values[(product * columns + at) / 2 + 4 * i + 2 * half + e]);

  if (tile.parts > 1)
    sums.front() = shareParts(sums.front());
  Value isOdd = k.compare(arith::CmpIPredicate::ne,
                          arith::AndIOp::create(k, lane, k.i32(1)), k.i32(0));
  ReadySums multiplier(k, kFragmentWidth, getFragments(), std::move(sums),
                       isOdd);
  for (Operation &op : tile.forall.getBody()->without_terminator())
    if (isa<linalg::LinalgOp, memref::CopyOp, memref::DeallocOp>(op))
      k.clone(op, views);
  TileEpilogue epilogue(k, *body, multiplier, std::move(operands));
  if (!keeps) {
    LogicalResult result = epilogue.emit();
    k.setInsertionPointToEnd(body);
    return result;
  }
  FailureOr<SmallVector<Value>> kept = epilogue.emitAndKeep();
  k.setInsertionPointToEnd(body);
  if (failed(kept))
    return failure();
  finished = {k.integer(k.getI1Type(), 1), position.row, position.column, {}};
  auto packed = VectorType::get({kFragmentWidth / 2}, k.getI32Type());
  for (Value fragment : *kept) {
    Value words = vector::BitCastOp::create(k, packed, fragment);
    for (int64_t i = 0; i < kFragmentWidth / 2; ++i)
      finished.registers.push_back(vector::ExtractOp::create(k, words, i));
  }
  return success();
}

LogicalResult WarpgroupKernel::emitConsumer() {
  Value left = movePointer(k, stages, k.getI8Type(),
                           k.mul(k.sub(group, 1), 64 * kSwizzleBytes));
  Value right = movePointer(k, stages, k.getI8Type(), k.i32(leftBytes));
  WarpgroupMatrices matrices(k, elementType, left, right,
                             leftBytes + rightBytes);
  auto multiply = [&](Value stage, Value accumulators) {
    if (gathered)
      showCopiesToProducts(k);
    return matrices.multiply(stage, accumulators);
  };
  Value isFirstLane = k.compare(arith::CmpIPredicate::eq, lane, k.i32(0));
  RingPosition start = ring.getConsumerStart();
  CarriedTile none;
  SmallVector<Value> initial{start.stage, start.parity};
  if (keeps) {
    none = {k.integer(k.getI1Type(), 0), k.i32(0), k.i32(0),
            SmallVector<Value>(columns / 4,
                               LLVM::UndefOp::create(k, k.getI32Type()))};
    llvm::append_range(initial, none.getValues());
  }

  // While one consumer makes results of its sums, the other should multiply:
  // the second has its last step after the first.
  bool takesTurns = numProducts > 1 && steps > std::max(kStages, rounds);
  LogicalResult result = success();
  auto emitTile = [&](Value tileIndex,
                      ValueRange carried) -> SmallVector<Value> {
    Block *body = k.getInsertionBlock();
    RingPosition at{carried[0], carried[1]};
    CarriedTile before;
    if (keeps)
      before = CarriedTile::fromValues(carried.drop_front(2));
    IRMapping views;
    TileOperands operands;
    if (!early.empty()) {
      views = cloneViews(getPosition(tileIndex));
      operands = loadOperands(views);
    }
    // The first steps, behind which the tile before is stored.
    Value accumulators, previous;
    for (int64_t step = 0; step < rounds; ++step) {
      ring.waitFull(at);
      accumulators = multiply(at.stage, accumulators);
      if (step > 0) {
        matrices.wait(1);
        ring.release(previous, isFirstLane);
      }
      if (keeps)
        k.when(before.any, [&] { storeRound(before, step); });
      previous = at.stage;
      at = ring.advance(at);
    }
    ValueRange values = k.loop(
        k.i32(rounds), k.i32(steps), k.i32(1),
        {previous, at.stage, at.parity, accumulators},
        [&](Value step, ValueRange carried) -> SmallVector<Value> {
          RingPosition at{carried[1], carried[2]};
          if (takesTurns)
            k.when(k.compare(arith::CmpIPredicate::eq, step, k.i32(steps - 1)),
                   [&] { awaitTurn(); });
          ring.waitFull(at);
          Value next = multiply(at.stage, carried[3]);
          matrices.wait(1);
          ring.release(carried[0], isFirstLane);
          RingPosition after = ring.advance(at);
          return {at.stage, after.stage, after.parity, next};
        });
    TilePosition position = getPosition(tileIndex);
    matrices.wait(0);
    if (takesTurns)
      giveTurn();
    ring.release(values[0], isFirstLane);
    if (early.empty())
      views = cloneViews(position);
    CarriedTile finished;
    if (failed(emitResult(body, position, views, std::move(operands), values[3],
                          finished)))
      result = failure();
    SmallVector<Value> next{values[1], values[2]};
    if (keeps)
      llvm::append_range(next, succeeded(result) ? finished.getValues()
                                                 : none.getValues());
    return next;
  };
  SmallVector<Value> last = llvm::to_vector_of<Value>(
      k.loop(firstTile, tiles, tileStep, initial, emitTile));
  if (keeps) {
    CarriedTile carried =
        CarriedTile::fromValues(ValueRange(last).drop_front(2));
    k.when(carried.any, [&] {
      for (int64_t round = 0; round < rounds; ++round)
        storeRound(carried, round);
    });
  }
  return result;
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
    int64_t bytes =
        kStageAlignment +
        kStages * kSwizzleBytes * (kWarpgroupTileRows + kWarpgroupTileColumns);
    Value one = k.index(1);
    auto launch =
        gpu::LaunchOp::create(k, blocks, one, k.index(tile.parts),
                              k.index(kThreads), one, one, k.i32(bytes));
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
