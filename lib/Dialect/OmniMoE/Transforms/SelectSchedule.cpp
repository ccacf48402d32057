//===- SelectSchedule.cpp - Write schedules into the IR -------------------===//
//
// 1. Find the expert blocks: a combine to tokens, what feeds it back to the
//    grouped_matmul, and the element-wise operations that follow.
// 2. Take the best schedule over the range of T, by what was measured or else
//    by the cost model, and cut the range where it changes (`Version`).
// 3. Write the schedule; with several versions, clone the block under scf.if.
//
//===----------------------------------------------------------------------===//

#include "ExpertBlock.h"
#include "MeasuredSchedules.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

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
/// As must a blend of two schedules, against one of them.
static constexpr double kBlendGain = 1.015;
/// T at which an unbounded range's estimates are reported.
static constexpr int64_t kReportedTokens = 1024;

namespace {
/// What is known of the schedules for some T.
struct Candidates {
  int64_t tokens;
  SmallVector<ScheduleEstimate> estimates;
  /// With the seconds measured; empty if none was.
  SmallVector<ScheduleEstimate> measured;
};

/// One schedule and the tokens, [min, max), that it serves.
struct Version {
  int64_t minTokens;
  int64_t maxTokens;
  ScheduleAttr schedule;
  Candidates candidates; ///< at a T of the range
  std::string block;
};
} // namespace

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

  /// The forced schedule or the cheapest.
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

  /// The same, by what was measured where something was.
  const ScheduleEstimate *choose(const Candidates &candidates) {
    return choose(forced || candidates.measured.empty() ? candidates.estimates
                                                        : candidates.measured);
  }

  /// The seconds of a schedule that need not be the best of its kind for so
  /// many tokens. Measured are the best: another one is as much slower as the
  /// cost model says.
  std::optional<double> getSeconds(ScheduleAttr schedule,
                                   const Candidates &candidates,
                                   const ExpertBlockShape &shape) {
    std::optional<double> seconds =
        estimateSchedule(schedule, shape, candidates.tokens, target, units);
    if (!seconds || candidates.measured.empty())
      return seconds;
    auto isOfKind = [&](const ScheduleEstimate &estimate) {
      return estimate.schedule.getKind() == schedule.getKind();
    };
    const auto *measured = llvm::find_if(candidates.measured, isOfKind);
    if (measured == candidates.measured.end())
      return std::nullopt;
    const auto *best = llvm::find_if(candidates.estimates, isOfKind);
    return *seconds * measured->seconds / best->seconds;
  }

  /// What is measured are sums in any order. Exact ones take as much longer as
  /// the cost model says.
  double getExactFactor(const ScheduleEstimate &exact,
                        const ExpertBlockShape &shape, int64_t tokens) {
    if (!shape.exact)
      return 1;
    ExpertBlockShape inAnyOrder = shape;
    inAnyOrder.exact = false;
    std::optional<double> seconds =
        estimateSchedule(exact.schedule, inAnyOrder, tokens, target, units);
    return seconds ? exact.seconds / *seconds : 1;
  }

  Candidates getCandidates(int64_t tokens, const ExpertBlockShape &shape,
                           const MeasuredBlock &block) {
    Candidates candidates{
        tokens,
        estimateSchedules(&getContext(), shape, tokens, target, units),
        {}};
    for (const ScheduleEstimate &estimate : candidates.estimates)
      if (auto seconds = block.getSeconds(estimate.schedule.getKind(), tokens))
        candidates.measured.push_back(
            {estimate.schedule,
             *seconds * getExactFactor(estimate, shape, tokens)});
    return candidates;
  }

  /// The best schedule of the most tokens, null if there is none. A blend of
  /// two schedules has to be worth its code.
  ScheduleAttr chooseForMost(const Candidates &candidates,
                             const ExpertBlockShape &shape) {
    const ScheduleEstimate *best = choose(candidates);
    if (!best)
      return {};
    if (forced || best->schedule.getKind() != ScheduleKind::Hybrid)
      return best->schedule;
    const auto *grouped =
        llvm::find_if(candidates.estimates, [](const ScheduleEstimate &other) {
          return other.schedule.getKind() == ScheduleKind::ExpertCentric;
        });
    if (grouped == candidates.estimates.end())
      return best->schedule;
    std::optional<double> seconds =
        getSeconds(grouped->schedule, candidates, shape);
    return seconds && *seconds < kBlendGain * best->seconds ? grouped->schedule
                                                            : best->schedule;
  }

  /// Cuts the range of T where the best schedule changes by enough.
  SmallVector<Version> getVersions(const ExpertBlock &block) {
    GroupedMatmulOp matmul = block.matmuls.front();
    ExpertBlockShape shape = getShape(matmul, matmul.getWeights());
    shape.products = block.matmuls.size();
    shape.mayFuse = mayFuse(block) && (!deterministic || mayBeExact(block));
    shape.exact = deterministic;
    shape.keepsProducts = block.save;
    std::string name = getBlockName(
        shape, getElementTypeOrSelf(matmul.getWeights()), block.gated);
    const MeasuredBlock known = measuredSchedules.lookup(name);
    int64_t staticTokens =
        cast<ShapedType>(matmul.getExperts().getType()).getDimSize(0);
    SmallVector<Version> versions;
    if (!ShapedType::isDynamic(staticTokens)) {
      Candidates candidates = getCandidates(staticTokens, shape, known);
      if (const ScheduleEstimate *best = choose(candidates))
        versions.push_back(
            {0, ShapedType::kDynamic, best->schedule, candidates, name});
      return versions;
    }
    SmallVector<int64_t> probed = known.getTokens();
    for (int64_t tokens = 1; tokens <= kMaxProbedTokens; tokens *= 2)
      probed.push_back(tokens);
    llvm::sort(probed);
    // What many tokens take, a new version takes too if that is about as good:
    // it need not end then.
    ScheduleAttr ofMost =
        chooseForMost(getCandidates(probed.back(), shape, known), shape);
    if (!ofMost)
      return {};
    auto isAboutAsGood = [&](ScheduleAttr schedule,
                             const Candidates &candidates,
                             const ScheduleEstimate *best) {
      std::optional<double> seconds = getSeconds(schedule, candidates, shape);
      return seconds && *seconds < kVersionGain * best->seconds;
    };
    for (int64_t tokens : probed) {
      Candidates candidates = getCandidates(tokens, shape, known);
      const ScheduleEstimate *best = choose(candidates);
      if (!best)
        return {};
      ScheduleAttr chosen =
          isAboutAsGood(ofMost, candidates, best) ? ofMost : best->schedule;
      if (versions.empty()) {
        versions.push_back({0, ShapedType::kDynamic, chosen, candidates, name});
        continue;
      }
      Version &last = versions.back();
      // The last version with the tile that it has.
      if (best->schedule == last.schedule ||
          isAboutAsGood(last.schedule, candidates, best)) {
        // A range is reported at a T that was measured, if it has one.
        if (last.candidates.measured.empty() && !candidates.measured.empty())
          last.candidates = candidates;
        continue;
      }
      last.maxTokens = tokens;
      versions.push_back(
          {tokens, ShapedType::kDynamic, chosen, candidates, name});
    }
    // The common case is reported at a common size.
    if (versions.size() == 1) {
      Version &only = versions.front();
      only.candidates = getCandidates(kReportedTokens, shape, known);
      only.schedule = choose(only.candidates)->schedule;
    }
    return versions;
  }

  bool anyGrouped(ArrayRef<Version> versions) {
    return target.isGPU() && llvm::any_of(versions, [](const Version &version) {
             return version.schedule.getKind() != ScheduleKind::TokenCentric;
           });
  }

  /// Columns are those of a sum, in whose tiles products are not then.
  ScheduleAttr ofProducts(ScheduleAttr schedule) {
    if (!schedule.getColumnTile())
      return schedule;
    return ScheduleAttr::get(&getContext(), schedule.getKind(),
                             schedule.getGroupSize(), /*tokenTile=*/1);
  }

  void setSchedule(Operation *op, ScheduleAttr schedule) {
    if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
      matmul.setScheduleAttr(ofProducts(schedule));
    } else if (auto combine = dyn_cast<CombineOp>(op)) {
      combine.setScheduleAttr(schedule);
      if (deterministic && target.isGPU() &&
          schedule.getKind() != ScheduleKind::TokenCentric)
        combine->setAttr(kExactSumsAttrName, UnitAttr::get(&getContext()));
    }
  }

  /// An operation in no block, such as a product whose values are a result,
  /// takes the schedule that suits a common number of tokens.
  template <typename OpTy> void scheduleAlone(OpTy op, Value vectors) {
    auto estimates = estimateSchedules(&getContext(), getShape(op, vectors),
                                       kReportedTokens, target, units);
    const ScheduleEstimate *best = choose(estimates);
    // Some schedules are for whole blocks only; what is alone, as in the
    // gradient of one, then goes token by token.
    if (!best || best->schedule.getKind() == ScheduleKind::Hybrid)
      best = &estimates.front();
    ScheduleAttr chosen = best->schedule;
    if (isa<CombineOp>(op) && chosen.getPairSplit() == 1)
      if (int64_t columns =
              chooseColumnTile(getShape(op, vectors), kReportedTokens, target))
        chosen = ScheduleAttr::get(&getContext(), chosen.getKind(),
                                   chosen.getGroupSize(), kSlicedTokens,
                                   /*pair_split=*/1, columns);
    op.setScheduleAttr(isa<CombineOp>(op) ? chosen : ofProducts(chosen));
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
    if (!target.isGPU())
      return error;
    if (deterministic && forced == ScheduleKind::Hybrid)
      return error << " for deterministic results: it adds to tokens in no "
                      "fixed order";
    error << " here: it takes tokens and vectors of one type, f16 or bf16, a "
             "hidden size that is a multiple of 64, coefficients made of "
             "values of a pair, and, but for expert_centric, atomic experts";
    if (deterministic)
      error << "; for deterministic results, atomic experts, and sums that "
               "start from zeros, of "
            << kMostExactChoices << " choices at most";
    return error;
  }

  void scheduleRest() {
    getOperation().walk([&](Operation *op) {
      if (op->getNumResults() == 0)
        return;
      if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
        if (matmul.getSchedule() || matmul.isDispatched())
          return;
        if (!forced && suitsExperts(matmul))
          matmul.setScheduleAttr(getByExpert());
        else
          scheduleAlone(matmul, matmul.getWeights());
      } else if (auto combine = dyn_cast<CombineOp>(op)) {
        if (combine.getSchedule() || combine.isDispatched())
          return;
        if (combine.isToTokens())
          scheduleAlone(combine, combine.getVectors());
        else // Expert by expert: every row is written once, by one thread.
          combine.setScheduleAttr(getByExpert());
      }
    });
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
    auto list = [&](ArrayRef<ScheduleEstimate> estimates) {
      NamedAttrList seconds;
      for (const ScheduleEstimate &estimate : estimates)
        seconds.append(stringifyScheduleKind(estimate.schedule.getKind()),
                       builder.getF64FloatAttr(estimate.seconds));
      return seconds.getDictionary(&getContext());
    };
    SmallVector<NamedAttribute> entries = {
        builder.getNamedAttr("block", builder.getStringAttr(version.block)),
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
        builder.getNamedAttr("estimates", list(version.candidates.estimates)),
        builder.getNamedAttr(
            "tokens", builder.getI64IntegerAttr(version.candidates.tokens)),
    };
    if (!version.candidates.measured.empty())
      entries.push_back(
          builder.getNamedAttr("measured", list(version.candidates.measured)));
    if (int64_t split = version.schedule.getPairSplit(); split > 1)
      entries.push_back(
          builder.getNamedAttr("pair_split", builder.getI64IntegerAttr(split)));
    if (int64_t columns = version.schedule.getColumnTile())
      entries.push_back(builder.getNamedAttr(
          "column_tile", builder.getI64IntegerAttr(columns)));
    if (int64_t columns = version.schedule.getGridColumns())
      entries.push_back(builder.getNamedAttr(
          "grid_columns", builder.getI64IntegerAttr(columns)));
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
    auto parsed =
        parseMeasuredSchedules(measured, [&] { return module.emitError(); });
    if (failed(parsed))
      return signalPassFailure();
    measuredSchedules = std::move(*parsed);
    target = getTarget(module);
    units = threads > 0 ? threads : target.getUnits();

    SmallVector<CombineOp> combines;
    module.walk([&](CombineOp combine) { combines.push_back(combine); });
    SmallVector<Attribute> descriptions;
    IRRewriter rewriter(&getContext());
    for (CombineOp combine : combines) {
      // Matched one by one, since a block may take in what follows another.
      std::optional<ExpertBlock> match =
          matchExpertBlock(combine, target.isGPU());
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
    scheduleRest();
    if (!descriptions.empty())
      module->setAttr("omnimoe.schedules", rewriter.getArrayAttr(descriptions));
  }

  TargetAttr target;
  MeasuredSchedules measuredSchedules;
  int64_t units = 1;
  std::optional<ScheduleKind> forced;
};
} // namespace
