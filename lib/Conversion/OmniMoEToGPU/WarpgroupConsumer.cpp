//===- WarpgroupConsumer.cpp - The consumers of a dense product -----------===//

#include "WarpgroupKernel.h"

#include "ClusterParts.h"
#include "DevicePointer.h"
#include "TileEpilogue.h"
#include "WarpgroupMatrix.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// The barrier of the consumers alone; the first is the block's.
static constexpr int64_t kConsumerBarrier = 1;

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
