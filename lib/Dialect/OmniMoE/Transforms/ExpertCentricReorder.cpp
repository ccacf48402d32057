//===- ExpertCentricReorder.cpp - Work expert by expert -------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "llvm/ADT/MapVector.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_EXPERTCENTRICREORDERPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// Creates the dispatch of `experts` right behind their definition, or in front
/// of its `user` if that stands under a branch, which may not be taken.
static DispatchOp createDispatch(RewriterBase &rewriter, Value experts,
                                 Operation *user, const GroupLayout &layout) {
  if (experts.getParentBlock() == user->getBlock())
    rewriter.setInsertionPointAfterValue(experts);
  else
    rewriter.setInsertionPoint(user);
  Location loc = experts.getLoc();
  auto type = cast<RankedTensorType>(experts.getType());

  AffineExpr tokens = rewriter.getAffineSymbolExpr(0);
  OpFoldResult numTokens = tensor::getMixedSize(rewriter, loc, experts, 0);
  auto pairs = affine::makeComposedFoldedAffineApply(
      rewriter, loc, tokens * type.getDimSize(1), {numTokens});
  auto pairsPlusOne = affine::makeComposedFoldedAffineApply(
      rewriter, loc, tokens * type.getDimSize(1) + 1, {numTokens});

  SmallVector<Value> inits;
  for (OpFoldResult size :
       {OpFoldResult(rewriter.getIndexAttr(layout.getNumGroups() + 1)), pairs,
        pairsPlusOne, pairs})
    inits.push_back(tensor::EmptyOp::create(
        rewriter, loc, ArrayRef<OpFoldResult>{size}, rewriter.getI32Type()));
  return DispatchOp::create(rewriter, loc, ValueRange(inits).getTypes(),
                            experts, /*carried=*/ValueRange(), inits[0],
                            inits[1], inits[2], inits[3],
                            /*sorted=*/ValueRange(), layout.numExperts,
                            layout.groupSize, layout.gridColumns);
}

/// Tensor cores meet blocks of all experts as they meet groups; tokens without
/// a choice in a block are left out.
static bool goesByGroup(ScheduleAttr schedule, bool isGPU) {
  return schedule.getKind() == ScheduleKind::ExpertCentric ||
         (isGPU && schedule.getKind() == ScheduleKind::Dense);
}

namespace {
struct ExpertCentricReorderPass
    : omnimoe::impl::ExpertCentricReorderPassBase<ExpertCentricReorderPass> {
  using ExpertCentricReorderPassBase::ExpertCentricReorderPassBase;

  void runOnOperation() override {
    bool isGPU = getTarget(getOperation()->getParentOfType<ModuleOp>()).isGPU();
    IRRewriter rewriter(&getContext());
    using Key = std::tuple<Value, Block *, int64_t, int64_t, int64_t>;
    llvm::MapVector<Key, DispatchOp> dispatches;

    auto reorder = [&](auto op) {
      std::optional<ScheduleAttr> schedule = op.getSchedule();
      auto combine = dyn_cast<CombineOp>(op.getOperation());
      if (onlyToExperts && (!combine || combine.isToTokens()))
        return;
      if (!schedule || !goesByGroup(*schedule, isGPU) || op.isDispatched() ||
          op->getNumResults() == 0)
        return;
      GroupLayout layout{op.getNumExperts(), schedule->getGroupSize(),
                         schedule->getGridColumns()};
      DispatchOp &dispatch =
          dispatches[{op.getExperts(), op->getBlock(), layout.numExperts,
                      layout.groupSize, layout.gridColumns}];
      if (!dispatch) {
        dispatch = createDispatch(rewriter, op.getExperts(), op, layout);
        ++numDispatches;
      }
      rewriter.modifyOpInPlace(
          op, [&] { op.getDispatchMutable().assign(dispatch.getResults()); });
      ++numReordered;
    };
    getOperation().walk([&](Operation *op) {
      if (auto matmul = dyn_cast<GroupedMatmulOp>(op))
        reorder(matmul);
      else if (auto combine = dyn_cast<CombineOp>(op))
        reorder(combine);
    });
  }
};
} // namespace
