//===- DifferentiateOmniMoE.cpp - Adjoints of the dialect's operations ----===//
//
// The operations are closed under differentiation. With dY the adjoint of the
// result and e the expert of a pair:
//
//   products = grouped_matmul(x, w)       dx = combine to_tokens(dY, w)
//                                         dw = combine to_experts(dY, x)
//   y = y0 + combine to_tokens(a, v)      da = grouped_matmul(dY, v)
//                                         dv = combine to_experts(a, dY)
//   w = w0 + combine to_experts(a, x)     da = grouped_matmul(x, dY)
//                                         dx = combine to_tokens(a, dY)
//   scores = route(rows, columns)         drows[t, i] = sum of dY[t, k] over
//                                                 the choices k in row i
//
// A sum goes on from the adjoint that the operand has so far.
//
//===----------------------------------------------------------------------===//

#include "Differentiate.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::omnimoe;

static void addCombine(Adjoints &adjoints, Location loc, CombineKind kind,
                       Value target, Value coefficients, Value vectors,
                       Value experts) {
  if (!adjoints.isActive(target))
    return;
  Value init = adjoints.getInit(loc, target);
  if (adjoints.sparse.tables.contains(target))
    experts = adjoints.sparse.ids;
  auto combine =
      CombineOp::create(adjoints.builder, loc, TypeRange(init.getType()), kind,
                        coefficients, vectors, experts,
                        /*dispatch=*/ValueRange(), init,
                        /*schedule=*/nullptr);
  adjoints.set(target, combine->getResult(0));
}

static void addProducts(Adjoints &adjoints, Location loc, Value target, Value x,
                        Value weights, Value experts) {
  if (!adjoints.isActive(target))
    return;
  OpBuilder &builder = adjoints.builder;
  Value init = emptyLike(builder, loc, target, builder.getF32Type());
  auto products = GroupedMatmulOp::create(
      builder, loc, TypeRange(init.getType()), x, weights, experts,
      /*dispatch=*/ValueRange(), init, /*schedule=*/nullptr);
  adjoints.add(loc, target, products->getResult(0));
}

static LogicalResult differentiate(GroupedMatmulOp op, Value d,
                                   Adjoints &adjoints) {
  addCombine(adjoints, op.getLoc(), CombineKind::ToTokens, op.getX(), d,
             op.getWeights(), op.getExperts());
  addCombine(adjoints, op.getLoc(), CombineKind::ToExperts, op.getWeights(), d,
             op.getX(), op.getExperts());
  return success();
}

static LogicalResult differentiate(CombineOp op, Value d, Adjoints &adjoints) {
  Location loc = op.getLoc();
  Value a = op.getCoefficients(), vectors = op.getVectors();
  if (adjoints.isActive(op.getOut()))
    adjoints.add(loc, op.getOut(), d);
  // Read as the type it came in: exact, and fewer bytes.
  d = castElements(adjoints.builder, loc, d,
                   getElementTypeOrSelf(op.getVectors().getType()));
  if (op.isToTokens()) {
    addProducts(adjoints, loc, a, d, vectors, op.getExperts());
    addCombine(adjoints, loc, CombineKind::ToExperts, vectors, a, d,
               op.getExperts());
  } else {
    addProducts(adjoints, loc, a, vectors, d, op.getExperts());
    addCombine(adjoints, loc, CombineKind::ToTokens, vectors, a, d,
               op.getExperts());
  }
  return success();
}

/// The row and the column of every choice: two i32 tensors.
static ResultRange getGridPositions(OpBuilder &builder, RouteOp op) {
  Location loc = op.getLoc();
  Value experts = op->getResult(1);
  Value init = emptyLike(builder, loc, experts, builder.getI32Type());
  SmallVector<AffineMap> maps(3, builder.getMultiDimIdentityMap(2));
  SmallVector<utils::IteratorType> loops(2, utils::IteratorType::parallel);
  return linalg::GenericOp::create(
             builder, loc, TypeRange{init.getType(), init.getType()}, experts,
             ValueRange{init, init}, maps, loops,
             [&](OpBuilder &nested, Location loc, ValueRange arguments) {
               Value columns = arith::ConstantIntOp::create(
                   nested, loc, op.getNumCols(), 32);
               Value row =
                   arith::DivUIOp::create(nested, loc, arguments[0], columns);
               Value column =
                   arith::RemUIOp::create(nested, loc, arguments[0], columns);
               linalg::YieldOp::create(nested, loc, ValueRange{row, column});
             })
      .getResults();
}

/// logits[t, i] += sum of d[t, k] over the choices k whose position is i. A
/// sum over all k, so that nothing is written twice and every target can cut
/// it along the tokens.
static void addChosen(Adjoints &adjoints, Location loc, Value logits, Value d,
                      Value positions) {
  if (!adjoints.isActive(logits))
    return;
  OpBuilder &builder = adjoints.builder;
  AffineExpr t, i, k;
  bindDims(builder.getContext(), t, i, k);
  auto map = [&](AffineExpr a, AffineExpr b) {
    return AffineMap::get(3, 0, {a, b}, builder.getContext());
  };
  Value init = adjoints.getInit(loc, logits);
  auto sums = linalg::GenericOp::create(
      builder, loc, init.getType(), ValueRange{d, positions}, init,
      ArrayRef<AffineMap>{map(t, k), map(t, k), map(t, i)},
      ArrayRef<utils::IteratorType>{utils::IteratorType::parallel,
                                    utils::IteratorType::parallel,
                                    utils::IteratorType::reduction},
      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
        Value index =
            arith::IndexCastOp::create(nested, loc, nested.getI32Type(),
                                       linalg::IndexOp::create(nested, loc, 1));
        Value here = arith::CmpIOp::create(
            nested, loc, arith::CmpIPredicate::eq, arguments[1], index);
        Value zero =
            arith::ConstantOp::create(nested, loc, nested.getF32FloatAttr(0));
        Value term =
            arith::SelectOp::create(nested, loc, here, arguments[0], zero);
        Value sum = arith::AddFOp::create(nested, loc, arguments[2], term);
        linalg::YieldOp::create(nested, loc, sum);
      });
  adjoints.set(logits, sums.getResult(0));
}

static LogicalResult differentiate(RouteOp op, Value d, Adjoints &adjoints) {
  ResultRange positions = getGridPositions(adjoints.builder, op);
  addChosen(adjoints, op.getLoc(), op.getRowLogits(), d, positions[0]);
  addChosen(adjoints, op.getLoc(), op.getColLogits(), d, positions[1]);
  return success();
}

LogicalResult mlir::omnimoe::differentiateOmniMoE(Operation *op,
                                                  Adjoints &adjoints) {
  // Scores and sums are the first result; ids have no derivative.
  Value d = adjoints.get(op->getResult(0));
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case<GroupedMatmulOp, CombineOp, RouteOp>(
          [&](auto op) { return differentiate(op, d, adjoints); })
      .Default([](Operation *op) { return emitNoDerivative(op); });
}
