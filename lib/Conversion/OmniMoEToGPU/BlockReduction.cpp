//===- BlockReduction.cpp - Reductions computed by one thread block -------===//
//
// A sum, maximum or the like over the last loop, which is what norms and
// softmax are made of: a warp, or a part of it, takes a row, its lanes stride
// over it, and what they have is combined across lanes. Other reductions have a
// thread for each element of the result, which walks all that goes into it.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"

using namespace mlir;
using namespace mlir::omnimoe;

SmallVector<Value> mlir::omnimoe::clonePayload(KernelBuilder &k,
                                               linalg::LinalgOp op,
                                               IRMapping &mapping,
                                               ArrayRef<Value> ivs) {
  Block *payload = op.getBlock();
  for (Operation &inner : payload->without_terminator())
    if (auto index = dyn_cast<linalg::IndexOp>(inner))
      mapping.map(index.getResult(), ivs[index.getDim()]);
    else
      k.clone(inner, mapping);
  return llvm::map_to_vector(
      payload->getTerminator()->getOperands(),
      [&](Value value) { return mapping.lookupOrDefault(value); });
}

static Value loadElement(KernelBuilder &k, const VectorOperand &operand,
                         ArrayRef<Value> ivs) {
  if (!isa<MemRefType>(operand.memref.getType()))
    return operand.memref;
  return k.load(operand.memref, getIndices(k, operand, ivs));
}

Operation *mlir::omnimoe::matchCombiner(linalg::LinalgOp op) {
  SmallVector<Operation *, 4> combiners;
  if (op.getNumDpsInits() != 1 ||
      !matchReduction(op.getRegionOutputArgs(), 0, combiners) ||
      combiners.size() != 1)
    return nullptr;
  Type type = combiners.front()->getResult(0).getType();
  return type.isF32() || type.isInteger(32) ? combiners.front() : nullptr;
}

/// True if no input depends on the last of the parallel loops.
static bool readsTheSameForNeighbours(linalg::LinalgOp op) {
  SmallVector<unsigned> parallel;
  op.getParallelDims(parallel);
  return !parallel.empty() &&
         llvm::none_of(op.getDpsInputOperands(), [&](OpOperand *input) {
           return op.getMatchingIndexingMap(input).isFunctionOfDim(
               parallel.back());
         });
}

LogicalResult BlockEmitter::emitReduction(linalg::LinalgOp op) {
  if (succeeded(emitSumOfParts(op)))
    return success();
  bool contiguous = true;
  if (failed(classifyOperands(op, contiguous)))
    return failure();
  Operation *combiner = matchCombiner(op);
  std::optional<TypedAttr> neutral;
  if (combiner)
    neutral = arith::getNeutralElement(combiner);
  bool overLastLoop =
      op.getNumReductionLoops() == 1 &&
      op.getIteratorTypesArray().back() == utils::IteratorType::reduction;
  if (neutral && overLastLoop && !readsTheSameForNeighbours(op))
    emitRowReduction(op, combiner, *neutral);
  else
    emitLoopsPerElement(op);
  return success();
}

/// Lanes that share a row: a warp, or fewer where there are many short rows, so
/// that a warp has several of them under way.
static int64_t getLanesOfRow(linalg::LinalgOp op, int64_t threads) {
  constexpr int64_t kLeastLanes = 8, kShortRow = 128;
  int64_t length = op.getStaticLoopRanges().back();
  if (op.getNumLoops() < 2 || ShapedType::isDynamic(length) ||
      length > kShortRow)
    return kWarp;
  OpOperand *out = op.getDpsInitOperand(0);
  int64_t rows = ShapedType::kDynamic;
  for (auto [dim, expr] :
       llvm::enumerate(op.getMatchingIndexingMap(out).getResults())) {
    if (expr != getAffineDimExpr(op.getNumLoops() - 2, op->getContext()))
      continue;
    FailureOr<int64_t> bound = ValueBoundsConstraintSet::computeConstantBound(
        presburger::BoundType::UB, {out->get(), int64_t(dim)},
        /*stopCondition=*/nullptr, /*closedUB=*/true);
    if (succeeded(bound))
      rows = *bound;
  }
  int64_t lanes = kWarp;
  while (!ShapedType::isDynamic(rows) && lanes > kLeastLanes &&
         rows * lanes > 2 * threads)
    lanes /= 2;
  return lanes;
}

void BlockEmitter::emitRowReduction(linalg::LinalgOp op, Operation *combiner,
                                    TypedAttr neutral) {
  bool contiguous = true;
  SmallVector<VectorOperand> operands = *classifyOperands(op, contiguous);
  SmallVector<Value> lengths = getLoopLengths(k, op, operands);
  int64_t lanes = getLanesOfRow(op, threads);
  Value group = arith::DivUIOp::create(k, threadId, k.index(lanes));
  Value lane = arith::RemUIOp::create(k, threadId, k.index(lanes));
  Block *payload = op.getBlock();
  auto combine = [&](Value left, Value right) {
    IRMapping mapping;
    mapping.map(combiner->getOperand(0), left);
    mapping.map(combiner->getOperand(1), right);
    return k.clone(*combiner, mapping)->getResult(0);
  };

  SmallVector<Value> ivs;
  // Computes the row of `ivs`, which is only stored if it `isOne`.
  auto emitRow = [&](Value isOne) {
    Value start = arith::ConstantOp::create(k, neutral);
    auto accumulate = [&](Value iv, ValueRange carried) {
      ivs.push_back(iv);
      IRMapping mapping;
      for (auto [argument, operand] :
           llvm::zip(payload->getArguments().drop_back(), operands))
        if (!argument.use_empty())
          mapping.map(argument, loadElement(k, operand, ivs));
      mapping.map(payload->getArguments().back(), carried.front());
      SmallVector<Value> next = clonePayload(k, op, mapping, ivs);
      ivs.pop_back();
      return next;
    };
    Value value =
        k.loop(lane, lengths.back(), lanes, {start}, accumulate).front();
    for (int32_t distance = lanes / 2; distance > 0; distance /= 2)
      value = combine(value, gpu::ShuffleOp::create(k, value, distance, kWarp,
                                                    gpu::ShuffleMode::XOR)
                                 .getShuffleResult());
    const VectorOperand &out = operands.back();
    Value stores = k.compare(arith::CmpIPredicate::eq, lane, k.index(0));
    k.when(isOne ? k.both(stores, isOne) : stores, [&] {
      // The last loop, which the result does not have, is of no matter here.
      ivs.push_back(k.index(0));
      SmallVector<Value> indices = getIndices(k, out, ivs);
      k.store(combine(k.load(out.memref, indices), value), out.memref, indices);
      ivs.pop_back();
    });
  };
  // Groups of lanes share the last of the loops over rows.
  unsigned rowLoops = op.getNumLoops() - 1;
  std::function<void(unsigned)> emitLoop = [&](unsigned depth) {
    bool last = depth + 1 == rowLoops;
    // Lanes of a warp shuffle together: all have equally many turns.
    bool shared = last && lanes < kWarp;
    k.loop(last && !shared ? group : k.index(0), lengths[depth],
           last ? threads / lanes : 1, [&](Value iv) {
             Value row = shared ? k.add(iv, group) : iv;
             ivs.push_back(shared ? k.min(row, k.sub(lengths[depth], 1)) : row);
             if (!last)
               emitLoop(depth + 1);
             else
               emitRow(shared ? k.compare(arith::CmpIPredicate::ult, row,
                                          lengths[depth])
                              : Value());
             ivs.pop_back();
           });
  };
  if (rowLoops == 0)
    k.when(k.compare(arith::CmpIPredicate::ult, threadId, k.index(lanes)),
           [&] { emitRow(Value()); });
  else
    emitLoop(0);
}

void BlockEmitter::emitLoopsPerElement(linalg::LinalgOp op) {
  bool contiguous = true;
  SmallVector<VectorOperand> operands = *classifyOperands(op, contiguous);
  SmallVector<Value> lengths = getLoopLengths(k, op, operands);
  SmallVector<unsigned> parallel, reduction;
  op.getParallelDims(parallel);
  op.getReductionDims(reduction);

  // The elements of the result in one sequence, over which threads stride.
  Value count = k.index(1);
  for (unsigned loop : parallel)
    count = k.mul(count, lengths[loop]);
  SmallVector<Value> ivs(op.getNumLoops());
  auto inputs = ArrayRef(operands).take_front(op.getNumDpsInputs());
  auto outputs = ArrayRef(operands).drop_front(op.getNumDpsInputs());
  auto accumulate = [&](ValueRange carried) {
    IRMapping mapping;
    Block *payload = op.getBlock();
    for (auto [argument, operand] : llvm::zip(payload->getArguments(), inputs))
      if (!argument.use_empty())
        mapping.map(argument, loadElement(k, operand, ivs));
    mapping.map(op.getRegionOutputArgs(), carried);
    return clonePayload(k, op, mapping, ivs);
  };
  std::function<SmallVector<Value>(unsigned, ValueRange)> emitLoop =
      [&](unsigned depth, ValueRange carried) -> SmallVector<Value> {
    if (depth == reduction.size())
      return accumulate(carried);
    return llvm::to_vector_of<Value>(
        k.loop(k.index(0), lengths[reduction[depth]], 1, carried,
               [&](Value iv, ValueRange inner) {
                 ivs[reduction[depth]] = iv;
                 return emitLoop(depth + 1, inner);
               }));
  };
  k.loop(threadId, count, threads, [&](Value element) {
    Value rest = element;
    for (unsigned loop : llvm::reverse(parallel)) {
      ivs[loop] = arith::RemUIOp::create(k, rest, lengths[loop]);
      rest = arith::DivUIOp::create(k, rest, lengths[loop]);
    }
    SmallVector<Value> values;
    for (const VectorOperand &out : outputs)
      values.push_back(loadElement(k, out, ivs));
    for (auto [value, out] : llvm::zip(emitLoop(0, values), outputs))
      k.store(value, out.memref, getIndices(k, out, ivs));
  });
}
