//===- OmniMoETiling.cpp - TilingInterface of the operations --------------===//
//
// Every tileable operation has one parallel loop: over its tokens, or, for a
// sum to experts, over D (experts are reached through ids, so D is the only
// dimension whose tiles never meet). An operation that follows a dispatch names
// tokens by absolute position and cannot be cut along them.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
/// Which dimension of an operand the one loop walks; none if it is used whole.
using DimOfOperand = std::optional<unsigned>;
} // namespace

static bool isDispatched(Operation *op) {
  if (auto matmul = dyn_cast<GroupedMatmulOp>(op))
    return matmul.isDispatched();
  if (auto combine = dyn_cast<CombineOp>(op))
    return combine.isDispatched() && combine.isToTokens();
  return false;
}

/// The dimension of `operand` that the loop of its operation walks.
static DimOfOperand getTiledDim(OpOperand &operand) {
  Operation *op = operand.getOwner();
  if (isa<RouteOp>(op))
    return 0;
  if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
    if (operand.get() == matmul.getWeights())
      return std::nullopt;
    return 0;
  }
  auto combine = cast<CombineOp>(op);
  unsigned index = operand.getOperandNumber();
  if (combine.isToTokens())
    return index == combine.getVectorsMutable().getOperandNumber()
               ? DimOfOperand()
               : DimOfOperand(0);
  bool hasD = index == combine.getVectorsMutable().getOperandNumber() ||
              index == combine.getOutMutable().getOperandNumber();
  if (!hasD)
    return std::nullopt;
  return cast<ShapedType>(operand.get().getType()).getRank() - 1;
}

static SmallVector<utils::IteratorType> iteratorTypes(Operation *op) {
  if (isDispatched(op))
    return {};
  return {utils::IteratorType::parallel};
}

/// The first operand that the loop walks decides the loop's length.
static SmallVector<Range> iterationDomain(OpBuilder &builder, Operation *op) {
  if (isDispatched(op))
    return {};
  for (OpOperand &operand : op->getOpOperands()) {
    DimOfOperand dim = getTiledDim(operand);
    if (!dim)
      continue;
    OpFoldResult size =
        isa<TensorType>(operand.get().getType())
            ? tensor::getMixedSize(builder, op->getLoc(), operand.get(), *dim)
            : memref::getMixedSize(builder, op->getLoc(), operand.get(), *dim);
    return {Range{builder.getIndexAttr(0), size, builder.getIndexAttr(1)}};
  }
  llvm_unreachable("every operation has an operand along its loop");
}

/// Offsets and sizes of the whole of `value` but for `dim`.
static void slicePosition(OpBuilder &builder, Location loc, Value value,
                          DimOfOperand dim, OpFoldResult offset,
                          OpFoldResult size,
                          SmallVectorImpl<OpFoldResult> &offsets,
                          SmallVectorImpl<OpFoldResult> &sizes) {
  auto type = cast<ShapedType>(value.getType());
  offsets.assign(type.getRank(), builder.getIndexAttr(0));
  if (isa<TensorType>(type))
    sizes = tensor::getMixedSizes(builder, loc, value);
  else
    sizes = memref::getMixedSizes(builder, loc, value);
  if (dim) {
    offsets[*dim] = offset;
    sizes[*dim] = size;
  }
}

static FailureOr<TilingResult> makeTile(OpBuilder &builder, Operation *op,
                                        OpFoldResult offset,
                                        OpFoldResult size) {
  if (isDispatched(op))
    return op->emitOpError("follows a dispatch and cannot be tiled by token");
  Location loc = op->getLoc();
  SmallVector<Value> operands;
  SmallVector<Operation *> slices;
  for (OpOperand &operand : op->getOpOperands()) {
    DimOfOperand dim = getTiledDim(operand);
    if (!dim) {
      operands.push_back(operand.get());
      continue;
    }
    SmallVector<OpFoldResult> offsets, sizes;
    slicePosition(builder, loc, operand.get(), dim, offset, size, offsets,
                  sizes);
    SmallVector<OpFoldResult> strides(offsets.size(), builder.getIndexAttr(1));
    Operation *slice;
    if (isa<TensorType>(operand.get().getType()))
      slice = tensor::ExtractSliceOp::create(builder, loc, operand.get(),
                                             offsets, sizes, strides);
    else
      slice = memref::SubViewOp::create(builder, loc, operand.get(), offsets,
                                        sizes, strides);
    slices.push_back(slice);
    operands.push_back(slice->getResult(0));
  }
  SmallVector<Type> resultTypes;
  if (op->getNumResults())
    for (OpOperand &init :
         cast<DestinationStyleOpInterface>(op).getDpsInitsMutable())
      resultTypes.push_back(operands[init.getOperandNumber()].getType());
  Operation *tiled =
      mlir::clone(builder, op, TypeRange(resultTypes), ValueRange(operands));
  return TilingResult{{tiled}, SmallVector<Value>(tiled->getResults()), slices};
}

/// The dimension of result `index` along the loop.
static unsigned getResultDim(Operation *op, unsigned index) {
  OpOperand *init =
      cast<DestinationStyleOpInterface>(op).getDpsInitOperand(index);
  return *getTiledDim(*init);
}

static LogicalResult resultTilePosition(OpBuilder &builder, Operation *op,
                                        unsigned index, OpFoldResult offset,
                                        OpFoldResult size,
                                        SmallVectorImpl<OpFoldResult> &offsets,
                                        SmallVectorImpl<OpFoldResult> &sizes) {
  Value init =
      cast<DestinationStyleOpInterface>(op).getDpsInitOperand(index)->get();
  slicePosition(builder, op->getLoc(), init, getResultDim(op, index), offset,
                size, offsets, sizes);
  return success();
}

/// A tile of a result is computed only if it is whole in all other dimensions.
static FailureOr<TilingResult> resultTile(OpBuilder &builder, Operation *op,
                                          unsigned index,
                                          ArrayRef<OpFoldResult> offsets,
                                          ArrayRef<OpFoldResult> sizes) {
  if (isDispatched(op))
    return failure();
  unsigned dim = getResultDim(op, index);
  auto type = cast<ShapedType>(op->getResult(index).getType());
  for (unsigned other = 0; other < offsets.size(); ++other) {
    if (other == dim)
      continue;
    if (!isConstantIntValue(offsets[other], 0) ||
        getConstantIntValue(sizes[other]) != type.getDimSize(other))
      return failure();
  }
  return makeTile(builder, op, offsets[dim], sizes[dim]);
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
    return makeTile(builder, getOperation(), offsets.front(), sizes.front());  \
  }                                                                            \
  LogicalResult OpTy::getResultTilePosition(                                   \
      OpBuilder &builder, unsigned index, ArrayRef<OpFoldResult> offsets,      \
      ArrayRef<OpFoldResult> sizes, SmallVector<OpFoldResult> &resultOffsets,  \
      SmallVector<OpFoldResult> &resultSizes) {                                \
    return resultTilePosition(builder, getOperation(), index, offsets.front(), \
                              sizes.front(), resultOffsets, resultSizes);      \
  }                                                                            \
  FailureOr<TilingResult> OpTy::generateResultTileValue(                       \
      OpBuilder &builder, unsigned index, ArrayRef<OpFoldResult> offsets,      \
      ArrayRef<OpFoldResult> sizes) {                                          \
    return resultTile(builder, getOperation(), index, offsets, sizes);         \
  }

OMNIMOE_DEFINE_TILING(RouteOp)
OMNIMOE_DEFINE_TILING(GroupedMatmulOp)
OMNIMOE_DEFINE_TILING(CombineOp)

#undef OMNIMOE_DEFINE_TILING
