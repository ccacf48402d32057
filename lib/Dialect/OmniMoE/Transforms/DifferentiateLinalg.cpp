//===- DifferentiateLinalg.cpp - Adjoints of linalg operations ------------===//
//
// The loops of an operation and of its gradient are the same; what changes is
// which of them reduce. For an operand with indexing map m, the adjoint is
//
//   d operand[m(i)] += d payload / d operand (i) * d result[o(i)]
//
// so loops that m does not use become reductions: the gradient of a broadcast
// is a sum, that of a sum is a broadcast, and a product's is a product.
//
//===----------------------------------------------------------------------===//

#include "Differentiate.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::omnimoe;

//===----------------------------------------------------------------------===//
// Matrix products
//===----------------------------------------------------------------------===//

/// A product of two matrices, each indexed by two of the three loops.
static bool isPlainProduct(linalg::MatmulOp op) {
  return llvm::all_of(op.getIndexingMapsArray(), [](AffineMap map) {
    return map.getNumResults() == 2 && map.isProjectedPermutation();
  });
}

/// The adjoint of one side of a product, as a product: the loop that the side
/// lacks is the one to sum over.
static void addProduct(linalg::MatmulOp op, unsigned side, Value d,
                       Adjoints &adjoints) {
  Value target = op.getInputs()[side], other = op.getInputs()[1 - side];
  if (!adjoints.isActive(target))
    return;
  OpBuilder &builder = adjoints.builder;
  SmallVector<AffineMap> maps = op.getIndexingMapsArray();
  AffineMap targetMap = maps[side], otherMap = maps[1 - side], dMap = maps[2];
  // A product of narrow operands has narrow gradients' products: they run on
  // the same units.
  d = castElements(builder, op.getLoc(), d,
                   getElementTypeOrSelf(other.getType()));
  unsigned row = targetMap.getDimPosition(0);
  unsigned column = targetMap.getDimPosition(1);
  SmallVector<AffineExpr> renamed(3, builder.getAffineDimExpr(2));
  renamed[row] = builder.getAffineDimExpr(0);
  renamed[column] = builder.getAffineDimExpr(1);
  auto rename = [&](AffineMap map) {
    return map.replaceDimsAndSymbols(renamed, {}, 3, 0);
  };
  Value left = d, right = other;
  AffineMap leftMap = dMap, rightMap = otherMap;
  if (!dMap.isFunctionOfDim(row)) {
    std::swap(left, right);
    std::swap(leftMap, rightMap);
  }
  Value init = adjoints.getInit(op.getLoc(), target);
  auto product =
      linalg::MatmulOp::create(builder, op.getLoc(), init.getType(),
                               ValueRange{left, right}, ValueRange{init});
  product.setIndexingMapsAttr(builder.getAffineMapArrayAttr(
      {rename(leftMap), rename(rightMap), rename(targetMap)}));
  adjoints.set(target, product.getResult(0));
}

//===----------------------------------------------------------------------===//
// Generic operations
//===----------------------------------------------------------------------===//

namespace {
/// What a payload yields for one result: `term`, joined by `combiner` with
/// what was there if the operation reduces.
struct Yielded {
  Value term;
  Operation *combiner = nullptr;
};

/// The gradient by one operand of a generic operation.
class GenericGradient {
public:
  GenericGradient(linalg::GenericOp op, OpOperand &operand, Adjoints &adjoints)
      : op(op), operand(operand), adjoints(adjoints),
        map(op.getMatchingIndexingMap(&operand)) {}

  LogicalResult emit(ArrayRef<Yielded> yielded);

private:
  /// Loops that index the operand come first, in its order.
  void orderLoops();
  void addInput(Value value, AffineMap valueMap, BlockArgument stands);
  LogicalResult emitPayload(OpBuilder &nested, ValueRange arguments,
                            ArrayRef<Yielded> yielded, Value &gradient);
  /// The tensor that is only a relabelled input, if the payload says so.
  Value getForwarded(Block *body) const;

  linalg::GenericOp op;
  OpOperand &operand;
  Adjoints &adjoints;
  AffineMap map;
  SmallVector<AffineExpr> renamed;
  SmallVector<unsigned> positions; // of the loops in the new order
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  /// Input i stands for this argument of the forward payload; the inputs
  /// behind are the adjoints and the values of the results.
  SmallVector<BlockArgument> forwardArguments;
};
} // namespace

void GenericGradient::orderLoops() {
  unsigned next = 0;
  positions.assign(op.getNumLoops(), ~0u);
  for (AffineExpr expr : map.getResults())
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      positions[dim.getPosition()] = next++;
  for (unsigned &position : positions)
    if (position == ~0u)
      position = next++;
  for (unsigned position : positions)
    renamed.push_back(adjoints.builder.getAffineDimExpr(position));
}

void GenericGradient::addInput(Value value, AffineMap valueMap,
                               BlockArgument stands) {
  inputs.push_back(value);
  maps.push_back(valueMap.replaceDimsAndSymbols(renamed, {}, op.getNumLoops(),
                                                /*numResultSyms=*/0));
  if (stands)
    forwardArguments.push_back(stands);
}

LogicalResult GenericGradient::emitPayload(OpBuilder &nested,
                                           ValueRange arguments,
                                           ArrayRef<Yielded> yielded,
                                           Value &gradient) {
  Block *payload = op.getBody();
  IRMapping copies;
  for (auto [index, argument] : llvm::enumerate(forwardArguments))
    copies.map(argument, arguments[index]);
  auto isCombiner = [&](Operation *inner) {
    return llvm::any_of(yielded, [&](auto &y) { return y.combiner == inner; });
  };
  for (Operation &inner : payload->without_terminator()) {
    if (isCombiner(&inner))
      continue;
    Operation *copy = nested.clone(inner, copies);
    if (auto index = dyn_cast<linalg::IndexOp>(copy))
      index.setDim(positions[index.getDim()]);
  }

  BlockArgument argument = payload->getArgument(operand.getOperandNumber());
  PayloadAdjoints scalars(nested, op.getLoc(), copies);
  scalars.activate(payload, argument);
  unsigned next = forwardArguments.size();
  for (auto [index, yield] : llvm::enumerate(yielded)) {
    if (!adjoints.get(op->getResult(index)))
      continue;
    Value d = arguments[next++];
    if (yield.combiner && !isa<arith::AddFOp>(yield.combiner)) {
      // The extremum's adjoint is shared among those that attain it.
      Value extremum = arguments[next++], count = arguments[next++];
      Value term = copies.lookupOrDefault(yield.term);
      Value attains = arith::CmpFOp::create(
          nested, op.getLoc(), arith::CmpFPredicate::OEQ, term, extremum);
      Value share = arith::DivFOp::create(nested, op.getLoc(), d, count);
      Value zero = arith::ConstantOp::create(nested, op.getLoc(),
                                             nested.getF32FloatAttr(0));
      d = arith::SelectOp::create(nested, op.getLoc(), attains, share, zero);
    }
    scalars.add(yield.term, d);
  }
  if (failed(scalars.run(payload, isCombiner)))
    return failure();
  gradient = scalars.get(argument);
  // Rounding to an integer, say, has a derivative of 0.
  if (!gradient)
    gradient = arith::ConstantOp::create(nested, op.getLoc(),
                                         nested.getF32FloatAttr(0));
  return success();
}

Value GenericGradient::getForwarded(Block *body) const {
  Value yielded = body->getTerminator()->getOperand(0);
  auto argument = dyn_cast<BlockArgument>(yielded);
  if (!argument || argument.getOwner() != body ||
      argument.getArgNumber() >= inputs.size() ||
      !maps[argument.getArgNumber()].isIdentity())
    return nullptr;
  return inputs[argument.getArgNumber()];
}

/// For a maximum or minimum: how many terms attain it, as f32.
static Value countAttaining(linalg::GenericOp op, unsigned result,
                            const Yielded &yielded, OpBuilder &builder) {
  Location loc = op.getLoc();
  Value extremum = op->getResult(result);
  Value init = zerosLike(builder, loc, extremum, builder.getF32Type());
  SmallVector<Value> inputs(op.getInputs());
  SmallVector<AffineMap> maps;
  for (OpOperand *input : op.getDpsInputOperands())
    maps.push_back(op.getMatchingIndexingMap(input));
  AffineMap resultMap = op.getMatchingIndexingMap(op.getDpsInitOperand(result));
  inputs.push_back(extremum);
  maps.append({resultMap, resultMap});
  return linalg::GenericOp::create(
             builder, loc, init.getType(), inputs, init, maps,
             op.getIteratorTypesArray(),
             [&](OpBuilder &nested, Location loc, ValueRange arguments) {
               IRMapping copies;
               copies.map(op.getRegionInputArgs(),
                          arguments.take_front(op.getNumDpsInputs()));
               for (Operation &inner : op.getBody()->without_terminator())
                 if (&inner != yielded.combiner)
                   nested.clone(inner, copies);
               Value attains =
                   arith::CmpFOp::create(nested, loc, arith::CmpFPredicate::OEQ,
                                         copies.lookupOrDefault(yielded.term),
                                         arguments[op.getNumDpsInputs()]);
               Value one = arith::UIToFPOp::create(
                   nested, loc, nested.getF32Type(), attains);
               Value sum =
                   arith::AddFOp::create(nested, loc, arguments.back(), one);
               linalg::YieldOp::create(nested, loc, sum);
             })
      .getResult(0);
}

LogicalResult GenericGradient::emit(ArrayRef<Yielded> yielded) {
  if (!map.isProjectedPermutation(/*allowZeroInResults=*/true))
    return op.emitOpError("has no derivative by operand ")
           << operand.getOperandNumber() << ", which is indexed by "
           << AffineMapAttr::get(map);
  OpBuilder &builder = adjoints.builder;
  Location loc = op.getLoc();
  orderLoops();
  for (OpOperand &each : op->getOpOperands())
    if (op.isDpsInput(&each) || op.payloadUsesValueFromOperand(&each))
      if (!op.getNumReductionLoops() || op.isDpsInput(&each))
        addInput(each.get(), op.getMatchingIndexingMap(&each),
                 op.getMatchingBlockArgument(&each));
  for (auto [index, yield] : llvm::enumerate(yielded)) {
    Value d = adjoints.get(op->getResult(index));
    if (!d)
      continue;
    AffineMap resultMap =
        op.getMatchingIndexingMap(op.getDpsInitOperand(index));
    addInput(d, resultMap, nullptr);
    if (yield.combiner && !isa<arith::AddFOp>(yield.combiner)) {
      addInput(op->getResult(index), resultMap, nullptr);
      addInput(countAttaining(op, index, yield, builder), resultMap, nullptr);
    }
  }

  // Sizes of 1 that all iterations share are left out, and put back below.
  SmallVector<OpFoldResult> sizes = getSizesOf(builder, loc, operand.get());
  SmallVector<OpFoldResult> kept;
  SmallVector<ReassociationIndices> groups;
  ReassociationIndices leading;
  for (auto [dim, expr] : llvm::enumerate(map.getResults())) {
    if (isa<AffineDimExpr>(expr)) {
      kept.push_back(sizes[dim]);
      groups.push_back(std::exchange(leading, {}));
    }
    (groups.empty() ? leading : groups.back()).push_back(dim);
  }
  unsigned numKept = kept.size();
  bool isExpanded = numKept != sizes.size();

  SmallVector<AffineExpr> keptLoops;
  for (unsigned dim = 0; dim < numKept; ++dim)
    keptLoops.push_back(builder.getAffineDimExpr(dim));
  maps.push_back(AffineMap::get(op.getNumLoops(), /*symbolCount=*/0, keptLoops,
                                builder.getContext()));
  SmallVector<utils::IteratorType> loops(op.getNumLoops(),
                                         utils::IteratorType::reduction);
  std::fill_n(loops.begin(), numKept, utils::IteratorType::parallel);
  bool reduces = numKept != op.getNumLoops();

  Value existing = adjoints.get(operand.get());
  Type f32 = builder.getF32Type();
  Value init;
  if (reduces && existing && !isExpanded) {
    init = existing;
    existing = nullptr;
  } else {
    init = tensor::EmptyOp::create(builder, loc, kept, f32);
    if (reduces) {
      Value zero =
          arith::ConstantOp::create(builder, loc, builder.getF32FloatAttr(0));
      init = linalg::FillOp::create(builder, loc, zero, init).getResult(0);
    }
  }

  LogicalResult status = success();
  auto gradient = linalg::GenericOp::create(
      builder, loc, init.getType(), inputs, init, maps, loops,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        Value value;
        status = emitPayload(nested, arguments, yielded, value);
        if (failed(status))
          value = arguments.back();
        else if (reduces)
          value = arith::AddFOp::create(nested, loc, arguments.back(), value);
        linalg::YieldOp::create(nested, loc, value);
      });
  if (failed(status))
    return failure();
  Value result = gradient.getResult(0);
  if (Value forwarded = getForwarded(gradient.getBody())) {
    result = forwarded;
    gradient.erase();
  }
  if (isExpanded)
    result = tensor::ExpandShapeOp::create(
        builder, loc,
        cast<RankedTensorType>(operand.get().getType()).clone(f32), result,
        groups, sizes);
  if (reduces && !isExpanded)
    adjoints.set(operand.get(), result);
  else
    adjoints.add(loc, operand.get(), result);
  return success();
}

/// What the payload yields for a result, if its form has a derivative.
static FailureOr<Yielded> getYielded(linalg::GenericOp op, unsigned result) {
  Value value = op.getBody()->getTerminator()->getOperand(result);
  if (op.getNumReductionLoops() == 0)
    return Yielded{value};
  BlockArgument carried = op.getRegionOutputArgs()[result];
  Operation *combiner = value.getDefiningOp();
  if (!combiner ||
      !isa<arith::AddFOp, arith::MaximumFOp, arith::MinimumFOp,
           arith::MaxNumFOp, arith::MinNumFOp>(combiner) ||
      !carried.hasOneUse() || *carried.user_begin() != combiner)
    return op.emitOpError("has no derivative: a reduction must be a sum, a "
                          "maximum or a minimum of terms");
  unsigned term = combiner->getOperand(0) == carried ? 1 : 0;
  return Yielded{combiner->getOperand(term), combiner};
}

/// Whether a result with an adjoint depends on the elements of `operand`.
static bool dependsOn(linalg::GenericOp op, OpOperand &operand,
                      ArrayRef<Yielded> yielded, Adjoints &adjoints) {
  IRMapping none;
  PayloadAdjoints scalars(adjoints.builder, op.getLoc(), none);
  scalars.activate(op.getBody(), op.getMatchingBlockArgument(&operand));
  for (auto [result, yield] : llvm::zip(op->getResults(), yielded))
    if (adjoints.get(result) && scalars.isActive(yield.term))
      return true;
  return false;
}

static LogicalResult differentiate(linalg::GenericOp op, Adjoints &adjoints) {
  SetVector<Value> captured;
  getUsedValuesDefinedAbove(op.getRegion(), captured);
  for (Value value : captured)
    if (adjoints.isActive(value))
      return op.emitOpError("has no derivative by a value that its payload "
                            "captures; make it an operand");
  SmallVector<Yielded> yielded;
  for (unsigned result = 0; result < op->getNumResults(); ++result) {
    FailureOr<Yielded> yield = getYielded(op, result);
    if (failed(yield))
      return failure();
    yielded.push_back(*yield);
  }
  for (OpOperand &operand : op->getOpOperands()) {
    if (!adjoints.isActive(operand.get()))
      continue;
    if (op.isDpsInput(&operand) || !op.getNumReductionLoops()) {
      if (dependsOn(op, operand, yielded, adjoints) &&
          failed(GenericGradient(op, operand, adjoints).emit(yielded)))
        return failure();
      continue;
    }
    // A sum starts from its destination.
    OpResult result = op.getTiedOpResult(&operand);
    Operation *combiner = yielded[result.getResultNumber()].combiner;
    if (!isa<arith::AddFOp>(combiner))
      return op.emitOpError("has no derivative by the destination of an ")
             << combiner->getName();
    if (Value d = adjoints.get(result))
      adjoints.add(op.getLoc(), operand.get(), d);
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Named operations
//===----------------------------------------------------------------------===//

static LogicalResult differentiate(linalg::TransposeOp op, Adjoints &adjoints) {
  OpBuilder &builder = adjoints.builder;
  Location loc = op.getLoc();
  Value init = emptyLike(builder, loc, op.getInput(), builder.getF32Type());
  auto transpose = linalg::TransposeOp::create(
      builder, loc, adjoints.get(op->getResult(0)), init,
      invertPermutationVector(op.getPermutation()));
  adjoints.add(loc, op.getInput(), transpose->getResult(0));
  return success();
}

LogicalResult mlir::omnimoe::differentiateLinalg(linalg::LinalgOp op,
                                                 Adjoints &adjoints) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](linalg::MatmulOp op) -> LogicalResult {
        Value d = adjoints.get(op.getResult(0));
        addProduct(op, 0, d, adjoints);
        addProduct(op, 1, d, adjoints);
        if (adjoints.isActive(op.getOutputs()[0]))
          adjoints.add(op.getLoc(), op.getOutputs()[0], d);
        return success();
      })
      .Case<linalg::GenericOp, linalg::TransposeOp>(
          [&](auto op) { return differentiate(op, adjoints); })
      .Default([](Operation *op) { return emitNoDerivative(op); });
}

LogicalResult mlir::omnimoe::prepareLinalg(Operation *function) {
  IRRewriter rewriter(function->getContext());
  WalkResult result = function->walk([&](linalg::LinalgOp op) {
    auto matmul = dyn_cast<linalg::MatmulOp>(op.getOperation());
    if (isa<linalg::GenericOp, linalg::FillOp, linalg::TransposeOp>(op) ||
        (matmul && isPlainProduct(matmul)))
      return WalkResult::advance();
    rewriter.setInsertionPoint(op);
    return WalkResult(linalg::generalizeNamedOp(rewriter, op));
  });
  return failure(result.wasInterrupted());
}
