//===- MathToNVVM.cpp - The pass convert-math-to-nvvm-approx --------------===//

#include "Utils/InKernel.h"
#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"
#include <cmath>

namespace mlir::omnimoe {
#define GEN_PASS_DEF_CONVERTMATHTONVVMAPPROXPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// Calls an intrinsic of f32 for `arguments`, or for each element of them.
static Value callIntrinsic(PatternRewriter &rewriter, Location loc,
                           StringRef name, ValueRange arguments) {
  Type type = arguments.front().getType();
  auto vector = dyn_cast<VectorType>(type);
  if (!vector)
    return LLVM::CallIntrinsicOp::create(
               rewriter, loc, type, rewriter.getStringAttr(name), arguments)
        ->getResult(0);
  SmallVector<Value> elements;
  for (int64_t i = 0; i < vector.getNumElements(); ++i) {
    SmallVector<Value> scalars;
    for (Value argument : arguments)
      scalars.push_back(vector::ExtractOp::create(rewriter, loc, argument,
                                                  ArrayRef<int64_t>{i}));
    elements.push_back(callIntrinsic(rewriter, loc, name, scalars));
  }
  return vector::FromElementsOp::create(rewriter, loc, vector, elements);
}

/// True for f32 and vectors of it with one fixed length.
static bool isF32OrVector(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  return getElementTypeOrSelf(type).isF32() &&
         (!vector || (vector.getRank() == 1 && !vector.isScalable()));
}

namespace {
/// exp(x) = 2^(x * log2(e)), for each element of a vector.
struct ExpToEx2 : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::ExpOp op,
                                PatternRewriter &rewriter) const override {
    Type type = op.getType();
    if (!isF32OrVector(type) || !isInKernel(op))
      return failure();
    Location loc = op.getLoc();
    TypedAttr log2e = rewriter.getF32FloatAttr(M_LOG2E);
    if (auto vector = dyn_cast<VectorType>(type))
      log2e = DenseElementsAttr::get(vector, Attribute(log2e));
    Value scaled =
        arith::MulFOp::create(rewriter, loc, op.getOperand(),
                              arith::ConstantOp::create(rewriter, loc, log2e));
    rewriter.replaceOp(
        op, callIntrinsic(rewriter, loc, "llvm.nvvm.ex2.approx.ftz.f", scaled));
    return success();
  }
};

/// The square root, rounded to nearest.
struct SqrtToNVVM : OpRewritePattern<math::SqrtOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::SqrtOp op,
                                PatternRewriter &rewriter) const override {
    if (!isF32OrVector(op.getType()) || !isInKernel(op))
      return failure();
    rewriter.replaceOp(op,
                       callIntrinsic(rewriter, op.getLoc(),
                                     "llvm.nvvm.sqrt.rn.f", op.getOperand()));
    return success();
  }
};

/// |x| without its sign bit, which needs no function at all.
struct AbsToAnd : OpRewritePattern<math::AbsFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::AbsFOp op,
                                PatternRewriter &rewriter) const override {
    Type type = op.getType();
    if (!getElementTypeOrSelf(type).isF32() || !isInKernel(op))
      return failure();
    Location loc = op.getLoc();
    Type bits = rewriter.getI32Type();
    TypedAttr mask = rewriter.getI32IntegerAttr(0x7fffffff);
    if (auto vector = dyn_cast<VectorType>(type)) {
      bits = vector.clone(bits);
      mask = DenseElementsAttr::get(cast<VectorType>(bits), Attribute(mask));
    }
    Value raw = arith::BitcastOp::create(rewriter, loc, bits, op.getOperand());
    Value cleared = arith::AndIOp::create(
        rewriter, loc, raw, arith::ConstantOp::create(rewriter, loc, mask));
    rewriter.replaceOpWithNewOp<arith::BitcastOp>(op, type, cleared);
    return success();
  }
};

/// The number that `value` is in all its elements.
static std::optional<double> getSplat(Value value) {
  if (auto broadcast = value.getDefiningOp<vector::BroadcastOp>())
    value = broadcast.getSource();
  FloatAttr constant;
  if (matchPattern(value, m_Constant(&constant)))
    return constant.getValueAsDouble();
  DenseElementsAttr elements;
  if (matchPattern(value, m_Constant(&elements)) && elements.isSplat() &&
      isa<FloatType>(elements.getElementType()))
    return elements.getSplatValue<APFloat>().convertToDouble();
  return std::nullopt;
}

/// True for n / (1 + exp(x)) where n is 1, x or -x. The divisor is not small,
/// and where it is above 2^126 the quotient is below 2^-119: n is below 89
/// then.
static bool isSigmoid(arith::DivFOp op) {
  auto sum = op.getRhs().getDefiningOp<arith::AddFOp>();
  if (!sum)
    return false;
  auto isOne = [](Value value) { return getSplat(value) == 1.0; };
  Value term = isOne(sum.getLhs()) ? sum.getRhs() : sum.getLhs();
  auto exp = term.getDefiningOp<math::ExpOp>();
  if (!exp || !(isOne(sum.getLhs()) || isOne(sum.getRhs())))
    return false;
  auto getMagnitude = [](Value value) {
    auto negation = value.getDefiningOp<arith::NegFOp>();
    return negation ? negation.getOperand() : value;
  };
  return isOne(op.getLhs()) ||
         getMagnitude(op.getLhs()) == getMagnitude(exp.getOperand());
}

/// A quotient within two units in the last place. The one that is rounded to
/// nearest has a branch for rare operands, which nothing is moved across. A
/// sigmoid takes the reciprocal, which is 0 of what is above 2^126.
struct DivToNVVM : OpRewritePattern<arith::DivFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::DivFOp op,
                                PatternRewriter &rewriter) const override {
    if (!isF32OrVector(op.getType()) || !isInKernel(op))
      return failure();
    StringRef name =
        isSigmoid(op) ? "llvm.nvvm.div.approx.ftz.f" : "llvm.nvvm.div.full";
    rewriter.replaceOp(op, callIntrinsic(rewriter, op.getLoc(), name,
                                         {op.getLhs(), op.getRhs()}));
    return success();
  }
};

struct ConvertMathToNVVMApproxPass
    : omnimoe::impl::ConvertMathToNVVMApproxPassBase<
          ConvertMathToNVVMApproxPass> {
  void runOnOperation() override {
    // Quotients first, as they look for exponentials.
    RewritePatternSet quotients(&getContext()), others(&getContext());
    quotients.add<DivToNVVM>(&getContext());
    others.add<ExpToEx2, SqrtToNVVM, AbsToAnd>(&getContext());
    walkAndApplyPatterns(getOperation(), std::move(quotients));
    walkAndApplyPatterns(getOperation(), std::move(others));
  }
};
} // namespace
