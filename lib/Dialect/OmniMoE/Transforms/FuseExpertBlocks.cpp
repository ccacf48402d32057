//===- FuseExpertBlocks.cpp - One kernel for an expert-centric block ------===//
//
// What products are needed for besides the coefficients, such as a gradient,
// gets them as a second result of the region.
//
//===----------------------------------------------------------------------===//

#include "ElementwiseChain.h"
#include "ExpertBlock.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/PatternMatch.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"
#include "llvm/ADT/SetVector.h"

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

/// True if whatever needs the result of `op` besides `user` can do so behind
/// `last`: it comes later, or only stores it.
static bool canBeKept(Operation *op, Operation *user, Operation *last) {
  return op->getBlock() == last->getBlock() &&
         llvm::all_of(op->getUsers(), [&](Operation *other) {
           Operation *above = last->getBlock()->findAncestorOpInBlock(*other);
           return other == user ||
                  (above &&
                   (last->isBeforeInBlock(above) ||
                    isa<bufferization::MaterializeInDestinationOp>(other)));
         });
}

/// What computes the coefficients of `combine` from products of the same
/// dispatch, in order, or nothing.
static SmallVector<Operation *> getProducers(CombineOp combine) {
  Operation *last = combine.getCoefficients().getDefiningOp();
  auto isProducts = [&](Operation *op, Operation *user) {
    auto matmul = dyn_cast_or_null<GroupedMatmulOp>(op);
    if (!matmul || matmul.getDispatch() != combine.getDispatch())
      return false;
    // Those of a wide expert are not kept.
    bool isWide =
        cast<ShapedType>(matmul.getWeights().getType()).getRank() == 3;
    return isWide ? isOnlyFor(op, user) : canBeKept(op, user, combine);
  };
  if (isProducts(last, combine))
    return {last};
  auto payload = dyn_cast_or_null<linalg::GenericOp>(last);
  if (!payload || !omnimoe::isElementwise(payload) ||
      payload->getNumResults() != 1 || !isOnlyFor(payload, combine))
    return {};
  llvm::SetVector<Operation *> producers;
  for (Value input : payload.getInputs())
    if (isProducts(input.getDefiningOp(), payload) &&
        (producers.empty() ||
         areGatedProducts(cast<GroupedMatmulOp>(producers.front()),
                          cast<GroupedMatmulOp>(input.getDefiningOp()))))
      producers.insert(input.getDefiningOp());
  if (!producers.empty())
    producers.insert(payload);
  return producers.takeVector();
}

/// Moves `ops`, the first of which makes products, and `combine` into a region.
static void fuse(RewriterBase &rewriter, SmallVector<Operation *> ops,
                 CombineOp combine) {
  Location loc = combine.getLoc();
  auto matmul = cast<GroupedMatmulOp>(ops.front());
  Operation *user = ops.size() > 1 ? ops.back() : combine.getOperation();
  SmallVector<Value> results{combine->getResult(0)};
  if (!isOnlyFor(matmul, user)) {
    // The kernel stores products of pairs; those with an expert of nobody are
    // 0.
    rewriter.setInsertionPoint(matmul);
    Type type = getElementTypeOrSelf(matmul.getProducts().getType());
    Value zero =
        arith::ConstantOp::create(rewriter, loc, rewriter.getZeroAttr(type));
    Value zeros =
        linalg::FillOp::create(rewriter, loc, zero, matmul.getProducts())
            .getResult(0);
    rewriter.modifyOpInPlace(
        matmul, [&] { matmul.getProductsMutable().assign(zeros); });
    matmul->setAttr(kKeptProductsAttrName, rewriter.getUnitAttr());
    results.push_back(matmul->getResult(0));
  }
  rewriter.setInsertionPoint(combine);
  auto region = scf::ExecuteRegionOp::create(
      rewriter, loc, ValueRange(results).getTypes(), /*no_inline=*/true);
  SmallVector<Operation *> early;
  for (auto [result, kept] : llvm::zip_equal(results, region.getResults())) {
    for (Operation *other : result.getUsers())
      if (!llvm::is_contained(ops, other) && other != combine &&
          other->isBeforeInBlock(combine))
        early.push_back(other);
    rewriter.replaceUsesWithIf(result, kept, [&](OpOperand &use) {
      return !llvm::is_contained(ops, use.getOwner()) &&
             use.getOwner() != combine;
    });
  }
  for (Operation *store : early)
    rewriter.moveOpAfter(store, region);
  Block *body = rewriter.createBlock(&region.getRegion());
  // Zeros that sums start from are the kernels' to write.
  if (auto fill = combine.getOut().getDefiningOp<linalg::FillOp>();
      fill && matchPattern(fill.value(), m_AnyZeroFloat())) {
    rewriter.setInsertionPoint(fill);
    auto own = cast<linalg::FillOp>(rewriter.clone(*fill));
    rewriter.modifyOpInPlace(
        combine, [&] { combine.getOutMutable().assign(own.getResult(0)); });
    if (fill->use_empty())
      rewriter.eraseOp(fill);
    ops.push_back(own);
  }
  ops.push_back(combine);
  for (Operation *op : ops)
    rewriter.moveOpBefore(op, body, body->end());
  rewriter.setInsertionPointToEnd(body);
  scf::YieldOp::create(rewriter, loc, results);
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
      fuse(rewriter, ops, combine);
      ++numFused;
    }
  }
};
} // namespace
