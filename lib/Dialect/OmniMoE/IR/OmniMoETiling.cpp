//===- OmniMoETiling.cpp - TilingInterface of the operations --------------===//
//
// The loops of the tileable operations:
//
//   route, partition       tokens
//   grouped_matmul         tokens, pairs of a token
//   combine to_tokens      tokens, pairs of a token (a reduction), D
//   combine to_experts     experts, if it goes expert by expert; else D:
//   experts
//                          are then reached through ids, so D is the only
//                          dimension whose tiles never meet
//
// An operation that follows a dispatch names tokens by absolute position and
// cannot be cut along them.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
/// Which dimension of an operand each loop walks; none if the operand does not
/// depend on the loop.
using DimsOfLoops = SmallVector<std::optional<unsigned>, 3>;
} // namespace

static bool isDispatched(Operation *op) {
  if (auto matmul = dyn_cast<GroupedMatmulOp>(op))
    return matmul.isDispatched();
  if (auto combine = dyn_cast<CombineOp>(op))
    return combine.isDispatched() && combine.isToTokens();
  return false;
}

/// The offsets of an operation that goes expert by expert: one more than it has
/// experts.
static bool isOffsets(OpOperand &operand) {
  auto combine = dyn_cast<CombineOp>(operand.getOwner());
  return combine && combine.goesByExpert() &&
         operand.getOperandNumber() ==
             combine.getDispatch().getBeginOperandIndex();
}

static DimsOfLoops getDimsOfLoops(OpOperand &operand) {
  constexpr std::nullopt_t none = std::nullopt;
  Operation *op = operand.getOwner();
  Value value = operand.get();
  if (isa<RouteOp, PartitionOp>(op))
    return {0u};
  if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
    if (&operand == &matmul.getWeightsMutable())
      return {none, none};
    if (&operand == &matmul.getXMutable())
      return {0u, none};
    return {0u, 1u};
  }
  auto combine = cast<CombineOp>(op);
  bool isVectors = &operand == &combine.getVectorsMutable();
  bool isOut = &operand == &combine.getOutMutable();
  if (combine.isToTokens()) {
    if (isVectors || isOut) {
      unsigned last = cast<ShapedType>(value.getType()).getRank() - 1;
      return {isOut ? std::optional(0u) : none, none, last};
    }
    return {0u, 1u, none};
  }
  if (combine.goesByExpert()) {
    if (isOut || isOffsets(operand))
      return {0u};
    return {none};
  }
  if (!isVectors && !isOut)
    return {none};
  return {unsigned(cast<ShapedType>(value.getType()).getRank()) - 1};
}

static SmallVector<utils::IteratorType> iteratorTypes(Operation *op) {
  if (isDispatched(op))
    return {};
  auto combine = dyn_cast<CombineOp>(op);
  if (isa<GroupedMatmulOp>(op))
    return {utils::IteratorType::parallel, utils::IteratorType::parallel};
  if (combine && combine.isToTokens())
    return {utils::IteratorType::parallel, utils::IteratorType::reduction,
            utils::IteratorType::parallel};
  return {utils::IteratorType::parallel};
}

static OpFoldResult getSize(OpBuilder &builder, Location loc, Value value,
                            unsigned dim) {
  return isa<TensorType>(value.getType())
             ? tensor::getMixedSize(builder, loc, value, dim)
             : memref::getMixedSize(builder, loc, value, dim);
}

/// The first operand that a loop walks decides the loop's length.
static SmallVector<Range> iterationDomain(OpBuilder &builder, Operation *op) {
  SmallVector<Range> domain;
  for (unsigned loop = 0, e = iteratorTypes(op).size(); loop < e; ++loop) {
    auto walked = llvm::find_if(op->getOpOperands(), [&](OpOperand &operand) {
      return getDimsOfLoops(operand)[loop].has_value() && !isOffsets(operand);
    });
    assert(walked != op->getOpOperands().end() && "a loop over no operand");
    domain.push_back({builder.getIndexAttr(0),
                      getSize(builder, op->getLoc(), walked->get(),
                              *getDimsOfLoops(*walked)[loop]),
                      builder.getIndexAttr(1)});
  }
  return domain;
}

/// Offsets and sizes of the part of `operand` that a tile of the loops needs.
static void slicePosition(OpBuilder &builder, OpOperand &operand,
                          ArrayRef<OpFoldResult> loopOffsets,
                          ArrayRef<OpFoldResult> loopSizes,
                          SmallVectorImpl<OpFoldResult> &offsets,
                          SmallVectorImpl<OpFoldResult> &sizes) {
  Location loc = operand.getOwner()->getLoc();
  Value value = operand.get();
  auto type = cast<ShapedType>(value.getType());
  offsets.assign(type.getRank(), builder.getIndexAttr(0));
  if (isa<TensorType>(type))
    sizes = tensor::getMixedSizes(builder, loc, value);
  else
    sizes = memref::getMixedSizes(builder, loc, value);
  for (auto [loop, dim] : llvm::enumerate(getDimsOfLoops(operand)))
    if (dim) {
      offsets[*dim] = loopOffsets[loop];
      sizes[*dim] = loopSizes[loop];
    }
  if (isOffsets(operand))
    sizes.front() = affine::makeComposedFoldedAffineApply(
        builder, loc, builder.getAffineSymbolExpr(0) + 1, {sizes.front()});
}

/// The part of `operand` that a tile of the loops needs; `slices` collects the
/// operation that takes it, if it is a part.
static Value sliceOperand(OpBuilder &builder, OpOperand &operand,
                          ArrayRef<OpFoldResult> loopOffsets,
                          ArrayRef<OpFoldResult> loopSizes,
                          SmallVectorImpl<Operation *> &slices) {
  Value value = operand.get();
  if (llvm::none_of(getDimsOfLoops(operand),
                    [](auto dim) { return dim.has_value(); }))
    return value;
  SmallVector<OpFoldResult> offsets, sizes;
  slicePosition(builder, operand, loopOffsets, loopSizes, offsets, sizes);
  auto shape = cast<ShapedType>(value.getType()).getShape();
  bool isWhole = llvm::all_of(llvm::seq<size_t>(shape.size()), [&](size_t dim) {
    return isZeroInteger(offsets[dim]) &&
           getConstantIntValue(sizes[dim]) == shape[dim];
  });
  if (isWhole)
    return value;
  SmallVector<OpFoldResult> strides(offsets.size(), builder.getIndexAttr(1));
  Location loc = operand.getOwner()->getLoc();
  Operation *slice;
  if (isa<TensorType>(value.getType()))
    slice = tensor::ExtractSliceOp::create(builder, loc, value, offsets, sizes,
                                           strides);
  else
    slice =
        memref::SubViewOp::create(builder, loc, value, offsets, sizes, strides);
  slices.push_back(slice);
  return slice->getResult(0);
}

static FailureOr<TilingResult> makeTile(OpBuilder &builder, Operation *op,
                                        ArrayRef<OpFoldResult> offsets,
                                        ArrayRef<OpFoldResult> sizes) {
  if (isDispatched(op))
    return op->emitOpError("follows a dispatch and cannot be tiled by token");
  SmallVector<Value> operands;
  SmallVector<Operation *> slices;
  for (OpOperand &operand : op->getOpOperands())
    operands.push_back(sliceOperand(builder, operand, offsets, sizes, slices));
  SmallVector<Type> resultTypes;
  if (op->getNumResults())
    for (OpOperand &init :
         cast<DestinationStyleOpInterface>(op).getDpsInitsMutable())
      resultTypes.push_back(operands[init.getOperandNumber()].getType());
  Operation *tiled =
      mlir::clone(builder, op, TypeRange(resultTypes), ValueRange(operands));
  return TilingResult{{tiled}, SmallVector<Value>(tiled->getResults()), slices};
}

static LogicalResult resultTilePosition(OpBuilder &builder, Operation *op,
                                        unsigned index,
                                        ArrayRef<OpFoldResult> loopOffsets,
                                        ArrayRef<OpFoldResult> loopSizes,
                                        SmallVectorImpl<OpFoldResult> &offsets,
                                        SmallVectorImpl<OpFoldResult> &sizes) {
  OpOperand *init =
      cast<DestinationStyleOpInterface>(op).getDpsInitOperand(index);
  slicePosition(builder, *init, loopOffsets, loopSizes, offsets, sizes);
  return success();
}

/// A tile of a result is computed only if it is whole in the dimensions that no
/// loop walks. Loops that the result does not depend on run in full.
static FailureOr<TilingResult> resultTile(OpBuilder &builder, Operation *op,
                                          unsigned index,
                                          ArrayRef<OpFoldResult> offsets,
                                          ArrayRef<OpFoldResult> sizes) {
  if (isDispatched(op))
    return failure();
  OpOperand *init =
      cast<DestinationStyleOpInterface>(op).getDpsInitOperand(index);
  DimsOfLoops dims = getDimsOfLoops(*init);
  auto type = cast<ShapedType>(op->getResult(index).getType());
  for (unsigned dim = 0; dim < offsets.size(); ++dim)
    if (!llvm::is_contained(dims, dim) &&
        (!isConstantIntValue(offsets[dim], 0) ||
         getConstantIntValue(sizes[dim]) != type.getDimSize(dim)))
      return failure();
  SmallVector<OpFoldResult> loopOffsets, loopSizes;
  for (auto [dim, range] : llvm::zip(dims, iterationDomain(builder, op))) {
    loopOffsets.push_back(dim ? offsets[*dim] : range.offset);
    loopSizes.push_back(dim ? sizes[*dim] : range.size);
  }
  FailureOr<TilingResult> tile = makeTile(builder, op, loopOffsets, loopSizes);
  if (succeeded(tile))
    tile->tiledValues = {tile->tiledOps.front()->getResult(index)};
  return tile;
}

#define OMNIMOE_DEFINE_TILING(OpTy)                                            \
  SmallVector<utils::IteratorType> OpTy::getLoopIteratorTypes() {              \
    return iteratorTypes(getOperation());                                      \
  }                                                                            \
  SmallVector<Range> OpTy::getIterationDomain(OpBuilder &builder) {            \
    return iterationDomain(builder, getOperation());                           \
  }                                                                            \
  FailureOr<TilingResult> OpTy::getTiledImplementation(                        \
      OpBuilder &builder, ArrayRef<OpFoldResult> offsets,                      \
      ArrayRef<OpFoldResult> sizes) {                                          \
    return makeTile(builder, getOperation(), offsets, sizes);                  \
  }                                                                            \
  LogicalResult OpTy::getResultTilePosition(                                   \
      OpBuilder &builder, unsigned index, ArrayRef<OpFoldResult> offsets,      \
      ArrayRef<OpFoldResult> sizes, SmallVector<OpFoldResult> &resultOffsets,  \
      SmallVector<OpFoldResult> &resultSizes) {                                \
    return resultTilePosition(builder, getOperation(), index, offsets, sizes,  \
                              resultOffsets, resultSizes);                     \
  }                                                                            \
  FailureOr<TilingResult> OpTy::generateResultTileValue(                       \
      OpBuilder &builder, unsigned index, ArrayRef<OpFoldResult> offsets,      \
      ArrayRef<OpFoldResult> sizes) {                                          \
    return resultTile(builder, getOperation(), index, offsets, sizes);         \
  }

OMNIMOE_DEFINE_TILING(RouteOp)
OMNIMOE_DEFINE_TILING(PartitionOp)
OMNIMOE_DEFINE_TILING(GroupedMatmulOp)
OMNIMOE_DEFINE_TILING(CombineOp)

#undef OMNIMOE_DEFINE_TILING

//===----------------------------------------------------------------------===//
// Partial sums of a combine
//===----------------------------------------------------------------------===//

// The partial sums of the tiles of pairs stand side by side: [T, tiles, D].

FailureOr<SmallVector<Value>>
CombineOp::generateInitialTensorForPartialReduction(
    OpBuilder &builder, Location loc, ArrayRef<OpFoldResult> sizes,
    const SetVector<unsigned> &reductionDims) {
  if (!isToTokens() || isDispatched() || !reductionDims.contains(1))
    return failure();
  // Each tile sets its part to zero itself: no pass over all of them.
  return SmallVector<Value>{tensor::EmptyOp::create(
      builder, loc,
      SmallVector<OpFoldResult>{sizes[0], sizes[1],
                                builder.getIndexAttr(getHiddenSize())},
      getElementTypeOrSelf(getOut().getType()))};
}

LogicalResult CombineOp::getPartialResultTilePosition(
    OpBuilder &builder, unsigned, ReductionTilingStrategy strategy,
    ArrayRef<OpFoldResult> offsets, ArrayRef<OpFoldResult> sizes,
    const SetVector<unsigned> &, ArrayRef<OpFoldResult> splitReductionIvs,
    SmallVector<OpFoldResult> &resultOffsets,
    SmallVector<OpFoldResult> &resultSizes) {
  if (strategy != ReductionTilingStrategy::PartialReductionOuterParallel)
    return failure();
  resultOffsets = {offsets[0], splitReductionIvs[0], builder.getIndexAttr(0)};
  resultSizes = {sizes[0], builder.getIndexAttr(1),
                 builder.getIndexAttr(getHiddenSize())};
  return success();
}

FailureOr<TilingResult> CombineOp::tileToPartialReduction(
    OpBuilder &builder, Location loc, ReductionTilingStrategy strategy,
    ValueRange init, ArrayRef<OpFoldResult> offsets,
    ArrayRef<OpFoldResult> sizes, const SetVector<unsigned> &reductionDims,
    ArrayRef<OpFoldResult> splitReductionIvs) {
  SmallVector<OpFoldResult> partOffsets, partSizes;
  if (failed(getPartialResultTilePosition(builder, 0, strategy, offsets, sizes,
                                          reductionDims, splitReductionIvs,
                                          partOffsets, partSizes)))
    return failure();
  SmallVector<Operation *> slices;
  Value coefficients =
      sliceOperand(builder, getCoefficientsMutable(), offsets, sizes, slices);
  Value experts =
      sliceOperand(builder, getExpertsMutable(), offsets, sizes, slices);
  Type elementType = getElementTypeOrSelf(getOut().getType());
  auto sumType = RankedTensorType::get(
      {getConstantIntValue(sizes[0]).value_or(ShapedType::kDynamic),
       getHiddenSize()},
      elementType);
  SmallVector<OpFoldResult> strides(3, builder.getIndexAttr(1));
  Value part = tensor::ExtractSliceOp::create(
      builder, loc, sumType, init.front(), partOffsets, partSizes, strides);
  Value zero =
      arith::ConstantOp::create(builder, loc, builder.getZeroAttr(elementType));
  Value empty = linalg::FillOp::create(builder, loc, zero, part).getResult(0);
  Operation *tiled =
      mlir::clone(builder, getOperation(), TypeRange{sumType},
                  ValueRange{coefficients, getVectors(), experts, empty});
  return TilingResult{{tiled}, SmallVector<Value>(tiled->getResults()), slices};
}

FailureOr<MergeResult> CombineOp::mergeReductions(OpBuilder &builder,
                                                  Location loc,
                                                  ValueRange partialReduce,
                                                  const SetVector<unsigned> &) {
  auto sum = linalg::ReduceOp::create(
      builder, loc, partialReduce, ValueRange{getOut()}, ArrayRef<int64_t>{1},
      [](OpBuilder &nested, Location nestedLoc, ValueRange values) {
        Value added =
            arith::AddFOp::create(nested, nestedLoc, values[0], values[1]);
        linalg::YieldOp::create(nested, nestedLoc, added);
      });
  return MergeResult{{sum}, SmallVector<Value>(sum->getResults())};
}
