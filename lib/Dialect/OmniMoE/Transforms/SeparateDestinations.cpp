//===- SeparateDestinations.cpp - No two results start from one value -----===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
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

/// The branches of one scf.if exclude each other, and share a tensor: what the
/// scf.if yields is then one buffer, of a known layout.
static void separateEmpty(RewriterBase &rewriter, tensor::EmptyOp empty) {
  llvm::DenseMap<std::pair<Operation *, unsigned>, Value> shared;
  llvm::DenseMap<Region *, unsigned> usesOfBranch;
  for (OpOperand &use : llvm::make_early_inc_range(empty->getUses())) {
    Operation *user = use.getOwner();
    if (!isDestination(use))
      continue;
    Value own;
    Value *place = &own;
    auto choice =
        dyn_cast<scf::IfOp>(empty->getBlock()->findAncestorOpInBlock(*user));
    if (choice) {
      Region *branch =
          choice.getThenRegion().isAncestor(user->getParentRegion())
              ? &choice.getThenRegion()
              : &choice.getElseRegion();
      place = &shared[{choice, usesOfBranch[branch]++}];
    }
    if (!*place) {
      rewriter.setInsertionPoint(choice ? choice : user);
      *place = rewriter.clone(*empty)->getResult(0);
    }
    rewriter.modifyOpInPlace(user, [&] { use.set(*place); });
  }
  if (empty->use_empty())
    rewriter.eraseOp(empty);
}

/// Another value like `value`. To fill anew costs less than to copy.
static Value duplicate(RewriterBase &rewriter, Value value) {
  rewriter.setInsertionPointAfterValue(value);
  if (auto fill = value.getDefiningOp<linalg::FillOp>())
    return rewriter.clone(*fill)->getResult(0);
  return bufferization::AllocTensorOp::create(
      rewriter, value.getLoc(), cast<RankedTensorType>(value.getType()),
      /*dynamicSizes=*/ValueRange(), value);
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
    Value copy = duplicate(rewriter, value);
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
        if (isa<RankedTensorType>(result.getType()))
          values.push_back(result);
    // A fill that is repeated is one more use of what it fills.
    for (Value value : llvm::reverse(values)) {
      if (value.use_empty() || value.hasOneUse())
        continue;
      if (auto empty = value.getDefiningOp<tensor::EmptyOp>())
        separateEmpty(rewriter, empty);
      else
        separateValue(rewriter, value);
    }
  }
};
} // namespace
