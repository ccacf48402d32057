//===- CostModelGPU.cpp - Which schedule is fastest on a GPU --------------===//
//
// Fitted to measurements; see docs/GPU.md.
//
//===----------------------------------------------------------------------===//

#include "Workload.h"

using namespace mlir;
using namespace mlir::omnimoe;

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
static constexpr double kGroupedEfficiency = 1.1;
static constexpr double kScatterShown = 0.7, kTablesShown = 0.47;
static constexpr int64_t kSlotTile = 128;
static constexpr double kSecondsPerSortedPair = 42e-12;
static constexpr double kSecondsPerDispatch = 43.5e-6;
/// Experts that fit into a group of it, that are worth a group, and that make
/// one where rows do not.
static constexpr int64_t kMinGPUGroup = 32;
static constexpr int64_t kAcrossRows = 256;
/// Vectors of a wide expert that a tile takes, and columns of its products over
/// all tables; what the number of a copy's vectors is a multiple of.
static constexpr int64_t kTileVectors = 256, kColumnMultiple = 16;
static_assert(kMaxWideProducts * kColumnMultiple <= kTileVectors);
/// Hybrid: a group is crowded from so many choices on. Tiles of crowded slots
/// have more pairs each and meet each group's vectors fewer times; the other
/// pairs are read from memory, and all are looked at twice to part them.
static constexpr int64_t kMinPairs = 2;
static constexpr double kCrowdedScatterShown = 0.795,
                        kCrowdedTablesShown = 0.535;
static constexpr double kFewShown = 0.93;
static constexpr double kSecondsPerPartedPair = 50e-12;
/// Lanes of a warp, and bytes that each loads at a time; a block that reads
/// rows has two to eight warps.
static constexpr int64_t kLanes = 32, kAccessBytes = 16;
/// Lanes that share a row in a slice of the vectors: those of a warp or fewer,
/// but whole lines of the cache. A slice has this share of the cache.
static constexpr int64_t kMinTeam = 8;
static constexpr double kSliceShare = 0.5;
/// How much faster rows of a slice come than those of whole tables, and what is
/// left of a launch that follows another.
static constexpr double kSliceSpeedup = 1.45, kSecondsPerNextLaunch = 1e-6;

namespace {
/// What one token is expected to have in `rows` groups.
struct Occupancy {
  double slots = 0;   ///< groups with a choice
  double singles = 0; ///< groups with one choice
};
} // namespace

/// A pair is chosen if the sum of its scores passes the bound, and the choices
/// in a row of a given score are many and rare.
static Occupancy estimateOccupancy(double rows, double columns, double topK) {
  double bound = getScoreBound(rows * columns, topK);
  constexpr double kLimit = 6, kStep = 0.02;
  Occupancy result;
  for (double score = -kLimit; score < kLimit; score += kStep) {
    double share =
        kStep * std::exp(-score * score / 2) / std::sqrt(2 * std::acos(-1.0));
    double mean = columns * getShareAbove(bound - score);
    result.slots += rows * share * (1 - std::exp(-mean));
    result.singles += rows * share * mean * std::exp(-mean);
  }
  return result;
}

/// Both of a stream of bytes and of a chain of accesses are to be waited for.
static double streamAndChain(double stream, double chain) {
  return std::pow(std::pow(stream, 4) + std::pow(chain, 4), 0.25);
}

/// A GPU hides latency by many blocks: then a pair costs its bytes. A block
/// that has the chip to itself takes the latency of each of its passes, one for
/// all of its pairs if they fit into registers, two otherwise (products and
/// sums). Splitting makes passes fewer and adds partial sums and a launch.
static double tokenCentricSecondsOnGPU(const Workload &w, int64_t split) {
  double bytes = w.tables() * w.pairs * w.shape.width * w.rowBytes();
  double blocks = w.tokens * split;
  double perBlock = double(w.shape.topK) * w.shape.width / split;
  double passes = perBlock <= kPairsInRegisters
                      ? 1
                      : w.tables() * std::ceil(perBlock / kPairsPerPass);
  double seconds =
      streamAndChain(bytes / w.streamRate(), passes * kSecondsPerPass);
  if (split == 1)
    return seconds + kSecondsPerLaunch;
  double sums = 2 * blocks * w.shape.hiddenSize * sizeof(float);
  return seconds + sums / (w.target.getMemoryGbps() * 1e9) +
         2 * kSecondsPerLaunch;
}

/// Products first, then sums, whose coefficients are known, slice by slice of
/// the vectors: each table has the cache for itself, and a slice is read from
/// memory once. A warp sums up a token's pairs, some at a time.
static double slicedSecondsOnGPU(const Workload &w, int64_t columns) {
  double products = w.tables() - 1, chosen = w.shape.topK * w.shape.width;
  double bytes = w.pairs * w.shape.width * w.rowBytes();
  double fromMemory = std::min(bytes, w.bytesOfTable());
  double sums = fromMemory / w.memoryRate() +
                (bytes - fromMemory) / (kSliceSpeedup * w.cacheRate());
  double lanes = double(columns) * w.shape.elementBytes / kAccessBytes;
  double pairsPerTurn = kPairsPerPass * kLanes / lanes;
  return streamAndChain(products * bytes /
                            w.streamRate(products * w.bytesOfTable()),
                        products * chosen / kPairsPerPass * kSecondsPerPass) +
         streamAndChain(sums, chosen / pairsPerTurn * kSecondsPerPass) +
         kSecondsPerLaunch + kSecondsPerNextLaunch;
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
  // Products that are needed by others are apart from the sums anyway. Those of
  // wide experts would take much memory.
  if (w.shape.keepsProducts || w.shape.width > 1)
    return best;
  int64_t columns =
      chooseColumnTile(w.shape, int64_t(w.tokens), w.target, w.tables());
  if (!columns)
    return best;
  double seconds = slicedSecondsOnGPU(w, columns);
  if (seconds < best.seconds)
    best = {ScheduleAttr::get(context, ScheduleKind::TokenCentric,
                              /*group_size=*/0, kSlicedTokens, /*pair_split=*/1,
                              columns),
            seconds};
  return best;
}

bool mlir::omnimoe::canGroupOnTensorCores(ShapedType table, int64_t groupSize) {
  Type type = table.getElementType();
  ArrayRef<int64_t> shape = table.getShape();
  if (!(type.isF16() || type.isBF16()) || shape.back() % 64 != 0)
    return false;
  return shape.size() == 3 ? shape[1] > 1 && groupSize == 1
                           : groupSize >= 1 && groupSize <= kMaxGPUGroup;
}

/// As many vectors as there are columns are taken in one pass. More passes
/// leave fewer tiles, which add less to tokens; but each unit should have one.
ExpertCut mlir::omnimoe::cutExpert(int64_t width, int64_t products,
                                   int64_t experts, int64_t units) {
  int64_t most = llvm::alignDown(kTileVectors / products, kColumnMultiple);
  int64_t tiles = llvm::divideCeil(width, kTileVectors);
  if (experts * tiles < units)
    tiles = llvm::divideCeil(width, most);
  int64_t ofTile = llvm::divideCeil(width, tiles);
  int64_t passes = llvm::divideCeil(ofTile, most);
  return {tiles, passes,
          int64_t(llvm::alignTo(llvm::divideCeil(ofTile, passes),
                                kColumnMultiple))};
}

int64_t mlir::omnimoe::getRowLength(const ExpertBlockShape &shape) {
  auto root = static_cast<int64_t>(std::llround(std::sqrt(shape.numExperts)));
  if (shape.gridColumns || root * root != shape.numExperts)
    return shape.gridColumns;
  return root;
}

/// A group is a grid row or an even part of one: in a row that a token chose it
/// likely has several choices. Where that gives no fair size, groups go across
/// rows.
static int64_t chooseGPUGroup(const ExpertBlockShape &shape) {
  int64_t row = getRowLength(shape);
  int64_t group = row ? largestDivisor(row, kMaxGPUGroup) : 0;
  return group >= std::min(row, kMinGPUGroup) && group
             ? group
             : std::min(shape.numExperts, kAcrossRows);
}

namespace {
/// Which parts of the times of sums and tables products do not hide.
struct Shown {
  double scatter, tables;
};
} // namespace

/// Dense products of slots, in whole tiles, and the sums of their results. Each
/// chunk of tokens reads the groups that it has slots of.
static double groupedSecondsOnGPU(const Workload &w, int64_t groupSize,
                                  double groups, double slots, Shown shown) {
  double sumBytes = w.tokens * w.shape.hiddenSize * sizeof(float);
  double chunks = std::ceil(sumBytes / (kChunkShare * w.target.getL2Bytes()));
  double bins = groups * chunks;
  double tiles = std::max(std::min(bins, slots), slots / kSlotTile + bins / 2);
  tiles = std::min(tiles, slots);
  double rounds = std::ceil(tiles / w.units);
  double flops = 4 * rounds * kSlotTile *
                 llvm::alignTo(groupSize, kColumnMultiple) *
                 double(w.shape.hiddenSize);
  double products =
      flops / (kGroupedEfficiency * w.target.getMatrixGflops() * 1e9);
  double memory = w.target.getMemoryGbps() * 1e9;
  double scatter = slots * w.shape.hiddenSize * sizeof(float) / memory;
  double tables =
      chunks * w.tableBytes() / memory * (1 - std::exp(-slots / bins));
  double seconds =
      std::max(products + shown.scatter * scatter + shown.tables * tables,
               tables) +
      w.pairs * kSecondsPerSortedPair + kSecondsPerDispatch;
  return w.shape.exact ? seconds * kExactSumsFactor + kSecondsPerLimits
                       : seconds;
}

/// Wide experts: each that is met has tiles of its own. Vectors come from
/// memory once; each tile then takes its vectors and tokens out of the cache,
/// of which a unit gets its share alone.
static double wideExpertSecondsOnGPU(const Workload &w) {
  double experts = w.shape.numExperts;
  ExpertCut cut =
      cutExpert(w.shape.width, w.shape.products, w.shape.numExperts, w.units);
  double vectorsOfTile = cut.passes * cut.vectors;
  double met = experts * (1 - std::exp(-w.pairs / experts));
  double tiles = cut.tiles * std::max(met, w.pairs / kSlotTile + met / 2);
  double rounds = std::ceil(tiles / w.units);
  double flops = 2 * rounds * kSlotTile * w.tables() * vectorsOfTile *
                 double(w.shape.hiddenSize);
  double products =
      flops / (kGroupedEfficiency * w.target.getMatrixGflops() * 1e9);
  double memory = w.target.getMemoryGbps() * 1e9;
  double scatter =
      w.pairs * cut.tiles * w.shape.hiddenSize * sizeof(float) / memory;
  double vectors = w.tables() * met * w.shape.width * w.rowBytes() / memory;
  double copies = rounds *
                  (w.tables() * vectorsOfTile + cut.passes * kSlotTile) *
                  w.rowBytes() / (w.target.getCacheGbps() * 1e9);
  return std::max({products + kScatterShown * scatter, vectors, copies}) +
         w.pairs * kSecondsPerSortedPair + kSecondsPerDispatch;
}

/// Blocks of one size, of all experts, as large as a tile can take.
static ScheduleEstimate bestDenseOnGPU(MLIRContext *context,
                                       const Workload &w) {
  int64_t experts = w.shape.numExperts;
  int64_t block =
      llvm::divideCeil(experts, llvm::divideCeil(experts, kMaxGPUGroup));
  block = llvm::alignTo(block, kColumnMultiple);
  double blocks = llvm::divideCeil(experts, block);
  // A block is met if one of its rows is. Without rows, all are.
  double met = blocks;
  if (int64_t row = getRowLength(w.shape)) {
    double rows = double(experts) / row;
    double share = estimateOccupancy(rows, row, w.shape.topK).slots / rows;
    met *= 1 - std::pow(1 - share, std::max(1.0, double(block) / row));
  }
  return {ScheduleAttr::get(context, ScheduleKind::Dense, block,
                            /*tokenTile=*/0),
          groupedSecondsOnGPU(w, block, blocks, w.tokens * met,
                              {kScatterShown, kTablesShown})};
}

/// Neighbouring experts as groups: a row of the grid, or a part of one.
static ScheduleEstimate byRowsOnGPU(MLIRContext *context, const Workload &w) {
  int64_t size = chooseGPUGroup(w.shape);
  double groups = std::ceil(double(w.shape.numExperts) / size);
  double slots = w.tokens * groupsPerToken(w.shape, groups);
  return {ScheduleAttr::get(context, ScheduleKind::ExpertCentric, size,
                            /*tokenTile=*/0),
          groupedSecondsOnGPU(w, size, groups, slots,
                              {kScatterShown, kTablesShown})};
}

static void addGroupedOnGPU(MLIRContext *context, const Workload &w,
                            SmallVectorImpl<ScheduleEstimate> &estimates) {
  if (w.shape.width > 1) {
    estimates.push_back({ScheduleAttr::get(context, ScheduleKind::ExpertCentric,
                                           /*groupSize=*/1, /*tokenTile=*/0),
                         wideExpertSecondsOnGPU(w)});
    return;
  }
  ScheduleEstimate rows = byRowsOnGPU(context, w);
  std::optional<ScheduleEstimate> lines = byLinesOnGPU(context, w);
  // Not by the number of tokens: a program would have both kernels.
  estimates.push_back(lines ? *lines : rows);
  estimates.push_back(bestDenseOnGPU(context, w));
  int64_t size = rows.schedule.getGroupSize();
  double groups = std::ceil(double(w.shape.numExperts) / size);
  double slots = w.tokens * groupsPerToken(w.shape, groups);
  // Hybrid sums do not start from zeros, as exact ones must.
  if (w.shape.keepsProducts || w.shape.exact || groups > kMaxCountedGroups)
    return;
  Occupancy expected = estimateOccupancy(groups, size, w.shape.topK);
  double crowded = slots * (1 - expected.singles / expected.slots);
  double few = 2 * w.tokens * expected.singles * w.rowBytes() / w.streamRate();
  estimates.push_back(
      {ScheduleAttr::get(context, ScheduleKind::Hybrid, size, /*tokenTile=*/1,
                         /*pairSplit=*/1, /*columnTile=*/0, kMinPairs),
       groupedSecondsOnGPU(w, size, groups, crowded,
                           {kCrowdedScatterShown, kCrowdedTablesShown}) +
           kFewShown * few + w.pairs * kSecondsPerPartedPair +
           2 * kSecondsPerLaunch});
}

SmallVector<ScheduleEstimate>
mlir::omnimoe::estimateSchedulesOnGPU(MLIRContext *context, const Workload &w) {
  SmallVector<ScheduleEstimate> estimates{bestTokenCentricOnGPU(context, w)};
  if (w.shape.mayFuse)
    addGroupedOnGPU(context, w, estimates);
  return estimates;
}

std::optional<double>
mlir::omnimoe::estimateExpertCentricOnGPU(const Workload &w,
                                          ScheduleAttr schedule) {
  if (!w.shape.mayFuse)
    return std::nullopt;
  if (w.shape.width > 1)
    return wideExpertSecondsOnGPU(w);
  MLIRContext *context = schedule.getContext();
  if (!schedule.getGridColumns())
    return byRowsOnGPU(context, w).seconds;
  std::optional<ScheduleEstimate> lines = byLinesOnGPU(context, w);
  return lines ? std::optional(lines->seconds) : std::nullopt;
}

std::optional<double>
mlir::omnimoe::estimateTokenCentricOnGPU(const Workload &w,
                                         ScheduleAttr schedule) {
  if (int64_t columns = schedule.getColumnTile())
    return slicedSecondsOnGPU(w, columns);
  int64_t split = schedule.getPairSplit();
  if (!maySplit(w.shape, int64_t(w.tokens), int64_t(w.units), split))
    return std::nullopt;
  return tokenCentricSecondsOnGPU(w, split);
}

int64_t mlir::omnimoe::chooseColumnTile(const ExpertBlockShape &shape,
                                        int64_t tokens, TargetAttr target,
                                        int64_t tables) {
  double vectors = double(shape.numExperts) * shape.width;
  int64_t rowBytes = shape.hiddenSize * shape.elementBytes;
  // Vectors that are read once are in no cache, however they are cut.
  if (!target.isGPU() ||
      tables * vectors * rowBytes <= kHeldShare * target.getL2Bytes() ||
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
