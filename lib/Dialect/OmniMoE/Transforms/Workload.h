//===- Workload.h - What every estimate starts from -------------*- C++ -*-===//

#ifndef OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_WORKLOAD_H
#define OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_WORKLOAD_H

#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

#include "mlir/IR/BuiltinOps.h"
#include <cmath>

namespace mlir::omnimoe {

/// How much faster scattered rows come out of the second-level cache; on a GPU,
/// whose tables may be a little larger than the cache, as some of their rows
/// are chosen more often.
inline constexpr double kNearCacheSpeedup = 4;
inline constexpr double kNearCacheSpeedupOnGPU = 1.25, kFavouredShare = 1.5;
/// Tables up to this share of a GPU's cache are held by it anyway. Where they
/// take more and fit as some rows are chosen more often, scattered rows take so
/// much longer.
inline constexpr double kHeldShare = 0.8, kBarelyHeldFactor = 1.1;

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
  /// Tables of vectors: those that tokens are multiplied by, and the last.
  double tables() const { return shape.products + 1; }
  double bytesOfTable() const {
    return shape.numExperts * shape.width * rowBytes();
  }
  double tableBytes() const { return tables() * bytesOfTable(); }
  double cacheRate() const { return target.getCacheGbps() * 1e9 * units; }
  double memoryRate() const {
    return std::min(cacheRate(), target.getMemoryGbps() * 1e9);
  }
  /// Bytes a second at which scattered rows of tables of `size` bytes arrive:
  /// the part of them that the second-level caches hold comes faster.
  double streamRate(double size) const {
    bool isGPU = target.isGPU();
    double cached = (isGPU ? kFavouredShare : 1.0) * target.getL2Bytes();
    double held = std::min(1.0, cached / size);
    double beyond = size <= target.getLlcBytes() ? cacheRate() : memoryRate();
    double near =
        (isGPU ? kNearCacheSpeedupOnGPU : kNearCacheSpeedup) * cacheRate();
    if (isGPU && size <= cached && size > kHeldShare * target.getL2Bytes())
      near /= kBarelyHeldFactor;
    return 1 / (held / near + (1 - held) / beyond);
  }
  double streamRate() const { return streamRate(tableBytes()); }
  /// Tokens run in at most `units` parts; a few tokens leave units idle.
  double busyUnits() const { return std::min(tokens, units) / units; }
};

/// The largest divisor of `n` up to `limit`: a group may not straddle a row.
inline int64_t largestDivisor(int64_t n, int64_t limit) {
  for (int64_t d = std::min(n, limit); d > 1; --d)
    if (n % d == 0)
      return d;
  return 1;
}

/// Groups in which one token has a choice. Routed choices crowd in few rows and
/// columns: about 3 * sqrt(K / N) of the rows hold all of them.
inline double groupsPerToken(const ExpertBlockShape &shape, double groups) {
  double share = std::min(
      1.0, 3.0 * std::sqrt(double(shape.topK) / double(shape.numExperts)));
  return std::min<double>(shape.topK, std::max(1.0, share * groups));
}

/// Sums that do not depend on their order: rounding, and kernels for limits.
inline constexpr double kExactSumsFactor = 1.05, kSecondsPerLimits = 20e-6;

/// Scores of rows and columns are as if they were normal. How many of them are
/// above `score`, and what the sum of two has to pass to be among the `topK`
/// largest of `experts` sums.
double getShareAbove(double score);
double getScoreBound(double experts, double topK);

/// Experts that fit into a group of a GPU's expert-centric kernel.
inline constexpr int64_t kMaxGPUGroup = 320;

/// The experts of a grid row. A router's grid is square unless it is known to
/// be another one; 0 if there is none.
int64_t getRowLength(const ExpertBlockShape &shape);

/// The expert-centric schedule of a GPU whose groups are the lines of the grid,
/// if there is one that suits it.
std::optional<ScheduleEstimate> byLinesOnGPU(MLIRContext *context,
                                             const Workload &w);

/// The estimates of the schedules that a GPU has.
SmallVector<ScheduleEstimate> estimateSchedulesOnGPU(MLIRContext *context,
                                                     const Workload &w);

/// The seconds of the expert-centric `schedule` on a GPU, if it has it.
std::optional<double> estimateExpertCentricOnGPU(const Workload &w,
                                                 ScheduleAttr schedule);

/// The seconds of the token-centric `schedule` on a GPU, if it suits that many
/// tokens.
std::optional<double> estimateTokenCentricOnGPU(const Workload &w,
                                                ScheduleAttr schedule);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_WORKLOAD_H
