//===- ExpertBlockConsumer.cpp - What is made of the stages ---------------===//

#include "ExpertBlockKernel.h"

#include "BlockEmitter.h"
#include "DevicePointer.h"
#include "PairRows.h"
#include "SampledRows.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

/// Rows of a tile that a consumer has.
static constexpr int64_t kOwnRows = kSlotTileRows / kConsumers;
/// Products by down vectors in the body of a loop.
static constexpr int64_t kProductsPerTurn = 8;

/// The products of this warpgroup's rows with the tile's up vectors, as
/// accumulators hold them. `meanwhile` is done when the first are under way.
SmallVector<Value>
ExpertBlockKernel::multiplyByUp(RingPosition &at,
                                llvm::function_ref<void()> meanwhile) {
  Value left = movePointer(k, stageBase, k.getI8Type(),
                           k.mul(consumer, kOwnRows * kSwizzleBytes));
  SmallVector<WarpgroupMatrices> parts;
  for (int64_t part = 0; part < vectors.products; ++part) {
    Value right = movePointer(
        k, stageBase, k.getI8Type(),
        k.i32(kTokenBytes + part * vectors.columns * kSwizzleBytes));
    parts.emplace_back(k, elementType, left, right, vectors.getStageBytes(),
                       vectors.columns);
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
        release(carried[0]);
        RingPosition next = ring.advance(now);
        SmallVector<Value> values{now.stage, next.stage, next.parity};
        llvm::append_range(values, sums);
        return values;
      });
  waitForProducts(k, 0);
  release(end[0]);
  at = {end[1], end[2]};
  SmallVector<Value> products;
  for (Value accumulators : end.drop_front(3))
    llvm::append_range(products, readAccumulators(k, accumulators));
  return products;
}

/// The two of the tile's rows that a thread has sums of.
TwoRows ExpertBlockKernel::getRows(const RowTile &tile) {
  TwoRows rows = getOwnRows(k, k.sub(warp, kWarpsOfGroup), lane);
  Value first = tile.first;
  if (blockOfCluster)
    first =
        k.add(first, k.mul(consumer, k.sub(getSplit(tile), kWarpgroupRows)));
  return {k.add(first, rows[0]), k.add(first, rows[1])};
}

/// Past the last of the tile's rows that this consumer has.
Value ExpertBlockKernel::getRowsEnd(const RowTile &tile) {
  if (!blockOfCluster)
    return tile.last;
  return k.choose(k.compare(CmpIPredicate::eq, consumer, k.i32(0)),
                  k.add(tile.first, getSplit(tile)), tile.last);
}

TwoRows ExpertBlockKernel::loadTokens(const RowTile &tile) {
  TwoRows rows = getRows(tile);
  Value last = k.sub(tile.last, 1);
  return {loadToken(k.min(rows[0], last)), loadToken(k.min(rows[1], last))};
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
      vectors.getStageBytes(), vectors.depth);
  int64_t products = std::min(steps, kProductsPerTurn);
  while (steps % products)
    --products;
  auto round = [&](Value sum, int64_t half) { return exact->round(sum, half); };
  auto getCarried = [&](RingPosition position) {
    SmallVector<Value> values{position.stage, position.parity};
    if (exact)
      values.push_back(exact->largest);
    return values;
  };
  auto setLargest = [&](ValueRange carried) {
    if (exact)
      exact->largest = carried[2];
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
                   release(stageBefore);
                   Value column = k.mul(k.add(firstStep, i - 1), kBlockDepth);
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
                                            const RowTile &tile, TwoRows tokens,
                                            RingPosition at) {
  TwoRows exist = getRows(tile);
  for (Value &row : exist)
    row = k.compare(CmpIPredicate::ult, row, getRowsEnd(tile));
  std::optional<ExactRows> exact;
  if (limits)
    exact.emplace(k, *limits, tokens, exist, lane);
  RowSums sums(k, block.sum.getOut(), block.sum.getHiddenSize(), tokens, exist,
               lane);
  at = multiplyByDown(coefficients, sums, exact ? &*exact : nullptr, at);
  if (exact)
    exact->record();
  return at;
}

std::unique_ptr<RowCoefficients> ExpertBlockKernel::createCoefficients() {
  if (block.isWide()) {
    bool endInside =
        vectors.tiles * vectors.depth == block.products.getExpertWidth();
    return std::make_unique<PairRows>(k, block, k.sub(warp, kWarpsOfGroup),
                                      lane, endInside);
  }
  return std::make_unique<SampledRows>(k, block, slotTiles, consumer, warp,
                                       lane, std::min(stages, steps));
}

/// What a consumer takes from memory it asks for a tile ahead.
void ExpertBlockKernel::emitConsumer() {
  // The first of the consumers.
  Value asks = k.compare(CmpIPredicate::eq, thread,
                         k.i32(kExpertBlockThreads / (kConsumers + 1)));
  std::unique_ptr<RowCoefficients> rows = createCoefficients();
  RingPosition start = ring.getConsumerStart(), first = queue.getStart();
  RowTile firstOne = loadTile(firstTile);
  SmallVector<Value> initial{firstTile,     start.stage,         start.parity,
                             first.stage,   first.parity,        firstOne.first,
                             firstOne.last, firstOne.firstVector};
  int64_t fixed = initial.size();
  llvm::append_range(initial, rows->lookAhead(firstTile));
  k.loopWhile(
      initial, [&](ValueRange carried) { return isTile(carried[0]); },
      [&](ValueRange carried) -> SmallVector<Value> {
        RingPosition at{carried[1], carried[2]}, told{carried[3], carried[4]};
        RowTile tile{Value(), carried[5], carried[6], carried[7]};
        rows->begin(tile, carried.drop_front(fixed));
        rows->loadPairs();
        TwoRows tokens = loadTokens(tile);
        Value ticket = queue.ask(asks);
        SmallVector<Value> coefficients,
            products = multiplyByUp(at, [&] { rows->loadOperands(); });
        for (int64_t pass = 1; pass < vectors.passes; ++pass) {
          llvm::append_range(coefficients,
                             rows->compute(products, getScratch(at.stage)));
          products = multiplyByUp(at, [] {});
        }
        queue.tell(told, asks, ticket);
        llvm::append_range(coefficients,
                           rows->compute(products, getScratch(at.stage)));
        Value index = getTileOf(queue.take(told, isFirstLane));
        RowTile next = loadTile(index);
        SmallVector<Value> ahead = rows->lookAhead(getKnown(index));
        at = addToTokens(coefficients, tile, tokens, at);
        told = queue.advance(told);
        SmallVector<Value> values{index,      at.stage,        at.parity,
                                  told.stage, told.parity,     next.first,
                                  next.last,  next.firstVector};
        llvm::append_range(values, ahead);
        return values;
      });
}

/// Pieces of this warpgroup's part of the tokens in the stages that down
/// vectors come to next: nobody reads tokens there any more, and nobody writes
/// new ones before the consumers have used the down vectors.
SmallVector<Value> ExpertBlockKernel::getScratch(Value stage) {
  SmallVector<Value> scratch;
  Value own = k.mul(consumer, kOwnRows * kSwizzleBytes);
  for (int64_t i = 0; i < std::min(stages, steps); ++i) {
    scratch.push_back(movePointer(k, getStage(stage), k.getI8Type(), own));
    stage = ring.advance({stage, k.i32(0)}).stage;
  }
  return scratch;
}
