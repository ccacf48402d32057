//===- SeparateDestinations.cpp - No two results start from one value -----===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_SEPARATEDESTINATIONSPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// Whether the operation computes its result in place of this operand.
static bool isDestination(OpOperand &use) {
  Operation *op = use.getOwner();
  if (auto loop = dyn_cast<LoopLikeOpInterface>(op))
    return llvm::is_contained(loop.getInits(), use.get());
  auto dps = dyn_cast<DestinationStyleOpInterface>(op);
  return dps && dps.isDpsInit(&use);
}

static void separateEmpty(RewriterBase &rewriter, tensor::EmptyOp empty) {
  for (OpOperand &use : llvm::make_early_inc_range(empty->getUses())) {
    if (!isDestination(use))
      continue;
    rewriter.setInsertionPoint(use.getOwner());
    Value own = rewriter.clone(*empty)->getResult(0);
    rewriter.modifyOpInPlace(use.getOwner(), [&] { use.set(own); });
  }
}

static void separateValue(RewriterBase &rewriter, Value value) {
  Block *block = value.getParentBlock();
  bool isResult = llvm::any_of(value.getUsers(), [](Operation *user) {
    return isa<bufferization::MaterializeInDestinationOp>(user);
  });
  // Uses in the branches of one operation exclude each other.
  SmallVector<OpOperand *> destinations;
  llvm::SmallPtrSet<Operation *, 4> users;
  for (OpOperand &use : value.getUses()) {
    if (!isDestination(use))
      continue;
    destinations.push_back(&use);
    users.insert(block->findAncestorOpInBlock(*use.getOwner()));
  }
  if (users.size() + isResult < 2)
    return;
  Operation *first = isResult ? nullptr : *users.begin();
  for (Operation *user : users)
    if (first && user->isBeforeInBlock(first))
      first = user;
  users.erase(first);
  for (Operation *user : users) {
    rewriter.setInsertionPointAfterValue(value);
    Value copy = bufferization::AllocTensorOp::create(
        rewriter, value.getLoc(), cast<RankedTensorType>(value.getType()),
        /*dynamicSizes=*/ValueRange(), value);
    for (OpOperand *use : destinations)
      if (block->findAncestorOpInBlock(*use->getOwner()) == user)
        rewriter.modifyOpInPlace(use->getOwner(), [&] { use->set(copy); });
  }
}

namespace {
struct SeparateDestinationsPass
    : omnimoe::impl::SeparateDestinationsPassBase<SeparateDestinationsPass> {
  void runOnOperation() override {
    if (getOperation().isExternal())
      return;
    // Arguments are never written, and values in tiles never leave them.
    IRRewriter rewriter(&getContext());
    SmallVector<Value> values;
    for (Operation &op : getOperation().getBody().front())
      for (Value result : op.getResults())
        if (isa<RankedTensorType>(result.getType()) && !result.hasOneUse())
          values.push_back(result);
    for (Value value : values) {
      if (auto empty = value.getDefiningOp<tensor::EmptyOp>())
        separateEmpty(rewriter, empty);
      else
        separateValue(rewriter, value);
    }
  }
};
} // namespace
