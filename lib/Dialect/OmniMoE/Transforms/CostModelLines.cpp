//===- CostModelLines.cpp - Rows and columns of a grid as groups ----------===//
//
// Fitted to measurements; see docs/GPU.md.
//
//===----------------------------------------------------------------------===//

#include "Workload.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Blocks of a cluster, which share a tile of so many slots in all.
static constexpr double kClusterBlocks = 2, kClusterSlots = 256;
static constexpr int64_t kBlockSlots = 128, kColumnMultiple = 32;
/// Of products most are hidden; a cluster's tile waits so long besides. Sums
/// and tables take so much of what memory would take for them, and sums that
/// leave the cache come back.
static constexpr double kProductsShown = 0.37, kSecondsPerTile = 1.7e-6;
static constexpr double kSumsShown = 1.37, kTablesShown = 0.72,
                        kSpillsShown = 0.94;
/// The dispatch: a fixed time, one for each pair, and so many passes over a
/// table of tokens and groups, or a sort.
static constexpr double kSecondsPerDispatch = 35e-6,
                        kSecondsPerSortedPair = 5.6e-12, kPassesOverCounts = 25,
                        kCountBytes = 2, kSecondsPerRadixPair = 1e-12;
/// Each vector is in two lines.
static constexpr double kTablesRead = 2;
/// Of sums that may leave the cache: the share of it that a chunk's take.
static constexpr double kLargeChunkShare = 1.4;

double mlir::omnimoe::getShareAbove(double score) {
  return 0.5 * std::erfc(score / std::sqrt(2.0));
}

/// Where `value`, which falls as its argument grows, passes `limit`.
static double find(llvm::function_ref<double(double)> value, double limit) {
  double low = -12, high = 12;
  for (int step = 0; step < 30; ++step) {
    double middle = (low + high) / 2;
    (value(middle) > limit ? low : high) = middle;
  }
  return low;
}

double mlir::omnimoe::getScoreBound(double experts, double topK) {
  // The sum of two normal scores is sqrt(2) times as wide as one.
  return std::sqrt(2.0) *
         find([&](double x) { return experts * getShareAbove(x); }, topK);
}

/// Each pair goes with its row or its column, whichever has more of the token's
/// pairs: of the choices in a row, those in columns that are more crowded go
/// with the columns.
double mlir::omnimoe::estimateLines(const GroupLayout &layout, int64_t topK) {
  constexpr double kLimit = 6, kStep = 0.1;
  double rows = layout.getGridRows(), columns = layout.gridColumns;
  double bound = getScoreBound(rows * columns, topK);
  auto partsOfLines = [&](double lines, double others, double parts) {
    double sum = 0;
    for (double score = -kLimit; score < kLimit; score += kStep) {
      double share =
          kStep * std::exp(-score * score / 2) / std::sqrt(2 * std::acos(-1.0));
      double mean = others * getShareAbove(bound - score);
      // The score of the columns that are as crowded.
      double equal = -find(
          [&](double x) { return lines * getShareAbove(bound + x); }, mean);
      double own = std::max(0.0, mean - others * getShareAbove(equal));
      sum += lines * share * parts * (1 - std::exp(-own / parts));
    }
    return sum;
  };
  double sum = partsOfLines(rows, columns, layout.getPartsOfRow()) +
               partsOfLines(columns, rows, layout.getPartsOfColumn());
  return std::min<double>(topK, std::max(1.0, sum));
}

double mlir::omnimoe::getLinesChunkShare(double linesPerToken,
                                         double tableBytes, double sumBytes,
                                         TargetAttr target) {
  // With c tokens a chunk, of which the cache holds the sums of h, a token
  // costs tables / c + sums * (1 - h / c): more tokens are better if tables are
  // worth more than the sums of h tokens.
  double held = kChunkShare * target.getL2Bytes() / sumBytes;
  double sums = 2 * linesPerToken * sumBytes;
  return kTablesRead * tableBytes > held * sums ? kLargeChunkShare
                                                : kChunkShare;
}

std::optional<ScheduleEstimate>
mlir::omnimoe::byLinesOnGPU(MLIRContext *context, const Workload &w) {
  int64_t columns = getRowLength(w.shape);
  if (!columns)
    return std::nullopt;
  int64_t longest = std::max(columns, w.shape.numExperts / columns);
  int64_t parts = llvm::divideCeil(longest, kMaxGPUGroup);
  GroupLayout layout{w.shape.numExperts,
                     int64_t(llvm::divideCeil(longest, parts)), columns};
  if (layout.getNumLines() > kMaxCountedGroups)
    return std::nullopt;
  auto schedule = ScheduleAttr::get(
      context, ScheduleKind::ExpertCentric, layout.groupSize, /*tokenTile=*/0,
      /*pairSplit=*/1, /*columnTile=*/0, /*minPairs=*/0, columns);

  double rowSums = w.shape.hiddenSize * sizeof(float);
  double lines = estimateLines(layout, w.shape.topK);
  double slots = w.tokens * lines;
  double l2 = w.target.getL2Bytes();
  double share = getLinesChunkShare(lines, w.tableBytes(), rowSums, w.target);
  double chunks = std::ceil(w.tokens * rowSums / (share * l2));
  double bins = layout.getNumGroups() * chunks;
  double tiles = std::min(
      slots, std::max(std::min(bins, slots), slots / kClusterSlots + bins / 2));
  double rounds = std::ceil(tiles / (w.units / kClusterBlocks));
  double flops = 4 * rounds * kBlockSlots *
                 llvm::alignTo(layout.groupSize, kColumnMultiple) *
                 double(w.shape.hiddenSize);
  double products = flops / (w.target.getMatrixGflops() * 1e9);
  double memory = w.target.getMemoryGbps() * 1e9;
  double sums = slots * rowSums / memory;
  double spilled =
      2 * sums *
      std::max(0.0, 1 - kChunkShare * l2 / (w.tokens * rowSums / chunks));
  double vectors = kTablesRead * chunks * w.tableBytes() / memory *
                   (1 - std::exp(-slots / bins));
  double counts = layout.getNumGroups() <= kMostTableGroups
                      ? kPassesOverCounts * kCountBytes * w.tokens *
                            layout.getNumGroups() / memory
                      : w.pairs * kSecondsPerRadixPair;
  double seconds = kProductsShown * products + rounds * kSecondsPerTile +
                   kSumsShown * sums + kSpillsShown * spilled +
                   kTablesShown * vectors + counts +
                   w.pairs * kSecondsPerSortedPair + kSecondsPerDispatch;
  return ScheduleEstimate{schedule, w.shape.exact ? seconds * kExactSumsFactor +
                                                        kSecondsPerLimits
                                                  : seconds};
}
