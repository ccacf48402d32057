//===- OmniMoEOps.cpp - Verifiers and effects of the operations -----------===//

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace mlir::omnimoe;

//===----------------------------------------------------------------------===//
// What the verifiers check, with messages that name both sides
//===----------------------------------------------------------------------===//

static ShapedType shaped(Value value) {
  return cast<ShapedType>(value.getType());
}

static LogicalResult expectRank(Operation *op, StringRef name, Value value,
                                ArrayRef<int64_t> ranks, StringRef form) {
  if (llvm::is_contained(ranks, shaped(value).getRank()))
    return success();
  return op->emitOpError() << "operand '" << name << "' must have the shape "
                           << form << ", got " << value.getType();
}

/// Requires a compile-time size of at least one: only the tokens are dynamic,
/// and only they may be none.
static LogicalResult expectStatic(Operation *op, StringRef name, Value value,
                                  unsigned firstStatic,
                                  bool lastIsDynamic = false) {
  unsigned end = shaped(value).getRank() - (lastIsDynamic ? 1 : 0);
  for (unsigned dim = firstStatic; dim < end; ++dim) {
    if (shaped(value).isDynamicDim(dim))
      return op->emitOpError()
             << "operand '" << name << "' must have a static size in dimension "
             << dim << ", got " << value.getType();
    if (shaped(value).getDimSize(dim) == 0)
      return op->emitOpError()
             << "operand '" << name << "' must not be empty in dimension "
             << dim << ", got " << value.getType();
  }
  return success();
}

static LogicalResult expectSameSize(Operation *op, StringRef what,
                                    StringRef nameA, Value a, unsigned dimA,
                                    StringRef nameB, Value b, unsigned dimB) {
  int64_t sizeA = shaped(a).getDimSize(dimA);
  int64_t sizeB = shaped(b).getDimSize(dimB);
  if (ShapedType::isDynamic(sizeA) || ShapedType::isDynamic(sizeB) ||
      sizeA == sizeB)
    return success();
  return op->emitOpError() << "disagrees on " << what << ": '" << nameA
                           << "' has " << sizeA << ", '" << nameB << "' has "
                           << sizeB;
}

/// Tensors and memrefs do not mix, and results repeat the types of `outs`.
static LogicalResult verifyDestinations(Operation *op) {
  auto dps = cast<DestinationStyleOpInterface>(op);
  bool onTensors = isa<TensorType>(op->getOperand(0).getType());
  for (Value operand : op->getOperands())
    if (isa<TensorType>(operand.getType()) != onTensors)
      return op->emitOpError("operands must be all tensors or all memrefs");
  size_t expected = onTensors ? dps.getNumDpsInits() : 0;
  if (op->getNumResults() != expected)
    return op->emitOpError() << "expected " << expected << " results, got "
                             << op->getNumResults();
  for (auto [result, init] : llvm::zip(op->getResults(), dps.getDpsInits()))
    if (result.getType() != init.getType())
      return op->emitOpError()
             << "result type " << result.getType()
             << " differs from that of its destination, " << init.getType();
  return success();
}

/// Lines are those of a whole grid.
static LogicalResult verifyGrid(Operation *op, const GroupLayout &layout) {
  if (!layout.isByLines() || ShapedType::isDynamic(layout.numExperts) ||
      (layout.gridColumns > 0 && layout.numExperts % layout.gridColumns == 0))
    return success();
  return op->emitOpError() << "grid_columns must divide the "
                           << layout.numExperts << " experts, got "
                           << layout.gridColumns;
}

/// A dispatch is absent or whole: offsets, tokens, starts, pairs.
static LogicalResult verifyDispatch(Operation *op, OperandRange dispatch,
                                    int64_t numExperts,
                                    std::optional<ScheduleAttr> schedule) {
  if (dispatch.empty())
    return success();
  if (dispatch.size() != 4)
    return op->emitOpError() << "dispatch takes 4 operands (offsets, tokens, "
                                "starts, pairs), got "
                             << dispatch.size();
  static constexpr StringLiteral names[] = {"offsets", "tokens", "starts",
                                            "pairs"};
  for (auto [name, value] : llvm::zip(names, dispatch))
    if (failed(expectRank(op, name, value, {1}, "[n]")))
      return failure();
  GroupLayout layout{numExperts, 1};
  if (schedule && *schedule) {
    layout.groupSize = std::max<int64_t>(schedule->getGroupSize(), 1);
    layout.gridColumns = schedule->getGridColumns();
  }
  if (failed(verifyGrid(op, layout)))
    return failure();
  int64_t groups = layout.getNumGroups();
  int64_t offsets = shaped(dispatch[0]).getDimSize(0);
  if (!ShapedType::isDynamic(offsets) && !ShapedType::isDynamic(numExperts) &&
      offsets != groups + 1)
    return op->emitOpError()
           << "operand 'offsets' must have groups + 1 = " << groups + 1
           << " entries (" << numExperts << " experts in groups of "
           << layout.groupSize
           << (layout.isByLines() ? " of a grid's lines" : "") << "), got "
           << offsets;
  return success();
}

//===----------------------------------------------------------------------===//
// RouteOp
//===----------------------------------------------------------------------===//

LogicalResult RouteOp::verify() {
  Operation *op = getOperation();
  if (failed(expectRank(op, "row_logits", getRowLogits(), {2}, "[T, R]")) ||
      failed(expectRank(op, "col_logits", getColLogits(), {2}, "[T, C]")) ||
      failed(expectRank(op, "scores", getScores(), {2}, "[T, K]")) ||
      failed(expectRank(op, "experts", getExperts(), {2}, "[T, K]")) ||
      failed(expectStatic(op, "row_logits", getRowLogits(), 1)) ||
      failed(expectStatic(op, "col_logits", getColLogits(), 1)) ||
      failed(expectStatic(op, "scores", getScores(), 1)) ||
      failed(expectStatic(op, "experts", getExperts(), 1)) ||
      failed(expectSameSize(op, "top_k", "scores", getScores(), 1, "experts",
                            getExperts(), 1)))
    return failure();
  for (auto [name, value] :
       {std::pair<StringRef, Value>{"col_logits", getColLogits()},
        {"scores", getScores()},
        {"experts", getExperts()}})
    if (failed(expectSameSize(op, "the number of tokens", "row_logits",
                              getRowLogits(), 0, name, value, 0)))
      return failure();
  int64_t experts;
  if (llvm::MulOverflow(getNumRows(), getNumCols(), experts) ||
      experts > std::numeric_limits<int32_t>::max())
    return emitOpError() << "expert ids are i32: rows * columns = "
                         << getNumRows() << " * " << getNumCols()
                         << " is too large";
  if (getTopK() > experts)
    return emitOpError() << "top_k must lie between 1 and rows * columns = "
                         << getNumRows() << " * " << getNumCols() << " = "
                         << experts << ", got " << getTopK();
  return verifyDestinations(op);
}

//===----------------------------------------------------------------------===//
// PartitionOp
//===----------------------------------------------------------------------===//

LogicalResult PartitionOp::verify() {
  Operation *op = getOperation();
  if (failed(expectRank(op, "experts", getExperts(), {2}, "[T, K]")) ||
      failed(expectStatic(op, "experts", getExperts(), 1)))
    return failure();
  for (auto [name, value] :
       {std::pair<StringRef, Value>{"crowded", getCrowded()},
        {"rest", getRest()}})
    if (failed(expectRank(op, name, value, {2}, "[T, K]")) ||
        failed(expectStatic(op, name, value, 1)) ||
        failed(expectSameSize(op, "the number of tokens", "experts",
                              getExperts(), 0, name, value, 0)) ||
        failed(expectSameSize(op, "top_k", "experts", getExperts(), 1, name,
                              value, 1)))
      return failure();
  for (auto [name, value] :
       {std::pair<StringRef, int64_t>{"num_experts", getNumExperts()},
        {"group_size", getGroupSize()},
        {"min_pairs", getMinPairs()}})
    if (value < 1)
      return emitOpError() << name << " must be at least 1, got " << value;
  return verifyDestinations(op);
}

//===----------------------------------------------------------------------===//
// DispatchOp
//===----------------------------------------------------------------------===//

LogicalResult DispatchOp::verify() {
  Operation *op = getOperation();
  if (failed(expectRank(op, "experts", getExperts(), {2}, "[T, K]")) ||
      failed(expectStatic(op, "experts", getExperts(), 1)) ||
      failed(expectRank(op, "offsets", getOffsets(), {1}, "[G + 1]")) ||
      failed(expectRank(op, "tokens", getTokens(), {1}, "[P]")) ||
      failed(expectRank(op, "starts", getStarts(), {1}, "[P + 1]")) ||
      failed(expectRank(op, "pairs", getPairs(), {1}, "[P]")))
    return failure();
  if (int64_t(getNumExperts()) < 1 || int64_t(getGroupSize()) < 1)
    return emitOpError()
           << "num_experts and group_size must be at least 1, got "
           << int64_t(getNumExperts()) << " and " << int64_t(getGroupSize());
  if (failed(verifyGrid(op, getLayout())))
    return failure();
  int64_t offsets = shaped(getOffsets()).getDimSize(0);
  if (offsets != getNumGroups() + 1)
    return emitOpError() << "operand 'offsets' must have groups + 1 = "
                         << getNumGroups() + 1 << " entries, got "
                         << getOffsets().getType();
  if (getCarried().size() != getSorted().size())
    return emitOpError() << "carries " << getCarried().size()
                         << " values of pairs to " << getSorted().size()
                         << " places";
  for (auto [carried, sorted] : llvm::zip_equal(getCarried(), getSorted())) {
    if (failed(expectRank(op, "carried", carried, {2}, "[T, K]")) ||
        failed(expectRank(op, "sorted", sorted, {1}, "[P]")) ||
        failed(expectSameSize(op, "the number of tokens", "experts",
                              getExperts(), 0, "carried", carried, 0)) ||
        failed(expectSameSize(op, "top_k", "experts", getExperts(), 1,
                              "carried", carried, 1)) ||
        failed(expectSameSize(op, "the number of pairs", "pairs", getPairs(), 0,
                              "sorted", sorted, 0)))
      return failure();
    if (getElementTypeOrSelf(carried) != getElementTypeOrSelf(sorted))
      return emitOpError() << "carries " << carried.getType() << " to "
                           << sorted.getType();
  }
  int64_t tokens = shaped(getExperts()).getDimSize(0);
  if (!ShapedType::isDynamic(tokens)) {
    int64_t pairs;
    if (llvm::MulOverflow(tokens, getTopK(), pairs) ||
        pairs >= std::numeric_limits<int32_t>::max())
      return emitOpError() << "pairs are numbered in i32: tokens * top_k = "
                           << tokens << " * " << getTopK() << " is too large";
    for (auto [name, value, size] :
         {std::tuple<StringRef, Value, int64_t>{"tokens", getTokens(), pairs},
          {"starts", getStarts(), pairs + 1},
          {"pairs", getPairs(), pairs}}) {
      int64_t have = shaped(value).getDimSize(0);
      if (!ShapedType::isDynamic(have) && have != size)
        return emitOpError() << "operand '" << name << "' must have " << size
                             << " entries, got " << have;
    }
  }
  return verifyDestinations(op);
}

//===----------------------------------------------------------------------===//
// GroupedMatmulOp
//===----------------------------------------------------------------------===//

/// Checks values that stand per pair, [T, K] or [T, K, r], against `experts`
/// and the side that is indexed by expert, [N, D] or [N, r, D].
static LogicalResult verifyPairValues(Operation *op, StringRef name,
                                      Value values, Value experts,
                                      StringRef sideName, Value side,
                                      bool isColumnTile = false,
                                      bool isRowTile = false) {
  if (failed(expectRank(op, name, values, {2, 3}, "[T, K] or [T, K, r]")) ||
      failed(expectStatic(op, name, values, 1)) ||
      failed(expectRank(op, "experts", experts, {2}, "[T, K]")) ||
      failed(expectStatic(op, "experts", experts, 1)) ||
      failed(expectRank(op, sideName, side, {2, 3}, "[N, D] or [N, r, D]")) ||
      failed(
          expectStatic(op, sideName, side, isRowTile ? 1 : 0, isColumnTile)) ||
      failed(expectSameSize(op, "the number of tokens", name, values, 0,
                            "experts", experts, 0)) ||
      failed(
          expectSameSize(op, "top_k", name, values, 1, "experts", experts, 1)))
    return failure();
  if (shaped(values).getRank() != shaped(side).getRank())
    return op->emitOpError() << "wide experts need both '" << name << "' and '"
                             << sideName << "' of rank 3, got "
                             << values.getType() << " and " << side.getType();
  if (shaped(values).getRank() == 3)
    return expectSameSize(op, "the width of an expert", name, values, 2,
                          sideName, side, 1);
  return success();
}

LogicalResult GroupedMatmulOp::verify() {
  Operation *op = getOperation();
  if (failed(expectRank(op, "x", getX(), {2}, "[T, D]")) ||
      failed(expectStatic(op, "x", getX(), 1)) ||
      failed(verifyPairValues(op, "products", getProducts(), getExperts(),
                              "weights", getWeights())) ||
      failed(expectSameSize(op, "the number of tokens", "x", getX(), 0,
                            "experts", getExperts(), 0)) ||
      failed(expectSameSize(op, "the hidden size", "x", getX(), 1, "weights",
                            getWeights(),
                            shaped(getWeights()).getRank() - 1)) ||
      failed(verifyDispatch(op, getDispatch(), getNumExperts(), getSchedule())))
    return failure();
  return verifyDestinations(op);
}

//===----------------------------------------------------------------------===//
// CombineOp
//===----------------------------------------------------------------------===//

int64_t CombineOp::getNumExperts() {
  return shaped(getExpertSide()).getDimSize(0);
}

int64_t CombineOp::getHiddenSize() {
  return shaped(getExpertSide()).getShape().back();
}

int64_t CombineOp::getExpertWidth() {
  ArrayRef<int64_t> shape = shaped(getExpertSide()).getShape();
  return shape.size() == 3 ? shape[1] : 1;
}

bool CombineOp::goesByExpert() {
  ScheduleAttr schedule = getScheduleAttr();
  return !isToTokens() && isDispatched() && schedule &&
         schedule.getKind() == ScheduleKind::ExpertCentric &&
         schedule.getGroupSize() == 1;
}

LogicalResult CombineOp::verify() {
  Operation *op = getOperation();
  StringRef expertName = isToTokens() ? "vectors" : "out";
  StringRef tokenName = isToTokens() ? "out" : "vectors";
  Value tokenSide = isToTokens() ? getOut() : getVectors();
  // A sum to experts is cut along D, so that its tiles need not know theirs, or
  // along its experts, whose pairs the dispatch then tells.
  bool isRowTile = goesByExpert(), isColumnTile = !isToTokens() && !isRowTile;
  if (failed(expectRank(op, tokenName, tokenSide, {2}, "[T, D]")) ||
      failed(expectStatic(op, tokenName, tokenSide, 1, isColumnTile)) ||
      failed(verifyPairValues(op, "coefficients", getCoefficients(),
                              getExperts(), expertName, getExpertSide(),
                              isColumnTile, isRowTile)) ||
      failed(expectSameSize(op, "the number of tokens", tokenName, tokenSide, 0,
                            "experts", getExperts(), 0)) ||
      failed(expectSameSize(op, "the hidden size", tokenName, tokenSide, 1,
                            expertName, getExpertSide(),
                            shaped(getExpertSide()).getRank() - 1)) ||
      failed(verifyDispatch(op, getDispatch(), getNumExperts(), getSchedule())))
    return failure();
  return verifyDestinations(op);
}

//===----------------------------------------------------------------------===//
// Effects, speculation and result shapes: the same for every operation
//===----------------------------------------------------------------------===//

/// On memrefs, inputs are read and destinations written; a destination that
/// the operation adds to, or need not write wholly, is read as well.
static void getDpsEffects(
    DestinationStyleOpInterface op, bool readsDestinations,
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isa<MemRefType>(operand.get().getType()))
      continue;
    bool isInit = op.isDpsInit(&operand);
    if (!isInit || readsDestinations)
      effects.emplace_back(MemoryEffects::Read::get(), &operand, /*stage=*/0,
                           /*effectOnFullRegion=*/true,
                           SideEffects::DefaultResource::get());
    if (isInit)
      effects.emplace_back(MemoryEffects::Write::get(), &operand, /*stage=*/0,
                           /*effectOnFullRegion=*/true,
                           SideEffects::DefaultResource::get());
  }
}

/// Without a branch on memory every operation terminates and traps nowhere.
static Speculation::Speculatability getDpsSpeculatability(Operation *op) {
  return isa<TensorType>(op->getOperand(0).getType())
             ? Speculation::Speculatable
             : Speculation::NotSpeculatable;
}

static LogicalResult reifyDpsShapes(OpBuilder &builder,
                                    DestinationStyleOpInterface op,
                                    ReifiedRankedShapedTypeDims &shapes) {
  for (OpResult result : op->getResults()) {
    Value init = op.getTiedOpOperand(result)->get();
    shapes.push_back(tensor::getMixedSizes(builder, op.getLoc(), init));
  }
  return success();
}

#define OMNIMOE_DEFINE_DPS_METHODS(OpTy, readsDestinations)                    \
  void OpTy::getEffects(                                                       \
      SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>      \
          &effects) {                                                          \
    getDpsEffects(cast<DestinationStyleOpInterface>(getOperation()),           \
                  readsDestinations, effects);                                 \
  }                                                                            \
  Speculation::Speculatability OpTy::getSpeculatability() {                    \
    return getDpsSpeculatability(getOperation());                              \
  }                                                                            \
  LogicalResult OpTy::reifyResultShapes(OpBuilder &builder,                    \
                                        ReifiedRankedShapedTypeDims &shapes) { \
    return reifyDpsShapes(                                                     \
        builder, cast<DestinationStyleOpInterface>(getOperation()), shapes);   \
  }

OMNIMOE_DEFINE_DPS_METHODS(RouteOp, /*readsDestinations=*/false)
OMNIMOE_DEFINE_DPS_METHODS(PartitionOp, /*readsDestinations=*/false)
OMNIMOE_DEFINE_DPS_METHODS(DispatchOp, /*readsDestinations=*/false)
OMNIMOE_DEFINE_DPS_METHODS(GroupedMatmulOp, /*readsDestinations=*/false)
OMNIMOE_DEFINE_DPS_METHODS(CombineOp, /*readsDestinations=*/true)

#undef OMNIMOE_DEFINE_DPS_METHODS

#define GET_OP_CLASSES
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEOps.cpp.inc"
