//===- DifferentiateAdjoints.cpp - The adjoints of a function's values ----===//

#include "Differentiate.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace mlir::omnimoe;

InFlightDiagnostic mlir::omnimoe::emitNoDerivative(Operation *op) {
  return op->emitOpError("has no derivative");
}

/// A dynamic size of `tensor`, looked up through destinations.
static OpFoldResult getSizeOf(OpBuilder &builder, Location loc, Value tensor,
                              int64_t dim) {
  while (auto result = dyn_cast<OpResult>(tensor)) {
    auto dps = dyn_cast<DestinationStyleOpInterface>(result.getOwner());
    if (!dps)
      break;
    tensor = dps.getTiedOpOperand(result)->get();
  }
  if (auto empty = tensor.getDefiningOp<tensor::EmptyOp>())
    return empty.getMixedSizes()[dim];
  return tensor::getMixedSize(builder, loc, tensor, dim);
}

SmallVector<OpFoldResult>
mlir::omnimoe::getSizesOf(OpBuilder &builder, Location loc, Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  SmallVector<OpFoldResult> sizes;
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    sizes.push_back(type.isDynamicDim(dim)
                        ? getSizeOf(builder, loc, tensor, dim)
                        : builder.getIndexAttr(type.getDimSize(dim)));
  return sizes;
}

Value mlir::omnimoe::emptyLike(OpBuilder &builder, Location loc, Value like,
                               Type elementType) {
  return tensor::EmptyOp::create(builder, loc, getSizesOf(builder, loc, like),
                                 elementType);
}

static Value fillWithZeros(OpBuilder &builder, Location loc, Value tensor) {
  Value zero = arith::ConstantOp::create(
      builder, loc, builder.getZeroAttr(getElementTypeOrSelf(tensor)));
  return linalg::FillOp::create(builder, loc, zero, tensor).getResult(0);
}

Value mlir::omnimoe::zerosLike(OpBuilder &builder, Location loc, Value like,
                               Type elementType) {
  return fillWithZeros(builder, loc,
                       emptyLike(builder, loc, like, elementType));
}

/// One all-parallel operation over tensors of equal shape.
static Value
mapElements(OpBuilder &builder, Location loc, ValueRange inputs,
            Type elementType,
            llvm::function_ref<Value(OpBuilder &, Location, ValueRange)> body) {
  Value init = emptyLike(builder, loc, inputs.front(), elementType);
  int64_t rank = cast<RankedTensorType>(init.getType()).getRank();
  SmallVector<AffineMap> maps(inputs.size() + 1,
                              builder.getMultiDimIdentityMap(rank));
  SmallVector<utils::IteratorType> loops(rank, utils::IteratorType::parallel);
  return linalg::GenericOp::create(
             builder, loc, init.getType(), inputs, init, maps, loops,
             [&](OpBuilder &nested, Location loc, ValueRange arguments) {
               linalg::YieldOp::create(
                   nested, loc, body(nested, loc, arguments.drop_back()));
             })
      .getResult(0);
}

/// The narrower tensor that `tensor` is a widening cast of, or null.
static Value getWidened(Value tensor) {
  auto generic = tensor.getDefiningOp<linalg::GenericOp>();
  if (!generic || generic.getNumDpsInputs() != 1 ||
      generic->getNumResults() != 1 ||
      !llvm::all_of(generic.getIndexingMapsArray(),
                    [](AffineMap map) { return map.isIdentity(); }))
    return nullptr;
  Value yielded = generic.getBody()->getTerminator()->getOperand(0);
  auto extension = yielded.getDefiningOp<arith::ExtFOp>();
  if (!extension || extension.getIn() != generic.getBody()->getArgument(0))
    return nullptr;
  return generic.getInputs()[0];
}

Value mlir::omnimoe::castElements(OpBuilder &builder, Location loc,
                                  Value tensor, Type elementType) {
  Type from = getElementTypeOrSelf(tensor.getType());
  if (from == elementType)
    return tensor;
  if (Value narrow = getWidened(tensor))
    if (getElementTypeOrSelf(narrow.getType()) == elementType)
      return narrow;
  bool widens = from.getIntOrFloatBitWidth() < 32;
  return mapElements(
      builder, loc, tensor, elementType,
      [&](OpBuilder &nested, Location loc, ValueRange arguments) -> Value {
        if (widens)
          return arith::ExtFOp::create(nested, loc, elementType, arguments[0]);
        return arith::TruncFOp::create(nested, loc, elementType, arguments[0]);
      });
}

Value Adjoints::zeros(Location loc, Value value, Type elementType) {
  if (!sparse.tables.contains(value))
    return zerosLike(builder, loc, value, elementType);
  SmallVector<OpFoldResult> sizes = getSizesOf(builder, loc, value);
  sizes.front() = builder.getIndexAttr(sparse.rows);
  return fillWithZeros(
      builder, loc, tensor::EmptyOp::create(builder, loc, sizes, elementType));
}

Value Adjoints::getInit(Location loc, Value value) {
  if (Value adjoint = get(value))
    return adjoint;
  return zeros(loc, value, builder.getF32Type());
}

void Adjoints::add(Location loc, Value value, Value contribution) {
  if (Value adjoint = get(value))
    contribution = mapElements(
        builder, loc, {adjoint, contribution}, builder.getF32Type(),
        [](OpBuilder &nested, Location loc, ValueRange arguments) {
          return arith::AddFOp::create(nested, loc, arguments[0], arguments[1]);
        });
  set(value, contribution);
}
