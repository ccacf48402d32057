//===- RouterKernel.cpp - The kernel of a router and its projections ------===//

#include "RouterTile.h"

#include "BarrierRing.h"
#include "BlockEmitter.h"
#include "ClusterParts.h"
#include "DevicePointer.h"
#include "Route.h"
#include "TensorMaps.h"
#include "TileEpilogue.h"
#include "WarpgroupMatrix.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Rows of a tile, as a warpgroup multiplies them, and of a block's half.
static constexpr int64_t kRows = 64, kOwnRows = kRows / kRouterParts;
static_assert(kRows == kSiblingTileRows);
static_assert(kOwnRows * kWarp == kRouterThreads);
/// Elements of the summed loop in a stage: a swizzled row.
static constexpr int64_t kDepth = kWarpgroupTileDepth;
/// Stages of the ring, at most; their alignment is for swizzling.
static constexpr int64_t kMostStages = 6, kStageAlignment = 1024;
/// A warpgroup for each product; the warp behind them copies.
static constexpr int64_t kProducts = kRouterProducts, kWarpsOfGroup = 4;
static constexpr int64_t kConsumerWarps = kProducts * kWarpsOfGroup;
/// The barrier of the consumers alone; the first is the block's.
static constexpr int64_t kConsumerBarrier = 1;
/// Floats behind a row of parts: the rows of eight lanes, four pairs of columns
/// each, lie in different banks.
static constexpr int64_t kPadding = 8;

static int64_t getBytesOfToken(const RoutePlan &plan) {
  return plan.sharedBytes() / plan.tokensPerBlock;
}

namespace {
class RouterKernel {
public:
  RouterKernel(KernelBuilder &k, gpu::LaunchOp launch, const RouterTile &tile,
               const RowTile &rows, ArrayRef<Value> maps);

  int64_t getSharedBytes() const {
    return kStageAlignment +
           std::max(stages * stageBytes,
                    partBytes + kOwnRows * (getBytesOfToken(tile.plan) +
                                            kProducts * columns *
                                                int64_t(sizeof(float))));
  }
  LogicalResult emit();

private:
  void emitProducer();
  void emitConsumer();
  FailureOr<LogitRows> emitLogits();
  Value reserve(int64_t size, Type type);
  void emitRoute(const LogitRows &logits);

  KernelBuilder &k;
  gpu::LaunchOp launch;
  const RouterTile &tile;
  ArrayRef<Value> maps; ///< of the tokens, then of the matrices

  int64_t columns;         ///< of either product, as they are multiplied
  int64_t allSteps, steps; ///< along the summed loop, and of the first part
  int64_t stages;
  int64_t leftBytes, rightBytes, stageBytes;
  int64_t pitch, partBytes; ///< of the sums that blocks exchange
  Type elementType;
  BarrierRing ring;
  Value thread, warp, lane, group, part, firstRow;
  Value ownSteps; ///< of the block's part, at least one
  Value ownRow;   ///< of the tile, which the warp has
  Value base;     ///< the stages, then the sums
  Value shared; ///< all memory of the block, of which `reserved` bytes are used
  int64_t reserved;
};
} // namespace

RouterKernel::RouterKernel(KernelBuilder &k, gpu::LaunchOp launch,
                           const RouterTile &tile, const RowTile &rows,
                           ArrayRef<Value> maps)
    : k(k), launch(launch), tile(tile), maps(maps),
      columns(llvm::alignTo(rows.tile.columns, kWarp)),
      allSteps(llvm::divideCeil(
          cast<MemRefType>(tile.tokens.getType()).getDimSize(1), kDepth)),
      steps(llvm::divideCeil(allSteps, kRouterParts)),
      stages(std::min(steps, kMostStages)), leftBytes(kRows * kSwizzleBytes),
      rightBytes(columns * kSwizzleBytes),
      stageBytes(leftBytes + kProducts * rightBytes),
      pitch(kProducts * columns + kPadding),
      partBytes(kRows * pitch * sizeof(float)),
      elementType(getElementTypeOrSelf(tile.tokens.getType())),
      ring(k, launch, stages) {
  thread = k.toI32(launch.getThreadIds().x);
  lane = arith::AndIOp::create(k, thread, k.i32(kWarp - 1));
  warp = getUniformWarp(k, thread);
  group = arith::ShRUIOp::create(k, warp, k.i32(2));
  part = k.toI32(launch.getBlockIds().z);
  firstRow = k.mul(k.toI32(launch.getBlockIds().x), kRows);
  ownRow = k.add(k.mul(part, kOwnRows), warp);
  base = getAlignedSharedMemory(k, kStageAlignment);
  shared = getDynamicSharedMemory(k);
  reserved = kStageAlignment + partBytes;
  ownSteps = k.i32(steps);
  if (allSteps % kRouterParts != 0)
    ownSteps = k.min(ownSteps, k.sub(k.i32(allSteps), k.mul(part, steps)));
}

/// What the operands do not have, beyond the last token or in a piece of a
/// step, is zero.
void RouterKernel::emitProducer() {
  RingPosition start = ring.getProducerStart();
  k.loop(k.i32(0), ownSteps, k.i32(1), {start.stage, start.parity},
         [&](Value step, ValueRange carried) -> SmallVector<Value> {
           RingPosition at{carried[0], carried[1]};
           ring.waitEmpty(at);
           Value barrier = ring.expect(at.stage, stageBytes);
           Value column = k.mul(k.add(k.mul(part, steps), step), kDepth);
           Value target =
               movePointer(k, base, k.getI8Type(), k.mul(at.stage, stageBytes));
           copyTile(k, target, maps[0], barrier, firstRow, column);
           for (int64_t product = 0; product < kProducts; ++product)
             copyTile(k,
                      movePointer(k, target, k.getI8Type(),
                                  k.i32(leftBytes + product * rightBytes)),
                      maps[1 + product], barrier, k.i32(0), column);
           RingPosition next = ring.advance(at);
           return {next.stage, next.parity};
         });
}

/// Multiplies, and leaves the block's part of the sums in shared memory, a row
/// for each token.
void RouterKernel::emitConsumer() {
  Value right = movePointer(k, base, k.getI8Type(),
                            k.add(k.mul(group, rightBytes), leftBytes));
  WarpgroupMatrices matrices(k, elementType, base, right, stageBytes, columns);
  Value isFirstLane = k.compare(arith::CmpIPredicate::eq, lane, k.i32(0));
  RingPosition first = ring.getConsumerStart();
  ring.waitFull(first);
  Value accumulators = matrices.multiply(first.stage, Value());
  RingPosition second = ring.advance(first);
  accumulators =
      k.loop(k.i32(1), ownSteps, k.i32(1),
             {first.stage, second.stage, second.parity, accumulators},
             [&](Value, ValueRange carried) -> SmallVector<Value> {
               RingPosition at{carried[1], carried[2]};
               ring.waitFull(at);
               Value next = matrices.multiply(at.stage, carried[3]);
               matrices.wait(1);
               ring.release(carried[0], isFirstLane);
               RingPosition after = ring.advance(at);
               return {at.stage, after.stage, after.parity, next};
             })[3];
  matrices.wait(0);
  SmallVector<Value> sums = readAccumulators(k, accumulators);
  // The parts lie where stages were.
  NVVM::BarrierOp::create(k, Type(), k.i32(kConsumerBarrier),
                          k.i32(kConsumerWarps * kWarp),
                          NVVM::BarrierReductionAttr(), Value());
  Value row = k.add(k.mul(k.both(warp, k.i32(kWarpsOfGroup - 1)), 16),
                    arith::ShRUIOp::create(k, lane, k.i32(2)));
  Value column = k.add(k.mul(group, columns), k.mul(k.both(lane, k.i32(3)), 2));
  Value place =
      movePointer(k, base, k.getF32Type(), k.add(k.mul(row, pitch), column));
  auto pair = VectorType::get({2}, k.getF32Type());
  for (int64_t at = 0; at < columns; at += 8)
    for (int64_t half : {0, 1}) {
      ArrayRef<Value> own = ArrayRef(sums).slice(at / 2 + 2 * half, 2);
      LLVM::StoreOp::create(
          k, vector::FromElementsOp::create(k, pair, own),
          movePointer(k, place, k.getF32Type(), k.i32(8 * half * pitch + at)),
          /*alignment=*/8);
    }
}

/// A row for each of the block's tokens, where stages were.
Value RouterKernel::reserve(int64_t size, Type type) {
  auto space =
      gpu::AddressSpaceAttr::get(k.getContext(), gpu::AddressSpace::Workgroup);
  Value view = memref::ViewOp::create(
      k,
      MemRefType::get({kOwnRows, size}, type, MemRefLayoutAttrInterface(),
                      space),
      shared, k.index(reserved), /*sizes=*/ValueRange{});
  reserved += kOwnRows * size * type.getIntOrFloatBitWidth() / 8;
  return view;
}

/// Lets operations have a buffer of the tile in place of `memref`.
static Value keepInRegisters(KernelBuilder &k, Value memref) {
  OpBuilder::InsertionGuard guard(k);
  k.setInsertionPointAfterValue(memref);
  auto type = cast<MemRefType>(memref.getType());
  SmallVector<Value> sizes;
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    if (type.isDynamicDim(dim))
      sizes.push_back(memref::DimOp::create(k, memref, dim));
  Value buffer = memref::AllocOp::create(
      k, MemRefType::get(type.getShape(), type.getElementType()), sizes);
  memref.replaceUsesWithIf(buffer, [](OpOperand &use) {
    return isa<linalg::LinalgOp, memref::CopyOp>(use.getOwner());
  });
  return buffer;
}

/// Makes the logits of the sums of both blocks, by the operations of the tile.
/// The warp will find those of its token in shared memory, or where the tile
/// stores them.
FailureOr<LogitRows> RouterKernel::emitLogits() {
  SmallVector<TileSums> sums;
  SmallVector<Fragment> fragments;
  Value row = k.toIndex(ownRow), column = k.toIndex(lane);
  for (int64_t at = 0; at < columns; at += kWarp)
    fragments.push_back({row, k.add(column, at)});
  for (int64_t product = 0; product < kProducts; ++product)
    sums.push_back(
        addParts(k,
                 movePointer(k, base, k.getF32Type(),
                             k.add(k.mul(ownRow, pitch), product * columns)),
                 lane, kWarp, kRouterParts, k.i32(0), columns / kWarp));
  Block &body = launch.getBody().front();
  SmallVector<Operation *> operations;
  for (Operation &op : body)
    if (isa<linalg::LinalgOp, memref::CopyOp>(op))
      operations.push_back(&op);
  for (Operation *op : operations)
    op->moveBefore(body.getTerminator());
  ReadySums ready(k, /*fragmentWidth=*/1, fragments, std::move(sums),
                  /*isOddOfPair=*/nullptr, /*lanesOfRow=*/kWarp);
  SmallVector<Value, 2> logits = tile.logits;
  for (Value &memref : logits)
    if (tile.onlyRouted)
      memref = keepInRegisters(k, memref);
  TileEpilogue epilogue(k, body, ready);
  if (failed(epilogue.emit()))
    return failure();
  k.setInsertionPoint(body.getTerminator());
  SmallVector<Value, 2> found;
  for (Value memref : logits)
    if (const TileSums *values = epilogue.getValues(memref)) {
      found.push_back(reserve(columns, k.getF32Type()));
      for (auto [value, fragment] : llvm::zip(*values, fragments))
        k.store(value, found.back(), {k.toIndex(warp), fragment.column});
    }
  if (found.size() == kProducts)
    return LogitRows{found[0], found[1], k.toIndex(warp)};
  if (tile.onlyRouted)
    return launch.emitOpError(
        "has logits that are not made of the tile's sums");
  return LogitRows{tile.operands[0], tile.operands[1],
                   k.toIndex(k.add(firstRow, ownRow))};
}

/// Lets the warp choose its token's experts. Its lanes see what they have
/// stored of the logits.
void RouterKernel::emitRoute(const LogitRows &logits) {
  IRMapping mapping;
  mapping.map(tile.route->getOperands(), tile.operands);
  auto route = cast<RouteOp>(k.clone(*tile.route, mapping));
  NVVM::SyncWarpOp::create(k, k.i32(-1));
  emitRouteOfWarp(k, route, tile.plan, launch.getThreadIds().x,
                  k.toIndex(k.add(firstRow, ownRow)), logits,
                  [&](int64_t size, Type type) { return reserve(size, type); });
  route.erase();
}

LogicalResult RouterKernel::emit() {
  k.when(k.compare(arith::CmpIPredicate::eq, thread, k.i32(0)), [&] {
    ring.emitInit(kConsumerWarps);
    for (Value map : maps)
      prefetchTensorMap(k, map);
  });
  gpu::BarrierOp::create(k);
  Value elected = NVVM::ElectSyncOp::create(k, k.getI1Type(), Value());
  Value copies = k.both(elected, k.compare(arith::CmpIPredicate::eq, warp,
                                           k.i32(kConsumerWarps)));
  k.when(
      k.compare(arith::CmpIPredicate::ult, group, k.i32(kProducts)),
      [&] { emitConsumer(); },
      [&] { k.when(copies, [&] { emitProducer(); }); });
  meetInCluster(k);
  FailureOr<LogitRows> logits = emitLogits();
  if (failed(logits))
    return failure();
  emitRoute(*logits);
  leaveCluster(k);
  return success();
}

LogicalResult mlir::omnimoe::emitRouterTile(KernelBuilder &k,
                                            gpu::LaunchOp launch,
                                            const RouterTile &tile,
                                            const RowTile &rows) {
  SmallVector<Value> maps;
  k.setInsertionPoint(launch);
  maps.push_back(createTensorMap(k, tile.tokens, kRows));
  for (Value matrix : tile.matrices)
    maps.push_back(
        createTensorMap(k, matrix, llvm::alignTo(rows.tile.columns, kWarp)));
  k.setInsertionPoint(launch.getBody().front().getTerminator());
  for (Value &map : maps)
    map = getTensorMapPointer(k, map);
  RouterKernel kernel(k, launch, tile, rows, maps);
  {
    OpBuilder::InsertionGuard guard(k);
    k.setInsertionPoint(launch);
    launch.getDynamicSharedMemorySizeMutable().assign(
        k.i32(kernel.getSharedBytes()));
  }
  if (failed(kernel.emit()))
    return failure();
  tile.routes->erase();
  return success();
}
