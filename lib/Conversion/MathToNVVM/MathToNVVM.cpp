//===- MathToNVVM.cpp - The pass convert-math-to-nvvm-approx --------------===//

#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
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
/// exp(x) = 2^(x * log2(e)).
struct ExpToEx2 : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::ExpOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.getType().isF32() || !isInKernel(op))
      return failure();
    Value log2e = arith::ConstantOp::create(rewriter, op.getLoc(),
                                            rewriter.getF32FloatAttr(M_LOG2E));
    Value scaled =
        arith::MulFOp::create(rewriter, op.getLoc(), op.getOperand(), log2e);
    rewriter.replaceOp(op, callIntrinsic(rewriter, op.getLoc(),
                                         "llvm.nvvm.ex2.approx.ftz.f", scaled));
    return success();
  }
};

struct ConvertMathToNVVMApproxPass
    : omnimoe::impl::ConvertMathToNVVMApproxPassBase<
          ConvertMathToNVVMApproxPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<ExpToEx2>(&getContext());
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};
} // namespace
