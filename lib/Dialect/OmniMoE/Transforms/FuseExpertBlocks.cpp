//===- FuseExpertBlocks.cpp - One kernel for an expert-centric block ------===//

#include "ElementwiseChain.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/PatternMatch.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_FUSEEXPERTBLOCKSPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// True if nothing but `user` needs the result of `op`.
static bool isOnlyFor(Operation *op, Operation *user) {
  return op->getBlock() == user->getBlock() &&
         llvm::all_of(op->getUsers(),
                      [&](Operation *other) { return other == user; });
}

/// What computes the coefficients of `combine` from products of the same
/// dispatch, in order, or nothing.
static SmallVector<Operation *> getProducers(CombineOp combine) {
  Operation *last = combine.getCoefficients().getDefiningOp();
  auto isProducts = [&](Operation *op, Operation *user) {
    auto matmul = dyn_cast_or_null<GroupedMatmulOp>(op);
    return matmul && isOnlyFor(op, user) &&
           matmul.getDispatch() == combine.getDispatch();
  };
  if (isProducts(last, combine))
    return {last};
  auto payload = dyn_cast_or_null<linalg::GenericOp>(last);
  if (!payload || !omnimoe::isElementwise(payload) ||
      payload->getNumResults() != 1 || !isOnlyFor(payload, combine))
    return {};
  for (Value input : payload.getInputs())
    if (isProducts(input.getDefiningOp(), payload))
      return {input.getDefiningOp(), payload};
  return {};
}

namespace {
struct FuseExpertBlocksPass
    : omnimoe::impl::FuseExpertBlocksPassBase<FuseExpertBlocksPass> {
  void runOnOperation() override {
    SmallVector<CombineOp> combines;
    getOperation().walk([&](CombineOp op) {
      if (op.isToTokens() && op.isDispatched() && op->getNumResults() == 1)
        combines.push_back(op);
    });
    IRRewriter rewriter(&getContext());
    for (CombineOp combine : combines) {
      SmallVector<Operation *> ops = getProducers(combine);
      if (ops.empty())
        continue;
      rewriter.setInsertionPoint(combine);
      auto region = scf::ExecuteRegionOp::create(rewriter, combine.getLoc(),
                                                 combine->getResultTypes(),
                                                 /*no_inline=*/true);
      Block *body = rewriter.createBlock(&region.getRegion());
      rewriter.replaceAllUsesWith(combine->getResults(), region.getResults());
      ops.push_back(combine);
      for (Operation *op : ops)
        rewriter.moveOpBefore(op, body, body->end());
      rewriter.setInsertionPointToEnd(body);
      scf::YieldOp::create(rewriter, combine.getLoc(), combine->getResults());
      ++numFused;
    }
  }
};
} // namespace
