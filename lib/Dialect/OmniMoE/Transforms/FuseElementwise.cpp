//===- FuseElementwise.cpp - The pass omnimoe-fuse-elementwise ------------===//

#include "ElementwiseChain.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_FUSEELEMENTWISEPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// What `op` rounds to a narrower type and does nothing else to; null if it is
/// not such an operation.
static Value getRounded(Operation *op) {
  auto generic = dyn_cast_or_null<linalg::GenericOp>(op);
  if (!generic || !omnimoe::isElementwise(generic) ||
      generic.getNumDpsInputs() != 1)
    return nullptr;
  auto round = dyn_cast<arith::TruncFOp>(generic.getBody()->front());
  bool isAll = round && round.getIn() == generic.getBody()->getArgument(0) &&
               round->getNextNode() == generic.getBody()->getTerminator();
  return isAll ? generic.getDpsInputs().front() : Value();
}

static bool isProduct(Value value) {
  Operation *op = value.getDefiningOp();
  if (Value rounded = getRounded(op))
    op = rounded.getDefiningOp();
  return op && matchMatrixProduct(op);
}

/// True if the tile of a product will read what `use` reads, which another
/// operation than a product has summed and rounded.
static bool isReadByProduct(OpOperand &use) {
  Value rounded = getRounded(use.get().getDefiningOp());
  Operation *sum = rounded ? rounded.getDefiningOp() : nullptr;
  return sum && !omnimoe::isElementwise(sum) && !isProduct(rounded) &&
         llvm::any_of(use.getOwner()->getOperands(), [&](Value other) {
           return other != use.get() && isProduct(other);
         });
}

namespace {
struct FuseElementwisePass
    : omnimoe::impl::FuseElementwisePassBase<FuseElementwisePass> {
  void runOnOperation() override {
    MLIRContext *context = &getContext();
    auto mayFuse = [](OpOperand *use) {
      Operation *producer = use->get().getDefiningOp();
      return producer && producer->hasOneUse() && !isReadByProduct(*use);
    };
    RewritePatternSet patterns(context);
    linalg::populateElementwiseOpsFusionPatterns(patterns, mayFuse);
    linalg::populateFoldReshapeOpsByExpansionPatterns(patterns, mayFuse);
    linalg::populateConstantFoldLinalgOperations(patterns, mayFuse);
    affine::AffineApplyOp::getCanonicalizationPatterns(patterns, context);
    linalg::GenericOp::getCanonicalizationPatterns(patterns, context);
    tensor::ExpandShapeOp::getCanonicalizationPatterns(patterns, context);
    tensor::CollapseShapeOp::getCanonicalizationPatterns(patterns, context);
    context->getLoadedDialect<linalg::LinalgDialect>()
        ->getCanonicalizationPatterns(patterns);
    // As upstream's pass does: what comes first in the program is fused first.
    (void)applyPatternsGreedily(getOperation(), std::move(patterns),
                                GreedyRewriteConfig().setUseTopDownTraversal());
  }
};
} // namespace
