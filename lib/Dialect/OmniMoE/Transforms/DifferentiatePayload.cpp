//===- DifferentiatePayload.cpp - Adjoints of scalars ---------------------===//
//
// The chain rule, operation by operation, from the payload's end to its start.
// Derivatives are written with the values at hand: that of exp(x) is exp(x).
//
//===----------------------------------------------------------------------===//

#include "Differentiate.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::omnimoe;

//===----------------------------------------------------------------------===//
// Arithmetic on adjoints
//===----------------------------------------------------------------------===//

Value PayloadAdjoints::wide(Value value) {
  Value copy = forward.lookupOrDefault(value);
  if (copy.getType().getIntOrFloatBitWidth() >= 32)
    return copy;
  return arith::ExtFOp::create(builder, loc, builder.getF32Type(), copy);
}

Value PayloadAdjoints::real(double value) {
  return arith::ConstantOp::create(builder, loc,
                                   builder.getF32FloatAttr(value));
}

Value PayloadAdjoints::mul(Value a, Value b) {
  return arith::MulFOp::create(builder, loc, a, b);
}
Value PayloadAdjoints::sub(Value a, Value b) {
  return arith::SubFOp::create(builder, loc, a, b);
}
Value PayloadAdjoints::div(Value a, Value b) {
  return arith::DivFOp::create(builder, loc, a, b);
}
Value PayloadAdjoints::neg(Value a) {
  return arith::NegFOp::create(builder, loc, a);
}

void PayloadAdjoints::add(Value scalar, Value contribution) {
  if (!isActive(scalar))
    return;
  Value &adjoint = adjoints[scalar];
  adjoint = adjoint ? arith::AddFOp::create(builder, loc, adjoint, contribution)
                    : contribution;
}

/// A maximum's adjoint goes to the larger operand. Equal operands that both
/// depend on the argument share it; a bound that does not gets nothing, and
/// neither does a value that lies on it: the derivative of relu at 0 is 0.
void PayloadAdjoints::addExtremum(Value a, Value b, Value isFirst,
                                  Value isSecond, Value d) {
  Value zero = real(0);
  Value tied = isActive(a) && isActive(b) ? mul(d, real(0.5)) : zero;
  auto choose = [&](Value condition, Value yes, Value no) -> Value {
    return arith::SelectOp::create(builder, loc, condition, yes, no);
  };
  add(a, choose(isFirst, d, choose(isSecond, zero, tied)));
  add(b, choose(isSecond, d, choose(isFirst, zero, tied)));
}

//===----------------------------------------------------------------------===//
// Rules
//===----------------------------------------------------------------------===//

LogicalResult PayloadAdjoints::differentiateArith(Operation *op, Value d) {
  auto compare = [&](arith::CmpFPredicate predicate, Value a, Value b) {
    return arith::CmpFOp::create(builder, loc, predicate, wide(a), wide(b));
  };
  auto extremum = [&](Value a, Value b, bool isMaximum) {
    auto first =
        isMaximum ? arith::CmpFPredicate::OGT : arith::CmpFPredicate::OLT;
    addExtremum(a, b, compare(first, a, b), compare(first, b, a), d);
    return success();
  };
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](arith::AddFOp op) {
        add(op.getLhs(), d);
        add(op.getRhs(), d);
        return success();
      })
      .Case([&](arith::SubFOp op) {
        add(op.getLhs(), d);
        if (isActive(op.getRhs()))
          add(op.getRhs(), neg(d));
        return success();
      })
      .Case([&](arith::MulFOp op) {
        if (isActive(op.getLhs()))
          add(op.getLhs(), mul(d, wide(op.getRhs())));
        if (isActive(op.getRhs()))
          add(op.getRhs(), mul(d, wide(op.getLhs())));
        return success();
      })
      .Case([&](arith::DivFOp op) {
        Value share = div(d, wide(op.getRhs()));
        add(op.getLhs(), share);
        if (isActive(op.getRhs()))
          add(op.getRhs(), neg(mul(share, wide(op.getResult()))));
        return success();
      })
      .Case([&](arith::NegFOp op) {
        add(op.getOperand(), neg(d));
        return success();
      })
      .Case<arith::MaximumFOp, arith::MaxNumFOp>([&](auto op) {
        return extremum(op.getLhs(), op.getRhs(), /*isMaximum=*/true);
      })
      .Case<arith::MinimumFOp, arith::MinNumFOp>([&](auto op) {
        return extremum(op.getLhs(), op.getRhs(), /*isMaximum=*/false);
      })
      .Case([&](arith::SelectOp op) {
        Value condition = forward.lookupOrDefault(op.getCondition());
        Value zero = real(0);
        if (isActive(op.getTrueValue()))
          add(op.getTrueValue(),
              arith::SelectOp::create(builder, loc, condition, d, zero));
        if (isActive(op.getFalseValue()))
          add(op.getFalseValue(),
              arith::SelectOp::create(builder, loc, condition, zero, d));
        return success();
      })
      // Adjoints are f32 on both sides of a cast.
      .Case<arith::ExtFOp, arith::TruncFOp>([&](auto op) {
        add(op.getIn(), d);
        return success();
      })
      .Default([](Operation *op) { return emitNoDerivative(op); });
}

LogicalResult PayloadAdjoints::differentiateMath(Operation *op, Value d) {
  Value one = real(1), zero = real(0);
  auto unary = [&](Value derivative) {
    add(op->getOperand(0), mul(d, derivative));
    return success();
  };
  // 0 * inf is 0 here: where exp(x) overflows, what follows it has often
  // become constant, as in the logistic function.
  auto exponential = [&](Value derivative) {
    Value isZero =
        arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::OEQ, d, zero);
    add(op->getOperand(0), arith::SelectOp::create(builder, loc, isZero, zero,
                                                   mul(d, derivative)));
    return success();
  };
  Value x = wide(op->getOperand(0)), y = wide(op->getResult(0));
  constexpr double ln2 = llvm::numbers::ln2, ln10 = llvm::numbers::ln10;
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](math::ExpOp) { return exponential(y); })
      .Case([&](math::Exp2Op) { return exponential(mul(y, real(ln2))); })
      .Case([&](math::ExpM1Op) {
        return exponential(arith::AddFOp::create(builder, loc, y, one));
      })
      .Case([&](math::LogOp) {
        add(op->getOperand(0), div(d, x));
        return success();
      })
      .Case([&](math::Log2Op) {
        add(op->getOperand(0), div(d, mul(x, real(ln2))));
        return success();
      })
      .Case([&](math::Log10Op) {
        add(op->getOperand(0), div(d, mul(x, real(ln10))));
        return success();
      })
      .Case([&](math::Log1pOp) {
        add(op->getOperand(0),
            div(d, arith::AddFOp::create(builder, loc, x, one)));
        return success();
      })
      .Case([&](math::SqrtOp) {
        add(op->getOperand(0), div(mul(d, real(0.5)), y));
        return success();
      })
      .Case([&](math::RsqrtOp) { return unary(mul(real(-0.5), div(y, x))); })
      .Case([&](math::TanhOp) { return unary(sub(one, mul(y, y))); })
      .Case([&](math::ErfOp) {
        // 2 / sqrt(pi) * exp(-x^2)
        Value bell = math::ExpOp::create(builder, loc, neg(mul(x, x)));
        return unary(mul(real(2 * llvm::numbers::inv_sqrtpi), bell));
      })
      .Case([&](math::SinOp) {
        return unary(math::CosOp::create(builder, loc, x));
      })
      .Case([&](math::CosOp) {
        return unary(neg(math::SinOp::create(builder, loc, x)));
      })
      .Case([&](math::AbsFOp op) {
        auto is = [&](arith::CmpFPredicate predicate) -> Value {
          return arith::CmpFOp::create(builder, loc, predicate, x, zero);
        };
        Value negative = arith::SelectOp::create(
            builder, loc, is(arith::CmpFPredicate::OLT), neg(d), zero);
        add(op.getOperand(),
            arith::SelectOp::create(builder, loc, is(arith::CmpFPredicate::OGT),
                                    d, negative));
        return success();
      })
      .Case([&](math::FmaOp op) {
        if (isActive(op.getA()))
          add(op.getA(), mul(d, wide(op.getB())));
        if (isActive(op.getB()))
          add(op.getB(), mul(d, wide(op.getA())));
        add(op.getC(), d);
        return success();
      })
      // Constant between their steps.
      .Case<math::FloorOp, math::CeilOp, math::RoundOp, math::RoundEvenOp,
            math::TruncOp>([](auto) { return success(); })
      .Default([](Operation *op) { return emitNoDerivative(op); });
}

LogicalResult PayloadAdjoints::differentiate(Operation *op) {
  Value d = get(op->getResult(0));
  if (!d)
    return success();
  loc = op->getLoc();
  if (isa_and_present<arith::ArithDialect>(op->getDialect()))
    return differentiateArith(op, d);
  if (isa_and_present<math::MathDialect>(op->getDialect()))
    return differentiateMath(op, d);
  return emitNoDerivative(op);
}

void PayloadAdjoints::activate(Block *payload, Value argument) {
  active.insert(argument);
  for (Operation &op : payload->without_terminator())
    if (op.getNumResults() == 1 && isa<FloatType>(op.getResult(0).getType()) &&
        !op.hasAttr(kStopGradient) &&
        llvm::any_of(op.getOperands(),
                     [&](Value operand) { return isActive(operand); }))
      active.insert(op.getResult(0));
}

LogicalResult PayloadAdjoints::run(Block *payload,
                                   llvm::function_ref<bool(Operation *)> skip) {
  for (Operation &op : llvm::reverse(payload->without_terminator()))
    if (!skip(&op) && op.getNumResults() == 1 && isActive(op.getResult(0)) &&
        failed(differentiate(&op)))
      return failure();
  return success();
}
