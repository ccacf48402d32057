//===- SumOfParts.cpp - Partial sums of a token, by a block ---------------===//
//
// out[t, :] += sum over s of parts[t, s, :], the end of a split sum. A warp
// owns a range of columns: its lanes stand in kRowsPerWarp rows of
// kLanesPerRow, each row adds every kRowsPerWarp-th part in order, with all of
// its accesses in flight together, and shuffles add the rows. So the order of
// every sum is fixed.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

static constexpr int64_t kRowsPerWarp = 4;
static constexpr int64_t kLanesPerRow = kWarp / kRowsPerWarp;
/// Parts that a lane has in flight.
static constexpr int64_t kPartsInFlight = 16;

/// True for `out[t, d] += parts[t, s, d]` in f32.
static bool isSumOfParts(linalg::LinalgOp op) {
  SmallVector<utils::IteratorType> iterators = op.getIteratorTypesArray();
  using utils::IteratorType;
  if (ArrayRef(iterators) !=
          ArrayRef({IteratorType::parallel, IteratorType::reduction,
                    IteratorType::parallel}) ||
      op.getNumDpsInputs() != 1 || op.getNumDpsInits() != 1)
    return false;
  MLIRContext *context = op.getContext();
  AffineExpr t = getAffineDimExpr(0, context), d = getAffineDimExpr(2, context);
  SmallVector<AffineMap> maps = op.getIndexingMapsArray();
  if (!maps[0].isIdentity() || maps[1] != AffineMap::get(3, 0, {t, d}, context))
    return false;
  Block &body = *op.getBlock();
  auto add = dyn_cast<arith::AddFOp>(body.front());
  return add && add.getType().isF32() && &body.back() == add->getNextNode() &&
         body.back().getOperand(0) == add.getResult() &&
         llvm::all_of(
             add.getOperands(),
             [](Value operand) { return isa<BlockArgument>(operand); }) &&
         add.getLhs() != add.getRhs();
}

LogicalResult BlockEmitter::emitSumOfParts(linalg::LinalgOp op) {
  if (!isSumOfParts(op))
    return failure();
  Value parts = op.getDpsInputOperand(0)->get();
  Value out = op.getDpsInitOperand(0)->get();
  SmallVector<int64_t> ranges = op.getStaticLoopRanges();
  int64_t numParts = ranges[1], width = ranges[2];
  if (ShapedType::isDynamic(numParts) || ShapedType::isDynamic(width))
    return failure();
  int64_t count = getAccessElements(width, k.getF32Type());
  int64_t warpColumns = kLanesPerRow * count;
  auto type = VectorType::get({count}, k.getF32Type());
  llvm::MaybeAlign alignment(4 * count);

  Value warp = arith::DivUIOp::create(k, threadId, k.index(kWarp));
  Value lane = arith::RemUIOp::create(k, threadId, k.index(kWarp));
  Value row = arith::DivUIOp::create(k, lane, k.index(kLanesPerRow));
  Value laneColumn =
      k.mul(arith::RemUIOp::create(k, lane, k.index(kLanesPerRow)), count);
  Value isFirstRow = k.compare(arith::CmpIPredicate::eq, row, k.index(0));
  Value tokens = memref::DimOp::create(k, out, 0);

  auto emitColumns = [&](Value token, Value base) {
    Value column = k.add(base, laneColumn);
    Value inside = k.compare(arith::CmpIPredicate::ult, column, k.index(width));
    // Lanes past the end take part in the shuffles with what column 0 holds.
    Value from = k.choose(inside, column, k.index(0));
    auto add = [&](Value first, int64_t turns, Value before) {
      SmallVector<Value> loaded;
      for (int64_t turn = 0; turn < turns; ++turn) {
        Value part = k.add(first, turn * kRowsPerWarp);
        Value exists =
            k.compare(arith::CmpIPredicate::ult, part, k.index(numParts));
        Value piece = vector::LoadOp::create(
            k, type, parts,
            ValueRange{token, k.min(part, k.index(numParts - 1)), from},
            /*nontemporal=*/false, alignment);
        loaded.push_back(k.choose(exists, piece, k.real(type, 0.0)));
      }
      Value sum = before;
      for (Value piece : loaded)
        sum = arith::AddFOp::create(k, sum, piece);
      return sum;
    };
    int64_t turns = llvm::divideCeil(numParts, kRowsPerWarp);
    int64_t step = kPartsInFlight * kRowsPerWarp;
    int64_t whole = turns / kPartsInFlight * step;
    Value sum = k.real(type, 0.0);
    if (whole)
      sum = k.loop(k.index(0), k.index(whole), step, {sum},
                   [&](Value at, ValueRange carried) -> SmallVector<Value> {
                     return {
                         add(k.add(at, row), kPartsInFlight, carried.front())};
                   })
                .front();
    if (turns % kPartsInFlight)
      sum = add(k.add(row, whole), turns % kPartsInFlight, sum);
    SmallVector<Value> elements;
    for (int64_t i = 0; i < count; ++i) {
      Value element = vector::ExtractOp::create(k, sum, i);
      for (int64_t distance = kLanesPerRow; distance < kWarp; distance *= 2) {
        auto other = gpu::ShuffleOp::create(k, element, distance, kWarp,
                                            gpu::ShuffleMode::XOR);
        element = arith::AddFOp::create(k, element, other.getShuffleResult());
      }
      elements.push_back(element);
    }
    k.when(k.both(isFirstRow, inside), [&] {
      Value total = vector::FromElementsOp::create(k, type, elements);
      Value before =
          vector::LoadOp::create(k, type, out, ValueRange{token, column},
                                 /*nontemporal=*/false, alignment);
      vector::StoreOp::create(k, arith::AddFOp::create(k, before, total), out,
                              ValueRange{token, column},
                              /*nontemporal=*/false, alignment);
    });
  };
  k.loop(k.index(0), tokens, 1, [&](Value token) {
    k.loop(k.mul(warp, warpColumns), k.index(width),
           threads / kWarp * warpColumns,
           [&](Value base) { emitColumns(token, base); });
  });
  return success();
}
