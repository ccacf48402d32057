//===- RoutePlan.cpp - How a GPU divides the work of a router -------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/RoutePlan.h"

#include "llvm/Support/MathExtras.h"
#include <algorithm>

using namespace mlir::omnimoe;

static constexpr int64_t kWarp = 32;
/// Logits of an axis that half a warp sorts, and candidates that a warp does:
/// 32 keys a lane.
static constexpr int64_t kMaxAxisLength = 512;
static constexpr int64_t kMaxCapacity = 1024;
/// So many candidates are sorted without looking for a threshold first.
static constexpr int64_t kSortsAll = 128;
static constexpr int64_t kMaxTokensPerBlock = 4;

int64_t mlir::omnimoe::getKeysPerLane(int64_t count, int64_t lanes) {
  int64_t keys = llvm::divideCeil(count, lanes);
  return keys <= kMaxShuffledKeys ? llvm::PowerOf2Ceil(keys) : keys | 1;
}

int64_t RoutePlan::sharedBytes() const {
  if (warpPerToken) // Keys; values and ids of both axes.
    return tokensPerBlock * (8 * keyRoom() + 8 * 2 * axisRoom());
  // Both axes' values and ids, the winners, and a count for each warp.
  return 8 * (numRows + numCols) + (inPlace ? 0 : 8 * topK) + 4 * kWarp;
}

RoutePlan mlir::omnimoe::planRoute(int64_t numRows, int64_t numCols,
                                   int64_t topK) {
  RoutePlan plan;
  plan.numRows = numRows;
  plan.numCols = numCols;
  plan.topK = topK;
  plan.rows = std::min(topK, numRows);
  plan.cols = std::min(topK, numCols);
  plan.candidates = 0;
  for (int64_t a = 1; a <= plan.rows; ++a)
    plan.candidates += std::min(topK / a, plan.cols);

  int64_t longAxis = std::max(numRows, numCols);
  plan.axisKeys = getKeysPerLane(longAxis, kAxisLanes);
  // A threshold leaves between K and the capacity, soon if that is 2 K.
  plan.sortsAll = plan.candidates <= kSortsAll;
  plan.candidateKeys = getKeysPerLane(
      plan.sortsAll ? plan.candidates
                    : std::clamp<int64_t>(2 * topK, kSortsAll, plan.candidates),
      kWarp);
  plan.warpPerToken = longAxis <= kMaxAxisLength &&
                      std::min(2 * topK, plan.candidates) <= kMaxCapacity;
  if (plan.warpPerToken) {
    plan.tokensPerBlock = kMaxTokensPerBlock;
    while (plan.tokensPerBlock > 1 && plan.sharedBytes() > kSharedBytes)
      plan.tokensPerBlock /= 2;
    plan.threads = plan.tokensPerBlock * kWarp;
    return plan;
  }
  plan.tokensPerBlock = 1;
  int64_t longest = std::max(longAxis, topK);
  plan.threads = std::clamp<int64_t>(llvm::PowerOf2Ceil(longest) / 4, 4 * kWarp,
                                     16 * kWarp);
  plan.inPlace = plan.sharedBytes() > kSharedBytes;
  return plan;
}
