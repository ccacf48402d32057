//===- AccumulateInF32.cpp - Sums in f32, rounded once --------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_ACCUMULATEINF32PASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// `input`, converted element by element into `init`.
template <typename CastOp>
static Value castInto(RewriterBase &rewriter, Location loc, Value input,
                      Value init) {
  auto type = cast<RankedTensorType>(init.getType());
  AffineMap identity = rewriter.getMultiDimIdentityMap(type.getRank());
  SmallVector<utils::IteratorType> loops(type.getRank(),
                                         utils::IteratorType::parallel);
  return linalg::GenericOp::create(
             rewriter, loc, type, input, init,
             ArrayRef<AffineMap>{identity, identity}, loops,
             [](OpBuilder &builder, Location loc, ValueRange arguments) {
               Value result = CastOp::create(
                   builder, loc, arguments[1].getType(), arguments[0]);
               linalg::YieldOp::create(builder, loc, result);
             })
      .getResult(0);
}

namespace {
struct AccumulateInF32Pass
    : omnimoe::impl::AccumulateInF32PassBase<AccumulateInF32Pass> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    getOperation().walk([&](CombineOp op) {
      auto type = dyn_cast<RankedTensorType>(op.getOut().getType());
      if (!type || type.getElementType().isF32())
        return;
      Location loc = op.getLoc();
      rewriter.setInsertionPoint(op);
      Value out = op.getOut();
      Value empty = tensor::EmptyOp::create(
          rewriter, loc, tensor::getMixedSizes(rewriter, loc, out),
          rewriter.getF32Type());
      // A zero stays a fill, which later passes know better than a cast.
      Value init;
      if (auto fill = out.getDefiningOp<linalg::FillOp>()) {
        Value zero = arith::ExtFOp::create(rewriter, loc, rewriter.getF32Type(),
                                           fill.value());
        init = linalg::FillOp::create(rewriter, loc, zero, empty).getResult(0);
      } else {
        init = castInto<arith::ExtFOp>(rewriter, loc, out, empty);
      }
      auto sum = cast<CombineOp>(rewriter.clone(*op));
      sum.getOutMutable().assign(init);
      sum->getResult(0).setType(init.getType());
      Value rounded =
          castInto<arith::TruncFOp>(rewriter, loc, sum->getResult(0), out);
      rewriter.replaceOp(op, rounded);
    });
  }
};
} // namespace
