//===- PartitionPairs.cpp - Two blocks for a hybrid one -------------------===//
//
// 1. Find each combine whose schedule is hybrid and what feeds its coefficients
//    (`collectProducers`).
// 2. Part its pairs by `omnimoe.partition`.
// 3. Clone the block: the clone sums the rest token by token, and where it ends
//    the block itself goes on with the crowded pairs, expert by expert.
//
//===----------------------------------------------------------------------===//

#include "ExpertBlock.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_PARTITIONPAIRSPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

static bool isHybrid(std::optional<ScheduleAttr> schedule) {
  return schedule && schedule->getKind() == ScheduleKind::Hybrid;
}

static PartitionOp createPartition(RewriterBase &rewriter, CombineOp combine) {
  Value experts = combine.getExperts();
  Location loc = combine.getLoc();
  ScheduleAttr schedule = *combine.getSchedule();
  SmallVector<OpFoldResult> sizes =
      tensor::getMixedSizes(rewriter, loc, experts);
  SmallVector<Value> inits;
  for (int64_t i = 0; i < 2; ++i)
    inits.push_back(tensor::EmptyOp::create(rewriter, loc, sizes,
                                            getElementTypeOrSelf(experts)));
  return PartitionOp::create(
      rewriter, loc, ValueRange(inits).getTypes(), experts, inits[0], inits[1],
      combine.getNumExperts(), schedule.getGroupSize(), schedule.getMinPairs());
}

/// Gives the products and the sum among `ops`, on `experts`, other pairs and
/// another schedule.
static void setPairs(ArrayRef<Operation *> ops, Value experts, Value pairs,
                     ScheduleAttr schedule) {
  auto set = [&](auto op) {
    if (op.getExperts() != experts)
      return;
    op.getExpertsMutable().assign(pairs);
    op.setScheduleAttr(schedule);
  };
  for (Operation *op : ops)
    if (auto matmul = dyn_cast<GroupedMatmulOp>(op))
      set(matmul);
    else if (auto combine = dyn_cast<CombineOp>(op))
      set(combine);
}

static void partition(RewriterBase &rewriter, CombineOp combine) {
  MLIRContext *context = rewriter.getContext();
  ScheduleAttr schedule = *combine.getSchedule();
  Value experts = combine.getExperts();
  SmallVector<Operation *> ops = collectProducers(combine).takeVector();
  llvm::sort(ops,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });

  rewriter.setInsertionPoint(ops.front());
  if (experts.getDefiningOp() &&
      experts.getDefiningOp()->getBlock() == combine->getBlock())
    rewriter.setInsertionPointAfterValue(experts);
  PartitionOp parts = createPartition(rewriter, combine);

  rewriter.setInsertionPoint(combine);
  IRMapping mapping;
  SmallVector<Operation *> clones;
  for (Operation *op : ops)
    clones.push_back(rewriter.clone(*op, mapping));
  setPairs(clones, experts, parts->getResult(1),
           ScheduleAttr::get(context, ScheduleKind::TokenCentric,
                             /*group_size=*/0, schedule.getTokenTile()));
  for (Operation *clone : clones)
    if (isa<GroupedMatmulOp, CombineOp>(clone))
      clone->setAttr(kFewPairsAttrName, rewriter.getUnitAttr());
  setPairs(ops, experts, parts->getResult(0),
           ScheduleAttr::get(context, ScheduleKind::ExpertCentric,
                             schedule.getGroupSize(), /*token_tile=*/0));
  combine.getOutMutable().assign(clones.back()->getResult(0));
}

namespace {
struct PartitionPairsPass
    : omnimoe::impl::PartitionPairsPassBase<PartitionPairsPass> {
  void runOnOperation() override {
    SmallVector<CombineOp> combines;
    getOperation().walk([&](CombineOp combine) {
      if (isHybrid(combine.getSchedule()) && combine.isToTokens() &&
          !combine.isDispatched() && combine->getNumResults())
        combines.push_back(combine);
    });
    IRRewriter rewriter(&getContext());
    for (CombineOp combine : combines) {
      partition(rewriter, combine);
      ++numPartitioned;
    }
    // Products that something else needs as well are those of all pairs.
    getOperation().walk([&](GroupedMatmulOp matmul) {
      if (isHybrid(matmul.getSchedule()) && !matmul.isDispatched())
        matmul.setScheduleAttr(ScheduleAttr::get(
            &getContext(), ScheduleKind::TokenCentric,
            /*group_size=*/0, matmul.getSchedule()->getTokenTile()));
    });
  }
};
} // namespace
