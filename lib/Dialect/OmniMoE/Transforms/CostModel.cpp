//===- CostModel.cpp - Which schedule is fastest --------------------------===//
//
// P = T * K pairs. The ways move and compute:
//
//   token_centric   2 * P * r rows of D elements, read where they lie, and
//                   P * r more for a gate;
//   dense           4 * T * N * r * D flops, every expert for every token;
//   expert_centric  4 * S * B * r * D flops, S slots of groups of B experts,
//                   plus the gathering of slots and the picking of pairs. On
//                   a GPU wide experts are groups, and pairs are slots;
//   hybrid          the last for the pairs in crowded groups, the first for
//                   the others.
//
// docs/Rationale.md has the measurements the constants come from.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "Workload.h"

#include "omnimoe/Target/Host.h"

using namespace mlir;
using namespace mlir::omnimoe;

//===----------------------------------------------------------------------===//
// Constants of the lowering, not of the machine
//===----------------------------------------------------------------------===//

/// Share of the matrix rate that the blocked products of a tile reach.
static constexpr double kProductEfficiency = 0.75;
/// Share of it that streaming dot products and sums reach from near caches.
static constexpr double kStreamEfficiency = 0.25;
/// Seconds to pick one pair's product out of a block and to put its
/// coefficient into one.
static constexpr double kSecondsPerPair = 6e-9;
/// Seconds to gather, transpose and scatter one element of a slot.
static constexpr double kSecondsPerSlotElement = 0.5e-9;
/// Tokens of a tile of the dense schedule, and slots of a block of the
/// expert-centric one.
static constexpr int64_t kTokenBlock = 64;
/// Tokens that share the vector lanes of one pass over a group's vectors.
static constexpr int64_t kLaneBlock = 32;
/// Tokens of a token-centric tile: few, so that threads finish together.
static constexpr int64_t kTokenCentricTile = 8;
/// Largest group of the expert-centric schedule and block of the dense one.
static constexpr int64_t kMaxGroup = 256;
static constexpr int64_t kMaxDenseBlock = 1024;

static double tokenCentricSeconds(const Workload &w) {
  double bytes = 2 * w.pairs * w.shape.width * w.rowBytes();
  double flops = 4 * w.pairs * w.shape.width * w.shape.hiddenSize;
  double seconds = std::max(bytes / w.streamRate(),
                            flops / (kStreamEfficiency * w.matrixRate()));
  return seconds / w.busyUnits();
}

/// Dense products of `columns` token columns (padded to lanes) with `rows`
/// expert vectors, which arrive from the tables once per pass.
static double productSeconds(const Workload &w, double columns, double rows,
                             double passes) {
  double flops = 4 * columns * rows * w.shape.hiddenSize;
  // Narrow types are widened on the way in.
  double conversion = w.shape.elementBytes == 4 ? 1.0 : 1.4;
  double compute = conversion * flops / (kProductEfficiency * w.matrixRate());
  double stream = 2 * passes * rows * w.rowBytes() / w.streamRate();
  return std::max(compute, stream);
}

static double denseSeconds(const Workload &w) {
  double perTile = std::min<double>(
      kTokenBlock, std::ceil(w.tokens / std::min(w.tokens, w.units)));
  double tiles = std::ceil(w.tokens / perTile);
  double columns = tiles * std::ceil(perTile / kLaneBlock) * kLaneBlock;
  double rows = double(w.shape.numExperts) * w.shape.width;
  double blocks = std::ceil(double(w.shape.numExperts) / kMaxDenseBlock);
  return (productSeconds(w, columns, rows, tiles) +
          w.pairs * w.shape.width * kSecondsPerPair * (1 + blocks / 4) /
              w.units +
          w.tokens * w.shape.hiddenSize * kSecondsPerSlotElement / w.units) /
         w.busyUnits();
}

static double expertCentricSeconds(const Workload &w, int64_t groupSize) {
  double groups = std::ceil(double(w.shape.numExperts) / groupSize);
  double slots = w.tokens * groupsPerToken(w.shape, groups);
  double parts = std::min(w.tokens, w.units);
  // A (part, group) that is visited at all works on whole lane blocks.
  double visits = groups * parts * (1 - std::exp(-slots / (groups * parts)));
  double columns =
      std::max(slots + visits * kLaneBlock / 2.0, visits * kLaneBlock);
  double rows = double(groupSize) * w.shape.width;
  return (productSeconds(w, columns, rows, visits) +
          (w.pairs * w.shape.width * kSecondsPerPair * 2 +
           slots * w.shape.hiddenSize * kSecondsPerSlotElement) /
              w.units) /
         w.busyUnits();
}

SmallVector<ScheduleEstimate>
mlir::omnimoe::estimateSchedules(MLIRContext *context,
                                 const ExpertBlockShape &shape, int64_t tokens,
                                 TargetAttr target, int64_t units) {
  double t = std::max<int64_t>(tokens, 1);
  Workload w{shape, t, t * shape.topK, target, double(units)};
  if (target.isGPU())
    return estimateSchedulesOnGPU(context, w);
  SmallVector<ScheduleEstimate> estimates;
  estimates.push_back({ScheduleAttr::get(context, ScheduleKind::TokenCentric,
                                         /*groupSize=*/0, kTokenCentricTile),
                       tokenCentricSeconds(w)});

  // A group is a grid row or an even part of one.
  int64_t row = shape.gridColumns ? shape.gridColumns : shape.numExperts;
  ScheduleEstimate best{nullptr, 0};
  for (int64_t limit = 16; limit <= kMaxGroup; limit *= 2) {
    int64_t groupSize = largestDivisor(row, limit);
    double seconds = expertCentricSeconds(w, groupSize);
    if (!best.schedule || seconds < best.seconds)
      best = {ScheduleAttr::get(context, ScheduleKind::ExpertCentric, groupSize,
                                /*tokenTile=*/0),
              seconds};
  }
  estimates.push_back(best);

  int64_t block = largestDivisor(shape.numExperts, kMaxDenseBlock);
  if (block < kLaneBlock)
    block = std::min(shape.numExperts, kMaxDenseBlock);
  estimates.push_back(
      {ScheduleAttr::get(context, ScheduleKind::Dense, block, kTokenBlock),
       denseSeconds(w)});
  // Its token-centric part passes over the pairs that have no expert there.
  if (!shape.keepsProducts)
    estimates.push_back(
        {ScheduleAttr::get(context, ScheduleKind::Hybrid,
                           best.schedule.getGroupSize(), kTokenCentricTile,
                           /*pairSplit=*/1, /*columnTile=*/0, /*minPairs=*/2),
         tokenCentricSeconds(w) + best.seconds});
  return estimates;
}

std::optional<double>
mlir::omnimoe::estimateSchedule(ScheduleAttr schedule,
                                const ExpertBlockShape &shape, int64_t tokens,
                                TargetAttr target, int64_t units) {
  double t = std::max<int64_t>(tokens, 1);
  Workload w{shape, t, t * shape.topK, target, double(units)};
  if (target.isGPU() && schedule.getKind() == ScheduleKind::TokenCentric)
    return estimateTokenCentricOnGPU(w, schedule);
  if (target.isGPU() && schedule.getKind() == ScheduleKind::ExpertCentric)
    return estimateExpertCentricOnGPU(w, schedule);
  for (const ScheduleEstimate &estimate :
       estimateSchedules(schedule.getContext(), shape, tokens, target, units))
    if (estimate.schedule.getKind() == schedule.getKind())
      return estimate.seconds;
  return std::nullopt;
}

TargetAttr mlir::omnimoe::getTarget(ModuleOp module) {
  if (auto target =
          module->getAttrOfType<TargetAttr>(TargetAttr::kModuleAttrName))
    return target;
  return getHostTarget(module.getContext());
}
