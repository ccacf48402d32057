//===- SelectSchedule.cpp - Write schedules into the IR -------------------===//
//
// 1. Find the expert blocks: a combine to tokens, what feeds it back to the
//    grouped_matmul, and the element-wise operations that follow.
// 2. Ask the cost model for the best schedule over the range of T and cut the
//    range where the answer changes (`Version`).
// 3. Write the schedule; with several versions, clone the block under scf.if.
//
//===----------------------------------------------------------------------===//

#include "ElementwiseChain.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_SELECTSCHEDULEPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// Numbers of tokens the best schedule is looked for at: powers of two up to
/// here. Beyond, the last answer holds.
static constexpr int64_t kMaxProbedTokens = 1 << 17;
/// Another version must win by this factor to be worth its code.
static constexpr double kVersionGain = 1.1;
/// Tokens of a tile that has few columns: one for each warp of a small block.
static constexpr int64_t kSlicedTokens = 4;
/// T at which an unbounded range's estimates are reported.
static constexpr int64_t kReportedTokens = 1024;

namespace {
/// A combine to tokens with what feeds it and the element-wise operations that
/// follow, producers first. The last operation either has the block's result or
/// writes it to where the caller wants it.
struct ExpertBlock {
  CombineOp combine;
  GroupedMatmulOp matmul;
  SmallVector<Operation *> ops;
  /// What stores the products, as a gradient needs them; null if nothing does.
  Operation *save = nullptr;
  Operation *getLast() const { return ops.back(); }
};

/// One schedule and the tokens, [min, max), that it serves.
struct Version {
  int64_t minTokens;
  int64_t maxTokens;
  ScheduleAttr schedule;
  SmallVector<ScheduleEstimate> estimates;
  int64_t estimatedTokens; ///< the T that the estimates are for
};
} // namespace

static bool isStore(Operation *op) {
  return isa<bufferization::MaterializeInDestinationOp>(op) &&
         op->getNumResults() == 0;
}

/// Walks from the combine's coefficients back through element-wise operations
/// to the one grouped_matmul on the same experts.
static std::optional<ExpertBlock> matchBlock(CombineOp combine) {
  if (!combine.isToTokens() || combine.getSchedule() ||
      combine->getNumResults() == 0)
    return std::nullopt;
  ExpertBlock block;
  block.combine = combine;
  llvm::SetVector<Operation *> feeding;
  feeding.insert(combine);
  auto add = [&](Value value) {
    Operation *op = value.getDefiningOp();
    if (!op || op->getBlock() != combine->getBlock())
      return;
    if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
      if (matmul.getExperts() == combine.getExperts() && !block.matmul) {
        block.matmul = matmul;
        feeding.insert(op);
      }
      return;
    }
    auto generic = dyn_cast<linalg::GenericOp>(op);
    if (generic && generic.getNumReductionLoops() == 0)
      feeding.insert(op);
  };
  add(combine.getCoefficients());
  if (auto fill = combine.getOut().getDefiningOp<linalg::FillOp>())
    if (fill->getBlock() == combine->getBlock())
      feeding.insert(fill);
  for (unsigned i = 1; i < feeding.size(); ++i)
    if (auto generic = dyn_cast<linalg::GenericOp>(feeding[i]))
      for (Value input : generic.getInputs())
        add(input);
  if (!block.matmul || block.matmul.getSchedule())
    return std::nullopt;
  // What something else needs as well has a tile of its own, and is not to be
  // computed once more for every version.
  for (Operation *op : ArrayRef(feeding.getArrayRef()).drop_front())
    for (Operation *user : op->getUsers()) {
      if (feeding.contains(user) || isa<tensor::DimOp>(user))
        continue;
      if (op != block.matmul || block.save || !isStore(user) ||
          user->getBlock() != op->getBlock())
        return std::nullopt;
      block.save = user;
    }
  block.ops = feeding.takeVector();
  llvm::sort(block.ops,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  llvm::append_range(block.ops, getElementwiseChain(combine));
  Operation *last = block.getLast();
  if (last->hasOneUse()) {
    Operation *user = *last->user_begin();
    if (isStore(user) && user->getBlock() == last->getBlock())
      block.ops.push_back(user);
  }
  return block;
}

/// True if a kernel of a GPU can keep the products of `block` in registers
/// until they are coefficients: one operation makes these, of the values of a
/// pair.
static bool mayFuse(const ExpertBlock &block) {
  GroupedMatmulOp matmul = block.matmul;
  CombineOp combine = block.combine;
  Type type = getElementTypeOrSelf(matmul.getX().getType());
  if (getElementTypeOrSelf(matmul.getWeights().getType()) != type ||
      getElementTypeOrSelf(combine.getVectors().getType()) != type ||
      !getElementTypeOrSelf(combine.getOut().getType()).isF32() ||
      cast<ShapedType>(matmul.getWeights().getType()).getRank() != 2 ||
      !canGroupOnTensorCores(type, matmul.getExpertWidth(),
                             matmul.getHiddenSize(), /*groupSize=*/1))
    return false;
  Operation *last = combine.getCoefficients().getDefiningOp();
  if (last == matmul)
    return true;
  auto payload = dyn_cast<linalg::GenericOp>(last);
  return payload && payload->getNumResults() == 1 &&
         !payload.hasIndexSemantics() &&
         llvm::is_contained(payload.getInputs(), matmul->getResult(0)) &&
         llvm::all_of(payload.getIndexingMapsArray(), [](AffineMap map) {
           return map.isProjectedPermutation();
         });
}

/// The shapes of a grouped_matmul or combine whose expert vectors are
/// `vectors`.
template <typename OpTy>
static ExpertBlockShape getShape(OpTy op, Value vectors) {
  int64_t columns = 0;
  if (auto route = op.getExperts().template getDefiningOp<RouteOp>())
    if (route.getNumRows() * route.getNumCols() == op.getNumExperts())
      columns = route.getNumCols();
  unsigned bits =
      getElementTypeOrSelf(vectors.getType()).getIntOrFloatBitWidth();
  return {op.getNumExperts(), op.getExpertWidth(),
          op.getHiddenSize(), op.getTopK(),
          bits / 8,           columns};
}

namespace {
struct SelectSchedulePass
    : omnimoe::impl::SelectSchedulePassBase<SelectSchedulePass> {
  using SelectSchedulePassBase::SelectSchedulePassBase;

  /// The estimate to use for `tokens`: the forced schedule or the cheapest.
  const ScheduleEstimate *choose(ArrayRef<ScheduleEstimate> estimates) {
    const ScheduleEstimate *best = nullptr;
    for (const ScheduleEstimate &estimate : estimates) {
      if (forced) {
        if (estimate.schedule.getKind() == *forced)
          return &estimate;
      } else if (!best || estimate.seconds < best->seconds) {
        best = &estimate;
      }
    }
    return best;
  }

  /// Cuts the range of T where the best schedule changes by enough.
  SmallVector<Version> getVersions(const ExpertBlock &block) {
    GroupedMatmulOp matmul = block.matmul;
    ExpertBlockShape shape = getShape(matmul, matmul.getWeights());
    shape.mayFuse = !deterministic && mayFuse(block);
    int64_t staticTokens =
        cast<ShapedType>(matmul.getExperts().getType()).getDimSize(0);
    auto estimate = [&](int64_t tokens) {
      return estimateSchedules(&getContext(), shape, tokens, target, units);
    };
    SmallVector<Version> versions;
    if (!ShapedType::isDynamic(staticTokens)) {
      auto estimates = estimate(staticTokens);
      if (const ScheduleEstimate *best = choose(estimates))
        versions.push_back(
            {0, ShapedType::kDynamic, best->schedule, estimates, staticTokens});
      return versions;
    }
    for (int64_t tokens = 1; tokens <= kMaxProbedTokens; tokens *= 2) {
      auto estimates = estimate(tokens);
      const ScheduleEstimate *best = choose(estimates);
      if (!best)
        return {};
      if (versions.empty()) {
        versions.push_back(
            {0, ShapedType::kDynamic, best->schedule, estimates, tokens});
        continue;
      }
      Version &last = versions.back();
      if (best->schedule == last.schedule)
        continue;
      // What the last version would take here, with the tile it has.
      std::optional<double> same =
          estimateSchedule(last.schedule, shape, tokens, target, units);
      if (same && *same < kVersionGain * best->seconds)
        continue;
      last.maxTokens = tokens;
      versions.push_back(
          {tokens, ShapedType::kDynamic, best->schedule, estimates, tokens});
    }
    // The common case is reported at a common size.
    if (versions.size() == 1) {
      Version &only = versions.front();
      only.estimates = estimate(kReportedTokens);
      only.estimatedTokens = kReportedTokens;
      only.schedule = choose(only.estimates)->schedule;
    }
    return versions;
  }

  bool anyGrouped(ArrayRef<Version> versions) {
    return target.isGPU() && llvm::any_of(versions, [](const Version &version) {
             return version.schedule.getKind() == ScheduleKind::ExpertCentric;
           });
  }

  static void setSchedule(Operation *op, ScheduleAttr schedule) {
    if (auto matmul = dyn_cast<GroupedMatmulOp>(op))
      matmul.setScheduleAttr(schedule);
    else if (auto combine = dyn_cast<CombineOp>(op))
      combine.setScheduleAttr(schedule);
  }

  /// An operation in no block, such as a product whose values are a result,
  /// takes the schedule that suits a common number of tokens.
  template <typename OpTy> LogicalResult scheduleAlone(OpTy op, Value vectors) {
    auto estimates = estimateSchedules(&getContext(), getShape(op, vectors),
                                       kReportedTokens, target, units);
    const ScheduleEstimate *best = choose(estimates);
    // A GPU has some schedules for whole blocks only; what is alone, as in the
    // gradient of one, then takes the best there is.
    if (!best && target.isGPU() && forced == ScheduleKind::ExpertCentric)
      best = &estimates.front();
    if (!best)
      return refuse(op);
    ScheduleAttr chosen = best->schedule;
    if (isa<CombineOp>(op) && chosen.getPairSplit() == 1)
      if (int64_t columns =
              chooseColumnTile(getShape(op, vectors), kReportedTokens, target))
        chosen = ScheduleAttr::get(&getContext(), chosen.getKind(),
                                   chosen.getGroupSize(), kSlicedTokens,
                                   /*pair_split=*/1, columns);
    op.setScheduleAttr(chosen);
    return success();
  }

  /// True if products are best computed expert by expert: then the table is
  /// read once, not once a pair. That takes a dispatch, unless a sum to experts
  /// needs it anyway; if it reads the same tokens, these are read once for
  /// both.
  bool suitsExperts(GroupedMatmulOp matmul) {
    ExpertBlockShape shape = getShape(matmul, matmul.getWeights());
    if (!mayGoByExpert(shape, target) ||
        getElementTypeOrSelf(matmul.getX().getType()) !=
            getElementTypeOrSelf(matmul.getWeights().getType()))
      return false;
    return chooseColumnTile(shape, kReportedTokens, target) ||
           llvm::any_of(matmul.getX().getUsers(), [&](Operation *user) {
             auto combine = dyn_cast<CombineOp>(user);
             return combine && !combine.isToTokens() &&
                    combine->getBlock() == matmul->getBlock() &&
                    combine.getVectors() == matmul.getX() &&
                    combine.getExperts() == matmul.getExperts() &&
                    combine.getNumExperts() == matmul.getNumExperts();
           });
  }

  /// One group for each expert.
  ScheduleAttr getByExpert() {
    return ScheduleAttr::get(&getContext(), ScheduleKind::ExpertCentric,
                             /*groupSize=*/1, /*tokenTile=*/0);
  }

  LogicalResult refuse(Operation *op) {
    InFlightDiagnostic error = op->emitOpError("schedule '")
                               << schedule << "' is not available on target '"
                               << target.getChip() << "'";
    if (target.isGPU() && forced == ScheduleKind::ExpertCentric)
      error << (deterministic
                    ? " for deterministic results: it adds to tokens in no "
                      "fixed order"
                    : " here: it takes tokens and vectors of one type, f16 or "
                      "bf16, atomic experts, a hidden size that is a multiple "
                      "of 64, and coefficients made of values of a pair");
    return error;
  }

  LogicalResult scheduleRest() {
    WalkResult result = getOperation().walk([&](Operation *op) -> WalkResult {
      if (op->getNumResults() == 0)
        return success();
      if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
        if (matmul.getSchedule() || matmul.isDispatched())
          return success();
        if (!forced && suitsExperts(matmul))
          matmul.setScheduleAttr(getByExpert());
        else
          return scheduleAlone(matmul, matmul.getWeights());
      } else if (auto combine = dyn_cast<CombineOp>(op)) {
        if (combine.getSchedule() || combine.isDispatched())
          return success();
        if (combine.isToTokens())
          return scheduleAlone(combine, combine.getVectors());
        // Expert by expert: every row is written once, by one thread.
        combine.setScheduleAttr(getByExpert());
      }
      return success();
    });
    return failure(result.wasInterrupted());
  }

  /// Clones the block for each version under a chain of scf.if on T and returns
  /// its result, if it has one.
  ValueRange emitVersions(RewriterBase &rewriter, const ExpertBlock &block,
                          Value tokens, ArrayRef<Version> versions) {
    Operation *last = block.getLast();
    Location loc = last->getLoc();
    if (versions.size() == 1) {
      IRMapping mapping;
      for (Operation *op : block.ops)
        setSchedule(rewriter.clone(*op, mapping), versions.front().schedule);
      return rewriter.getInsertionPoint()->getPrevNode()->getResults();
    }
    Value limit = arith::ConstantIndexOp::create(rewriter, loc,
                                                 versions.front().maxTokens);
    Value isFirst = arith::CmpIOp::create(
        rewriter, loc, arith::CmpIPredicate::slt, tokens, limit);
    auto ifOp = scf::IfOp::create(rewriter, loc, last->getResultTypes(),
                                  isFirst, /*addThenBlock=*/true,
                                  /*addElseBlock=*/true);
    OpBuilder::InsertionGuard guard(rewriter);
    auto emitBranch = [&](Block *branch, ArrayRef<Version> branchVersions) {
      rewriter.setInsertionPointToEnd(branch);
      auto yield = scf::YieldOp::create(rewriter, loc);
      rewriter.setInsertionPoint(yield);
      ValueRange results =
          emitVersions(rewriter, block, tokens, branchVersions);
      rewriter.modifyOpInPlace(
          yield, [&] { yield.getResultsMutable().assign(results); });
    };
    emitBranch(ifOp.thenBlock(), versions.take_front());
    emitBranch(ifOp.elseBlock(), versions.drop_front());
    return ifOp.getResults();
  }

  Attribute describe(const Version &version) {
    Builder builder(&getContext());
    NamedAttrList estimates;
    for (const ScheduleEstimate &estimate : version.estimates)
      estimates.append(stringifyScheduleKind(estimate.schedule.getKind()),
                       builder.getF64FloatAttr(estimate.seconds));
    SmallVector<NamedAttribute> entries = {
        builder.getNamedAttr(
            "schedule", builder.getStringAttr(
                            stringifyScheduleKind(version.schedule.getKind()))),
        builder.getNamedAttr("min_tokens",
                             builder.getI64IntegerAttr(version.minTokens)),
        builder.getNamedAttr(
            "max_tokens",
            builder.getI64IntegerAttr(ShapedType::isDynamic(version.maxTokens)
                                          ? -1
                                          : version.maxTokens)),
        builder.getNamedAttr("estimates",
                             estimates.getDictionary(&getContext())),
        builder.getNamedAttr(
            "tokens", builder.getI64IntegerAttr(version.estimatedTokens)),
    };
    if (int64_t split = version.schedule.getPairSplit(); split > 1)
      entries.push_back(
          builder.getNamedAttr("pair_split", builder.getI64IntegerAttr(split)));
    return builder.getDictionaryAttr(entries);
  }

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (schedule != "auto") {
      forced = symbolizeScheduleKind(schedule);
      if (!forced) {
        module.emitError("unknown schedule '")
            << schedule << "', expected auto, token_centric, expert_centric, "
            << "dense or hybrid";
        return signalPassFailure();
      }
    }
    target = getTarget(module);
    units = threads > 0 ? threads : target.getUnits();

    SmallVector<CombineOp> combines;
    module.walk([&](CombineOp combine) { combines.push_back(combine); });
    SmallVector<Attribute> descriptions;
    IRRewriter rewriter(&getContext());
    for (CombineOp combine : combines) {
      // Matched one by one, since a block may take in what follows another.
      std::optional<ExpertBlock> match = matchBlock(combine);
      if (!match)
        continue;
      ExpertBlock &block = *match;
      SmallVector<Version> versions = getVersions(block);
      // Products that are saved are in memory anyway, unless one kernel
      // computes all of the block: each operation is then scheduled by itself.
      if (block.save && !anyGrouped(versions))
        continue;
      if (versions.empty()) {
        (void)refuse(block.combine);
        return signalPassFailure();
      }
      for (const Version &version : versions)
        descriptions.push_back(describe(version));
      ++numBlocks;
      numVersions += versions.size();
      if (versions.size() == 1) {
        for (Operation *op : block.ops)
          setSchedule(op, versions.front().schedule);
        continue;
      }
      Operation *last = block.getLast();
      if (block.save) {
        rewriter.moveOpBefore(block.save, last);
        block.ops.insert(std::prev(block.ops.end()), block.save);
      }
      rewriter.setInsertionPoint(last);
      Value tokens = tensor::DimOp::create(rewriter, block.combine.getLoc(),
                                           block.combine.getExperts(), 0);
      rewriter.replaceOp(last, emitVersions(rewriter, block, tokens, versions));
      block.ops.pop_back();
      for (Operation *op : llvm::reverse(block.ops))
        if (op == block.save || isOpTriviallyDead(op))
          rewriter.eraseOp(op);
    }
    if (failed(scheduleRest()))
      return signalPassFailure();
    if (!descriptions.empty())
      module->setAttr("omnimoe.schedules", rewriter.getArrayAttr(descriptions));
  }

  TargetAttr target;
  int64_t units = 1;
  std::optional<ScheduleKind> forced;
};
} // namespace
