//===- ExpertBlockKernel.cpp - Products, coefficients and sums in one -----===//
//
// A persistent kernel of one producer and two consumer warpgroups. For each
// tile of 128 slots of a group, 64 for each consumer:
//
// 1. Producer: gathers pieces of the slots' tokens (cp.async) and copies the
//    same columns of the group's up vectors, stage by stage; then copies the
//    group's down vectors, 64 columns a stage.
// 2. Consumers multiply tokens by up vectors; all products of a slot with the
//    group's experts stay in registers.
// 3. Of these, the coefficients of the pairs are computed (`SampledRows`).
// 4. Consumers multiply coefficients, from registers, by down vectors, 64
//    columns at a time, and add the results to the tokens' rows in memory while
//    the next 64 columns are multiplied.
//
//===----------------------------------------------------------------------===//

#include "ExpertBlock.h"

#include "BarrierRing.h"
#include "BlockEmitter.h"
#include "DevicePointer.h"
#include "ExactSums.h"
#include "RowSums.h"
#include "SampledRows.h"
#include "TensorMaps.h"
#include "TileQueue.h"
#include "WarpgroupMatrix.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kConsumers = 2;
static constexpr int64_t kThreads = 128 * (kConsumers + 1);
static constexpr int64_t kWarpsOfGroup = 4;
static constexpr int64_t kMaxStages = 6;
static constexpr int64_t kStageAlignment = 1024;
/// Elements of a swizzled row: of tokens and up vectors along the sums, of down
/// vectors along the columns.
static constexpr int64_t kDepth = 64;
static constexpr int64_t kTokenBytes = kSlotTileRows * kSwizzleBytes;
static constexpr int64_t kProducerRegisters = 24, kConsumerRegisters = 240;
/// Rows that a thread of the producer gathers a piece of.
static constexpr int64_t kGatheredRows = 8;
static constexpr int64_t kRowStep = kSlotTileRows / kGatheredRows;
/// Products by down vectors in the body of a loop.
static constexpr int64_t kProductsPerTurn = 8;
static_assert(kDepth == kFragmentProductColumns);

namespace {
/// How the columns of a group are cut: a copy takes 256 rows at most, and a
/// product so many columns.
struct GroupShape {
  explicit GroupShape(ExpertBlock block)
      : parts(block.getParts()), columns(block.getColumns()) {}
  int64_t getPartColumns() const { return columns / parts; }
  int64_t getStageBytes() const {
    return llvm::alignTo(kTokenBytes + columns * kSwizzleBytes,
                         kStageAlignment);
  }
  int64_t parts, columns;
};

class ExpertBlockKernel {
public:
  ExpertBlockKernel(KernelBuilder &k, ExpertBlock block,
                    const SlotTiles &slotTiles, gpu::LaunchOp launch,
                    Value upMap, Value downMap, int64_t stages);
  /// `attempt` is the number of the launch that `limits` are for, if they are.
  void emit(const SumLimits *limits, Value attempt);

private:
  /// A tile of the list, i32.
  struct Tile {
    Value group, first, last;
  };
  Value getKnown(Value index);
  Tile loadTile(Value index);
  Value isTile(Value index);
  Value loadToken(Value slot);
  Value getStage(Value stage);

  void emitProducer();
  RingPosition gatherTokens(const Tile &tile, RingPosition at);
  RingPosition copyDownVectors(const Tile &tile, RingPosition at);
  void copyRows(Value map, Value stage, Value row, Value column);
  RingPosition
  produce(Value map, const Tile &tile, RingPosition at,
          llvm::function_ref<void(Value step, Value stage)> fillRest);

  void emitConsumer();
  SmallVector<Value> getScratch(Value stage, Value consumer);
  SmallVector<Value> multiplyByUp(RingPosition &at,
                                  llvm::function_ref<void()> meanwhile);
  RingPosition multiplyByDown(ArrayRef<Value> coefficients, RowSums tokenSums,
                              ExactRows *exact, RingPosition at);
  RingPosition addToTokens(ArrayRef<Value> coefficients, const Tile &tile,
                           TwoRows tokens, RingPosition at);
  TwoRows getSlots(const Tile &tile);
  TwoRows loadTokens(const Tile &tile);

  KernelBuilder &k;
  ExpertBlock block;
  SlotTiles slotTiles;
  const SumLimits *limits = nullptr;
  GroupShape shape;
  Value upMap, downMap;
  int64_t stages, steps;
  Type elementType;
  BarrierRing ring;
  TileQueue queue;
  Value thread, warp, group, lane, isFirstLane;
  Value firstTile, tileCount, stageBase;
};
} // namespace

ExpertBlockKernel::ExpertBlockKernel(KernelBuilder &k, ExpertBlock block,
                                     const SlotTiles &slotTiles,
                                     gpu::LaunchOp launch, Value upMap,
                                     Value downMap, int64_t stages)
    : k(k), block(block), slotTiles(slotTiles), shape(block), upMap(upMap),
      downMap(downMap), stages(stages),
      steps(block.products.getHiddenSize() / kDepth),
      elementType(getElementTypeOrSelf(block.products.getX().getType())),
      ring(k, launch, stages), queue(k, launch, slotTiles.taken) {
  thread = k.toI32(launch.getThreadIds().x);
  firstTile = k.toI32(launch.getBlockIds().x);
  lane = k.both(thread, k.i32(kWarp - 1));
  isFirstLane = k.compare(CmpIPredicate::eq, lane, k.i32(0));
  // The same for all lanes, and known to be.
  Value ownWarp = arith::ShRUIOp::create(k, thread, k.i32(5));
  warp = NVVM::ShflOp::create(k, k.getI32Type(), k.i32(-1), ownWarp, k.i32(0),
                              k.i32(31), NVVM::ShflKind::idx, UnitAttr());
  group = arith::ShRUIOp::create(k, warp, k.i32(2));
  stageBase = getAlignedSharedMemory(k, kStageAlignment);
}

Value ExpertBlockKernel::isTile(Value index) {
  return k.compare(CmpIPredicate::slt, index, tileCount);
}

/// The tile, or the last one if there are no more.
Value ExpertBlockKernel::getKnown(Value index) {
  return k.min(index, k.sub(tileCount, 1));
}

ExpertBlockKernel::Tile ExpertBlockKernel::loadTile(Value index) {
  Value known = k.toIndex(getKnown(index));
  auto field = [&](int64_t i) {
    return k.load(slotTiles.tiles, {known, k.index(i)});
  };
  return {field(0), field(1), field(2)};
}

Value ExpertBlockKernel::loadToken(Value slot) {
  return k.load(block.getTokens(), k.toIndex(slot));
}

Value ExpertBlockKernel::getStage(Value stage) {
  return movePointer(k, stageBase, k.getI8Type(),
                     k.mul(stage, shape.getStageBytes()));
}

//===----------------------------------------------------------------------===//
// Producer
//===----------------------------------------------------------------------===//

/// Lets the hardware copy the group's rows of `map` behind the tokens of a
/// stage. Rows past the group belong to another and meet no pair.
void ExpertBlockKernel::copyRows(Value map, Value stage, Value row,
                                 Value column) {
  Value barrier = ring.expect(stage, shape.columns * kSwizzleBytes);
  Value target =
      movePointer(k, getStage(stage), k.getI8Type(), k.i32(kTokenBytes));
  for (int64_t part = 0; part < shape.parts; ++part) {
    int64_t first = part * shape.getPartColumns();
    copyTile(
        k, movePointer(k, target, k.getI8Type(), k.i32(first * kSwizzleBytes)),
        map, barrier, k.add(row, first), column);
  }
}

/// Fills a stage for each step along the hidden size: with the group's rows of
/// `map`, and with what `fillRest` does, which says that the threads are done.
RingPosition ExpertBlockKernel::produce(
    Value map, const Tile &tile, RingPosition at,
    llvm::function_ref<void(Value step, Value stage)> fillRest) {
  Value copies =
      k.both(isFirstLane, k.compare(CmpIPredicate::eq, warp, k.i32(0)));
  Value firstRow = k.mul(tile.group, block.getGroupSize());
  ValueRange end =
      k.rolledLoop(k.i32(0), k.i32(steps), k.i32(1), {at.stage, at.parity},
                   [&](Value step, ValueRange carried) -> SmallVector<Value> {
                     RingPosition now{carried[0], carried[1]};
                     ring.waitEmpty(now);
                     k.when(copies, [&] {
                       copyRows(map, now.stage, firstRow, k.mul(step, kDepth));
                     });
                     fillRest(step, now.stage);
                     RingPosition next = ring.advance(now);
                     return {next.stage, next.parity};
                   });
  return {end[0], end[1]};
}

/// A thread gathers 16 bytes, at the same place, of every 16th row.
RingPosition ExpertBlockKernel::gatherTokens(const Tile &tile,
                                             RingPosition at) {
  Value piece = k.both(thread, k.i32(7));
  Value row = arith::ShRUIOp::create(k, thread, k.i32(3));
  // Pieces of x are counted, so that 32 bits reach everywhere.
  int64_t pieces = block.products.getHiddenSize() * 2 / kAccessBytes;
  SmallVector<Value> sources;
  Value lastSlot = k.sub(tile.last, 1);
  for (int64_t i = 0; i < kGatheredRows; ++i) {
    Value slot = k.min(k.add(k.add(tile.first, row), i * kRowStep), lastSlot);
    sources.push_back(k.add(k.mul(loadToken(slot), pieces), piece));
  }
  // The swizzle of 128 bytes: rows permute the pieces by their number mod 8.
  Value swizzled = arith::XOrIOp::create(k, piece, k.both(row, k.i32(7)));
  Value place = k.add(k.mul(row, kSwizzleBytes), k.mul(swizzled, kAccessBytes));
  Value x = getPointer(k, block.products.getX(), kGlobalSpace);
  return produce(upMap, tile, at, [&](Value step, Value stage) {
    Value target = movePointer(k, getStage(stage), k.getI8Type(), place);
    Value source = movePointer(k, x, k.getI8Type(), k.mul(step, kSwizzleBytes));
    for (int64_t i = 0; i < kGatheredRows; ++i) {
      Value offset = k.mul(
          arith::ExtUIOp::create(k, k.getI64Type(), sources[i]).getResult(),
          kAccessBytes);
      NVVM::CpAsyncOp::create(k,
                              movePointer(k, target, k.getI8Type(),
                                          k.i32(i * kRowStep * kSwizzleBytes)),
                              movePointer(k, source, k.getI8Type(), offset),
                              kAccessBytes, NVVM::LoadCacheModifierKind::CG,
                              Value());
    }
    ring.fillWhenCopied(stage);
  });
}

RingPosition ExpertBlockKernel::copyDownVectors(const Tile &tile,
                                                RingPosition at) {
  return produce(downMap, tile, at, [&](Value, Value stage) {
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
        Tile tile = loadTile(carried[0]);
        RingPosition at = gatherTokens(tile, {carried[1], carried[2]});
        at = copyDownVectors(tile, at);
        Value index = queue.take(told, isFirstLane);
        told = queue.advance(told);
        return {index, at.stage, at.parity, told.stage, told.parity};
      });
}

//===----------------------------------------------------------------------===//
// Consumers
//===----------------------------------------------------------------------===//

/// The products of this warpgroup's slots with the group's up vectors, as
/// accumulators hold them. `meanwhile` is done when the first are under way.
SmallVector<Value>
ExpertBlockKernel::multiplyByUp(RingPosition &at,
                                llvm::function_ref<void()> meanwhile) {
  Value left = movePointer(k, stageBase, k.getI8Type(),
                           k.mul(k.sub(group, 1), 64 * kSwizzleBytes));
  SmallVector<WarpgroupMatrices> parts;
  for (int64_t part = 0; part < shape.parts; ++part) {
    Value right = movePointer(
        k, stageBase, k.getI8Type(),
        k.i32(kTokenBytes + part * shape.getPartColumns() * kSwizzleBytes));
    parts.emplace_back(k, elementType, left, right, shape.getStageBytes(),
                       shape.getPartColumns());
  }
  auto multiply = [&](Value stage, ValueRange sums) {
    // Tokens were written as threads write; products read as engines do.
    NVVM::FenceProxyOp::create(
        k, NVVM::ProxyKind::async_shared,
        NVVM::SharedSpaceAttr::get(k.getContext(),
                                   NVVM::SharedSpace::shared_cta));
    beginProducts(k);
    SmallVector<Value> next;
    for (auto [i, part] : llvm::enumerate(parts))
      next.push_back(part.add(stage, sums.empty() ? Value() : sums[i]));
    commitProducts(k);
    return next;
  };
  ring.waitFull(at);
  SmallVector<Value> initial{at.stage};
  SmallVector<Value> sums = multiply(at.stage, {});
  meanwhile();
  RingPosition second = ring.advance(at);
  initial.append({second.stage, second.parity});
  llvm::append_range(initial, sums);
  ValueRange end = k.rolledLoop(
      k.i32(1), k.i32(steps), k.i32(1), initial,
      [&](Value, ValueRange carried) -> SmallVector<Value> {
        RingPosition now{carried[1], carried[2]};
        ring.waitFull(now);
        SmallVector<Value> sums = multiply(now.stage, carried.drop_front(3));
        waitForProducts(k, 1);
        ring.release(carried[0], isFirstLane);
        RingPosition next = ring.advance(now);
        SmallVector<Value> values{now.stage, next.stage, next.parity};
        llvm::append_range(values, sums);
        return values;
      });
  waitForProducts(k, 0);
  ring.release(end[0], isFirstLane);
  at = {end[1], end[2]};
  SmallVector<Value> products;
  for (Value accumulators : end.drop_front(3))
    llvm::append_range(products, readAccumulators(k, accumulators));
  return products;
}

/// The slots of the two rows that a thread has sums of.
TwoRows ExpertBlockKernel::getSlots(const Tile &tile) {
  TwoRows rows = getOwnRows(k, k.sub(warp, kWarpsOfGroup), lane);
  return {k.add(tile.first, rows[0]), k.add(tile.first, rows[1])};
}

TwoRows ExpertBlockKernel::loadTokens(const Tile &tile) {
  TwoRows slots = getSlots(tile);
  Value last = k.sub(tile.last, 1);
  return {loadToken(k.min(slots[0], last)), loadToken(k.min(slots[1], last))};
}

/// Two products are under way at a time: one is multiplied while the sums of
/// the other are added to memory. The assembler does not see through sums that
/// are under way from one turn of a loop to the next, so a turn has several
/// products, and ends with none under way.
RingPosition ExpertBlockKernel::multiplyByDown(ArrayRef<Value> coefficients,
                                               RowSums tokenSums,
                                               ExactRows *exact,
                                               RingPosition at) {
  FragmentProduct product(
      k, elementType,
      movePointer(k, stageBase, k.getI8Type(), k.i32(kTokenBytes)),
      shape.getStageBytes(), shape.columns);
  int64_t products = std::min(steps, kProductsPerTurn);
  while (steps % products)
    --products;
  auto round = [&](Value sum, int64_t half) { return exact->round(sum, half); };
  auto getCarried = [&](RingPosition position) {
    SmallVector<Value> values{position.stage, position.parity};
    if (exact)
      llvm::append_range(values, exact->largest);
    return values;
  };
  auto setLargest = [&](ValueRange carried) {
    if (exact)
      exact->largest = {carried[2], carried[3]};
  };
  ValueRange end =
      k.loop(k.i32(0), k.i32(steps), k.i32(products), getCarried(at),
             [&](Value firstStep, ValueRange carried) -> SmallVector<Value> {
               RingPosition now{carried[0], carried[1]};
               setLargest(carried);
               Value stageBefore, sumsBefore;
               for (int64_t i = 0; i <= products; ++i) {
                 Value stage = now.stage, sums;
                 if (i < products) {
                   ring.waitFull(now);
                   sums = product.multiply(coefficients, stage);
                   now = ring.advance(now);
                 }
                 if (sumsBefore) {
                   waitForProducts(k, i < products);
                   ring.release(stageBefore, isFirstLane);
                   Value column = k.mul(k.add(firstStep, i - 1), kDepth);
                   if (exact) {
                     tokenSums.add(sumsBefore, column, round);
                     exact->settle();
                   } else {
                     tokenSums.add(sumsBefore, column);
                   }
                 }
                 stageBefore = stage;
                 sumsBefore = sums;
               }
               return getCarried(now);
             });
  setLargest(end);
  return {end[0], end[1]};
}

RingPosition ExpertBlockKernel::addToTokens(ArrayRef<Value> coefficients,
                                            const Tile &tile, TwoRows tokens,
                                            RingPosition at) {
  TwoRows exist = getSlots(tile);
  for (Value &slot : exist)
    slot = k.compare(CmpIPredicate::ult, slot, tile.last);
  std::optional<ExactRows> exact;
  if (limits)
    exact.emplace(k, *limits, tokens, exist);
  RowSums sums(k, block.sum.getOut(), block.sum.getHiddenSize(), tokens, exist,
               lane);
  at = multiplyByDown(coefficients, sums, exact ? &*exact : nullptr, at);
  if (exact)
    exact->record(lane);
  return at;
}

/// What a consumer takes from memory it asks for a tile ahead.
void ExpertBlockKernel::emitConsumer() {
  Value consumer = k.sub(group, 1);
  // The first of the consumers.
  Value asks =
      k.compare(CmpIPredicate::eq, thread, k.i32(kThreads / (kConsumers + 1)));
  SampledRows rows(k, block, slotTiles, consumer, warp, lane,
                   std::min(stages, steps));
  RingPosition start = ring.getConsumerStart(), first = queue.getStart();
  Tile firstOne = loadTile(firstTile);
  SmallVector<Value> initial{firstTile,    start.stage,  start.parity,
                             first.stage,  first.parity, firstOne.first,
                             firstOne.last};
  llvm::append_range(initial, rows.loadBounds(firstTile));
  k.loopWhile(
      initial, [&](ValueRange carried) { return isTile(carried[0]); },
      [&](ValueRange carried) -> SmallVector<Value> {
        RingPosition at{carried[1], carried[2]}, told{carried[3], carried[4]};
        Tile tile{Value(), carried[5], carried[6]};
        rows.begin(carried.drop_front(7));
        rows.loadPairs();
        TwoRows tokens = loadTokens(tile);
        Value ticket = queue.ask(asks);
        SmallVector<Value> products =
            multiplyByUp(at, [&] { rows.loadOperands(); });
        queue.tell(told, asks, ticket);
        Value index = queue.take(told, isFirstLane);
        Tile next = loadTile(index);
        SmallVector<Value> coefficients =
            rows.sample(products, getScratch(at.stage, consumer));
        SmallVector<Value> bounds = rows.loadBounds(getKnown(index));
        at = addToTokens(coefficients, tile, tokens, at);
        told = queue.advance(told);
        SmallVector<Value> values{index,      at.stage,    at.parity,
                                  told.stage, told.parity, next.first,
                                  next.last};
        llvm::append_range(values, bounds);
        return values;
      });
}

/// Pieces of this warpgroup's part of the tokens in the stages that down
/// vectors come to next: nobody reads tokens there any more, and nobody writes
/// new ones before the consumers have used the down vectors.
SmallVector<Value> ExpertBlockKernel::getScratch(Value stage, Value consumer) {
  SmallVector<Value> scratch;
  Value own = k.mul(consumer, 64 * kSwizzleBytes);
  for (int64_t i = 0; i < std::min(stages, steps); ++i) {
    scratch.push_back(movePointer(k, getStage(stage), k.getI8Type(), own));
    stage = ring.advance({stage, k.i32(0)}).stage;
  }
  return scratch;
}

void ExpertBlockKernel::emit(const SumLimits *newLimits, Value attempt) {
  limits = newLimits;
  k.when(k.compare(CmpIPredicate::eq, thread, k.i32(0)), [&] {
    // The threads of the producer, and the bytes that the hardware copies.
    ring.emitInit(kConsumers * kWarpsOfGroup, kWarpsOfGroup * kWarp + 1);
    queue.emitInit(kThreads / kWarp);
    prefetchTensorMap(k, upMap);
    prefetchTensorMap(k, downMap);
  });
  gpu::BarrierOp::create(k);
  tileCount = k.load(slotTiles.count, k.index(0));
  if (limits)
    tileCount = k.mul(tileCount, k.load(limits->isUsed, attempt));
  // A block without a tile looks at none.
  Value hasTile = isTile(firstTile);
  k.when(
      k.compare(CmpIPredicate::eq, group, k.i32(0)),
      [&] {
        NVVM::SetMaxRegisterOp::create(k, kProducerRegisters,
                                       NVVM::SetMaxRegisterAction::decrease);
        k.when(hasTile, [&] { emitProducer(); });
      },
      [&] {
        NVVM::SetMaxRegisterOp::create(k, kConsumerRegisters,
                                       NVVM::SetMaxRegisterAction::increase);
        k.when(hasTile, [&] { emitConsumer(); });
      });
}

/// [N, D] of the vectors of atomic experts.
void mlir::omnimoe::emitExpertBlock(KernelBuilder &k, ExpertBlock block,
                                    const SlotTiles &tiles, TargetAttr target,
                                    StringRef name) {
  GroupShape shape(block);
  // Barriers and alignment take a little.
  int64_t stages =
      std::min(kMaxStages, (target.getL1Bytes() - 2 * kStageAlignment) /
                               shape.getStageBytes());
  Value blocks = k.min(tiles.bound, k.index(target.getUnits()));
  k.when(k.compare(CmpIPredicate::ugt, blocks, k.index(0)), [&] {
    Value upMap =
        createTensorMap(k, block.products.getWeights(), shape.getPartColumns());
    Value downMap =
        createTensorMap(k, block.sum.getVectors(), shape.getPartColumns());
    int64_t bytes = kStageAlignment + stages * shape.getStageBytes();
    auto emitLaunch = [&](const SumLimits *limits, Value attempt) {
      Value one = k.index(1);
      auto launch = gpu::LaunchOp::create(
          k, blocks, one, one, k.index(kThreads), one, one, k.i32(bytes));
      launch.setModuleAttr(
          FlatSymbolRefAttr::get(k.getContext(), kKernelModule));
      launch.setFunctionAttr(FlatSymbolRefAttr::get(k.getContext(), name));
      OpBuilder::InsertionGuard guard(k);
      k.setInsertionPointToStart(&launch.getBody().front());
      ExpertBlockKernel(k, block, tiles, launch, getTensorMapPointer(k, upMap),
                        getTensorMapPointer(k, downMap), stages)
          .emit(limits, attempt);
      k.setInsertionPointToEnd(&launch.getBody().front());
      gpu::TerminatorOp::create(k);
    };
    if (!block.isExact())
      return emitLaunch(nullptr, Value());
    // Nothing waits for the device to say whether the second time is needed:
    // where it is not, there are no tiles then.
    SumLimits limits = emitSumLimits(k, block, (name + "_limits").str());
    k.loop(k.index(0), k.index(kSumAttempts), 1, [&](Value attempt) {
      k.when(k.compare(CmpIPredicate::ne, attempt, k.index(0)), [&] {
        emitNewLimits(k, block, limits, tiles, (name + "_new_limits").str());
      });
      emitLaunch(&limits, attempt);
    });
  });
}
