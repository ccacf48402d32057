//===- CostModel.cpp - Which schedule is fastest --------------------------===//
//
// P = T * K pairs. The three ways move and compute:
//
//   token_centric   2 * P * r rows of D elements, read where they lie;
//   dense           4 * T * N * r * D flops, every expert for every token;
//   expert_centric  4 * S * B * r * D flops, S slots of groups of B experts,
//                   plus the gathering of slots and the picking of pairs.
//
// docs/Rationale.md has the measurements the constants come from.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

#include "mlir/IR/BuiltinOps.h"
#include "omnimoe/Target/Host.h"
#include <cmath>

using namespace mlir;
using namespace mlir::omnimoe;

//===----------------------------------------------------------------------===//
// Constants of the lowering, not of the machine
//===----------------------------------------------------------------------===//

/// Share of the matrix rate that the blocked products of a tile reach.
static constexpr double kProductEfficiency = 0.75;
/// Share of it that streaming dot products and sums reach from near caches.
static constexpr double kStreamEfficiency = 0.25;
/// How much faster scattered rows come out of the second-level cache; on a GPU,
/// whose tables may be a little larger than the cache, as some of their rows
/// are chosen more often.
static constexpr double kNearCacheSpeedup = 4;
static constexpr double kNearCacheSpeedupOnGPU = 1.25, kFavouredShare = 1.5;
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
/// What the token-centric kernels of a GPU keep in flight: a block has so many
/// pairs under way, each pass takes so long, and a launch so long.
static constexpr int64_t kPairsPerPass = 8;
static constexpr int64_t kPairsInRegisters = 16;
static constexpr double kSecondsPerPass = 1.1e-6;
static constexpr double kSecondsPerLaunch = 2.5e-6;
/// Blocks a unit, and with them the memory of the partial sums, beyond which
/// splitting pairs gains nothing.
static constexpr int64_t kMaxSplitBlocksPerUnit = 16;
/// The same of its expert-centric kernel: products reach so much of the matrix
/// rate; sums are added and tables read at the bandwidth of memory, of which
/// products hide a part; and the dispatch takes so long for each pair, besides
/// a fixed time.
static constexpr double kGroupedEfficiency = 1.0;
/// Sums that do not depend on their order: rounding, and kernels for limits.
static constexpr double kExactSumsFactor = 1.05, kSecondsPerLimits = 20e-6;
static constexpr double kScatterShown = 0.65, kTablesShown = 0.45;
static constexpr int64_t kSlotTile = 128;
static constexpr double kSecondsPerSortedPair = 38e-12;
static constexpr double kSecondsPerDispatch = 37e-6;
/// Experts that fit into a group of it, that are worth a group, and that make
/// one where rows do not.
static constexpr int64_t kMaxGPUGroup = 320, kMinGPUGroup = 32;
static constexpr int64_t kAcrossRows = 256;
/// Lanes of a warp, and bytes that each loads at a time; a block that reads
/// rows has two to eight warps.
static constexpr int64_t kLanes = 32, kAccessBytes = 16;
/// Lanes that share a row in a slice of the vectors: those of a warp or fewer,
/// but whole lines of the cache. A slice has this share of the cache.
static constexpr int64_t kMinTeam = 8;
static constexpr double kSliceShare = 0.5;
/// Tables up to this share of the cache are held by it anyway.
static constexpr double kHeldShare = 0.8;
/// Largest group of the expert-centric schedule and block of the dense one.
static constexpr int64_t kMaxGroup = 256;
static constexpr int64_t kMaxDenseBlock = 1024;

/// The largest divisor of `n` up to `limit`: a group may not straddle a row.
static int64_t largestDivisor(int64_t n, int64_t limit) {
  for (int64_t d = std::min(n, limit); d > 1; --d)
    if (n % d == 0)
      return d;
  return 1;
}

/// Groups in which one token has a choice. Routed choices crowd in few rows and
/// columns: about 3 * sqrt(K / N) of the rows hold all of them.
static double groupsPerToken(const ExpertBlockShape &shape, double groups) {
  double share = std::min(
      1.0, 3.0 * std::sqrt(double(shape.topK) / double(shape.numExperts)));
  return std::min<double>(shape.topK, std::max(1.0, share * groups));
}

namespace {
/// What every estimate starts from.
struct Workload {
  const ExpertBlockShape &shape;
  double tokens, pairs;
  TargetAttr target;
  double units;

  double matrixRate() const { return target.getMatrixGflops() * 1e9 * units; }
  double rowBytes() const {
    return double(shape.hiddenSize) * shape.elementBytes;
  }
  double tableBytes() const {
    return 2.0 * shape.numExperts * shape.width * rowBytes();
  }
  /// Bytes a second at which scattered rows of the tables arrive: the part of
  /// them that the second-level caches hold comes faster.
  double streamRate() const {
    double cache = target.getCacheGbps() * 1e9 * units;
    double memory = std::min(cache, target.getMemoryGbps() * 1e9);
    bool isGPU = target.isGPU();
    double cached = (isGPU ? kFavouredShare : 1.0) * target.getL2Bytes();
    double held = std::min(1.0, cached / tableBytes());
    double beyond = tableBytes() <= target.getLlcBytes() ? cache : memory;
    double near = (isGPU ? kNearCacheSpeedupOnGPU : kNearCacheSpeedup) * cache;
    return 1 / (held / near + (1 - held) / beyond);
  }
  /// Tokens run in at most `units` parts; a few tokens leave units idle.
  double busyUnits() const { return std::min(tokens, units) / units; }
};
} // namespace

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

/// A GPU hides latency by many blocks: then a pair costs its bytes. A block
/// that has the chip to itself takes the latency of each of its passes, one for
/// all of its pairs if they fit into registers, two otherwise (products and
/// sums). Splitting makes passes fewer and adds partial sums and a launch.
static double tokenCentricSecondsOnGPU(const Workload &w, int64_t split) {
  double bytes = 2 * w.pairs * w.shape.width * w.rowBytes();
  double blocks = w.tokens * split;
  double perBlock = double(w.shape.topK) * w.shape.width / split;
  double passes = perBlock <= kPairsInRegisters
                      ? 1
                      : 2 * std::ceil(perBlock / kPairsPerPass);
  double stream = bytes / w.streamRate(), chain = passes * kSecondsPerPass;
  double seconds = std::pow(std::pow(stream, 4) + std::pow(chain, 4), 0.25);
  if (split == 1)
    return seconds + kSecondsPerLaunch;
  double sums = 2 * blocks * w.shape.hiddenSize * sizeof(float);
  return seconds + sums / (w.target.getMemoryGbps() * 1e9) +
         2 * kSecondsPerLaunch;
}

static bool maySplit(const ExpertBlockShape &shape, int64_t tokens,
                     int64_t units, int64_t split) {
  return split == 1 ||
         (shape.topK % split == 0 && std::max<int64_t>(tokens, 1) * split <=
                                         kMaxSplitBlocksPerUnit * units);
}

/// The split, a power of two, that makes few tokens fast.
static ScheduleEstimate bestTokenCentricOnGPU(MLIRContext *context,
                                              const Workload &w) {
  ScheduleEstimate best{nullptr, 0};
  for (int64_t split = 1; maySplit(w.shape, w.tokens, w.units, split);
       split *= 2) {
    double seconds = tokenCentricSecondsOnGPU(w, split);
    if (!best.schedule || seconds < best.seconds)
      best = {ScheduleAttr::get(context, ScheduleKind::TokenCentric,
                                /*group_size=*/0, /*token_tile=*/1, split),
              seconds};
  }
  return best;
}

bool mlir::omnimoe::canGroupOnTensorCores(Type type, int64_t width,
                                          int64_t hiddenSize,
                                          int64_t groupSize) {
  return (type.isF16() || type.isBF16()) && width == 1 &&
         hiddenSize % 64 == 0 && groupSize >= 1 && groupSize <= kMaxGPUGroup;
}

/// A group is a grid row or an even part of one: in a row that a token chose it
/// likely has several choices. A router's grid is square unless it is known to
/// be another one. Where that gives no fair size, groups go across rows.
static int64_t chooseGPUGroup(const ExpertBlockShape &shape) {
  auto root = static_cast<int64_t>(std::llround(std::sqrt(shape.numExperts)));
  int64_t row = shape.gridColumns;
  if (!row && root * root == shape.numExperts)
    row = root;
  int64_t group = row ? largestDivisor(row, kMaxGPUGroup) : 0;
  return group >= std::min(row, kMinGPUGroup) && group
             ? group
             : std::min(shape.numExperts, kAcrossRows);
}

/// Dense products of slots, in whole tiles, and the sums of their results.
static double expertCentricSecondsOnGPU(const Workload &w, int64_t groupSize) {
  double groups = std::ceil(double(w.shape.numExperts) / groupSize);
  double slots = w.tokens * groupsPerToken(w.shape, groups);
  double tiles = std::max(groups, slots / kSlotTile + groups / 2);
  tiles = std::min(tiles, slots);
  double rounds = std::ceil(tiles / w.units);
  double flops = 4 * rounds * kSlotTile * llvm::alignTo(groupSize, 16) *
                 double(w.shape.hiddenSize);
  double products =
      flops / (kGroupedEfficiency * w.target.getMatrixGflops() * 1e9);
  double scatter = slots * w.shape.hiddenSize * sizeof(float) /
                   (w.target.getMemoryGbps() * 1e9);
  double tables = w.tableBytes() / (w.target.getMemoryGbps() * 1e9);
  double shown = kScatterShown * scatter + kTablesShown * tables;
  double seconds = std::max(products + shown, tables) +
                   w.pairs * kSecondsPerSortedPair + kSecondsPerDispatch;
  return w.shape.exact ? seconds * kExactSumsFactor + kSecondsPerLimits
                       : seconds;
}

static std::optional<ScheduleEstimate>
bestExpertCentricOnGPU(MLIRContext *context, const Workload &w) {
  if (!w.shape.mayFuse)
    return std::nullopt;
  int64_t group = chooseGPUGroup(w.shape);
  return ScheduleEstimate{ScheduleAttr::get(context,
                                            ScheduleKind::ExpertCentric, group,
                                            /*tokenTile=*/0),
                          expertCentricSecondsOnGPU(w, group)};
}

SmallVector<ScheduleEstimate>
mlir::omnimoe::estimateSchedules(MLIRContext *context,
                                 const ExpertBlockShape &shape, int64_t tokens,
                                 TargetAttr target, int64_t units) {
  double t = std::max<int64_t>(tokens, 1);
  Workload w{shape, t, t * shape.topK, target, double(units)};
  SmallVector<ScheduleEstimate> estimates;
  if (target.isGPU()) {
    estimates.push_back(bestTokenCentricOnGPU(context, w));
    if (auto best = bestExpertCentricOnGPU(context, w))
      estimates.push_back(*best);
    return estimates;
  }
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
  return estimates;
}

std::optional<double>
mlir::omnimoe::estimateSchedule(ScheduleAttr schedule,
                                const ExpertBlockShape &shape, int64_t tokens,
                                TargetAttr target, int64_t units) {
  if (target.isGPU() && schedule.getKind() == ScheduleKind::TokenCentric) {
    int64_t split = schedule.getPairSplit();
    if (!maySplit(shape, tokens, units, split))
      return std::nullopt;
    double t = std::max<int64_t>(tokens, 1);
    return tokenCentricSecondsOnGPU(
        {shape, t, t * shape.topK, target, double(units)}, split);
  }
  for (const ScheduleEstimate &estimate :
       estimateSchedules(schedule.getContext(), shape, tokens, target, units))
    if (estimate.schedule.getKind() == schedule.getKind())
      return estimate.seconds;
  return std::nullopt;
}

int64_t mlir::omnimoe::chooseColumnTile(const ExpertBlockShape &shape,
                                        int64_t tokens, TargetAttr target) {
  double vectors = double(shape.numExperts) * shape.width;
  int64_t rowBytes = shape.hiddenSize * shape.elementBytes;
  // Vectors that are read once are in no cache, however they are cut.
  if (!target.isGPU() ||
      vectors * rowBytes <= kHeldShare * target.getL2Bytes() ||
      double(tokens) * shape.topK * shape.width < vectors)
    return 0;
  for (int64_t lanes = kLanes; lanes >= kMinTeam; lanes /= 2) {
    int64_t bytes = lanes * kAccessBytes;
    if (rowBytes % bytes == 0 &&
        vectors * bytes <= kSliceShare * target.getL2Bytes())
      return bytes / shape.elementBytes;
  }
  return 0;
}

bool mlir::omnimoe::mayGoByExpert(const ExpertBlockShape &shape,
                                  TargetAttr target) {
  int64_t accesses = shape.hiddenSize * shape.elementBytes / kAccessBytes;
  return target.isGPU() && shape.width == 1 &&
         shape.hiddenSize * shape.elementBytes % kAccessBytes == 0 &&
         accesses % kLanes == 0 && accesses >= 2 * kLanes &&
         accesses <= 8 * kLanes;
}

TargetAttr mlir::omnimoe::getTarget(ModuleOp module) {
  if (auto target =
          module->getAttrOfType<TargetAttr>(TargetAttr::kModuleAttrName))
    return target;
  return getHostTarget(module.getContext());
}
