//===- DifferentiateTensor.cpp - Adjoints of shapes and slices ------------===//

#include "Differentiate.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// The type of the adjoint of `value`.
static RankedTensorType adjointType(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.clone(Float32Type::get(type.getContext()));
}

LogicalResult mlir::omnimoe::differentiateTensor(Operation *op,
                                                 Adjoints &adjoints) {
  OpBuilder &builder = adjoints.builder;
  Location loc = op->getLoc();
  Value d = adjoints.get(op->getResult(0));
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](tensor::CastOp op) {
        Value source = op.getSource();
        adjoints.add(
            loc, source,
            tensor::CastOp::create(builder, loc, adjointType(source), d));
        return success();
      })
      .Case([&](tensor::ExpandShapeOp op) {
        Value source = op.getSrc();
        adjoints.add(
            loc, source,
            tensor::CollapseShapeOp::create(builder, loc, adjointType(source),
                                            d, op.getReassociationIndices()));
        return success();
      })
      .Case([&](tensor::CollapseShapeOp op) {
        Value source = op.getSrc();
        adjoints.add(
            loc, source,
            tensor::ExpandShapeOp::create(builder, loc, adjointType(source), d,
                                          op.getReassociationIndices(),
                                          getSizesOf(builder, loc, source)));
        return success();
      })
      .Case([&](tensor::ExtractSliceOp op) {
        Value source = op.getSource();
        Value zeros = zerosLike(builder, loc, source, builder.getF32Type());
        adjoints.add(loc, source,
                     tensor::InsertSliceOp::create(
                         builder, loc, d, zeros, op.getMixedOffsets(),
                         op.getMixedSizes(), op.getMixedStrides()));
        return success();
      })
      .Case([&](tensor::InsertSliceOp op) {
        Value source = op.getSource(), dest = op.getDest();
        if (adjoints.isActive(source))
          adjoints.add(loc, source,
                       tensor::ExtractSliceOp::create(
                           builder, loc, adjointType(source), d,
                           op.getMixedOffsets(), op.getMixedSizes(),
                           op.getMixedStrides()));
        if (adjoints.isActive(dest)) {
          Value zeros = zerosLike(builder, loc, source, builder.getF32Type());
          adjoints.add(loc, dest,
                       tensor::InsertSliceOp::create(
                           builder, loc, zeros, d, op.getMixedOffsets(),
                           op.getMixedSizes(), op.getMixedStrides()));
        }
        return success();
      })
      .Default([](Operation *op) { return emitNoDerivative(op); });
}
