//===- UnpackBFloat16.cpp - The pass omnimoe-unpack-bf16 ------------------===//

#include "Utils/InKernel.h"
#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_UNPACKBFLOAT16PASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
/// A bf16 is the upper half of an f32: of the two in a word, one is shifted up,
/// and the other has what is below it cleared.
struct UnpackWords : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::ExtFOp op,
                                PatternRewriter &rewriter) const override {
    auto type = dyn_cast<VectorType>(op.getType());
    if (!type || type.getRank() != 1 || type.isScalable() ||
        type.getNumElements() % 2 != 0 || !type.getElementType().isF32() ||
        !getElementTypeOrSelf(op.getIn().getType()).isBF16() || !isInKernel(op))
      return failure();
    Location loc = op.getLoc();
    int64_t count = type.getNumElements() / 2;
    auto words = VectorType::get({count}, rewriter.getI32Type());
    auto floats = VectorType::get({count}, rewriter.getF32Type());
    auto constant = [&](uint32_t value) -> Value {
      return arith::ConstantOp::create(
          rewriter, loc, DenseElementsAttr::get(words, APInt(32, value)));
    };
    Value packed = vector::BitCastOp::create(rewriter, loc, words, op.getIn());
    Value low = arith::ShLIOp::create(rewriter, loc, packed, constant(16));
    Value high =
        arith::AndIOp::create(rewriter, loc, packed, constant(0xffff0000));
    low = arith::BitcastOp::create(rewriter, loc, floats, low);
    high = arith::BitcastOp::create(rewriter, loc, floats, high);
    rewriter.replaceOpWithNewOp<vector::InterleaveOp>(op, low, high);
    return success();
  }
};

struct UnpackBFloat16Pass
    : omnimoe::impl::UnpackBFloat16PassBase<UnpackBFloat16Pass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<UnpackWords>(&getContext());
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};
} // namespace
