//===- MathToNVVM.cpp - The pass convert-math-to-nvvm-approx --------------===//

#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
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

static Value callIntrinsic(PatternRewriter &rewriter, Location loc,
                           StringRef name, Value argument) {
  auto call = LLVM::CallIntrinsicOp::create(rewriter, loc, argument.getType(),
                                            rewriter.getStringAttr(name),
                                            ValueRange{argument});
  return call->getResult(0);
}

static bool isInKernel(Operation *op) {
  return op->getParentOfType<gpu::LaunchOp>() ||
         op->getParentOfType<gpu::GPUModuleOp>();
}

namespace {
/// exp(x) = 2^(x * log2(e)), for each element of a vector.
struct ExpToEx2 : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::ExpOp op,
                                PatternRewriter &rewriter) const override {
    Type type = op.getType();
    auto vector = dyn_cast<VectorType>(type);
    if (!getElementTypeOrSelf(type).isF32() || !isInKernel(op) ||
        (vector && (vector.getRank() != 1 || vector.isScalable())))
      return failure();
    Location loc = op.getLoc();
    TypedAttr log2e = rewriter.getF32FloatAttr(M_LOG2E);
    if (vector)
      log2e = DenseElementsAttr::get(vector, Attribute(log2e));
    Value scaled =
        arith::MulFOp::create(rewriter, loc, op.getOperand(),
                              arith::ConstantOp::create(rewriter, loc, log2e));
    constexpr StringLiteral intrinsic = "llvm.nvvm.ex2.approx.ftz.f";
    if (!vector) {
      rewriter.replaceOp(op, callIntrinsic(rewriter, loc, intrinsic, scaled));
      return success();
    }
    SmallVector<Value> elements;
    for (int64_t i = 0; i < vector.getNumElements(); ++i)
      elements.push_back(
          callIntrinsic(rewriter, loc, intrinsic,
                        vector::ExtractOp::create(rewriter, loc, scaled,
                                                  ArrayRef<int64_t>{i})));
    rewriter.replaceOpWithNewOp<vector::FromElementsOp>(op, vector, elements);
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

struct ConvertMathToNVVMApproxPass
    : omnimoe::impl::ConvertMathToNVVMApproxPassBase<
          ConvertMathToNVVMApproxPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<ExpToEx2, AbsToAnd>(&getContext());
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};
} // namespace
