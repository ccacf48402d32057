//===- RoutePlan.h - How a GPU divides the work of a router ------*- C++
//-*-===//
//
// A pure function from the shape of a router. The tile chooser takes the tokens
// of a tile from it, the lowering the rest.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_ROUTEPLAN_H
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_ROUTEPLAN_H

#include <algorithm>
#include <cstdint>

namespace mlir::omnimoe {

/// Lanes that sort an axis: half a warp.
inline constexpr int64_t kAxisLanes = 16;

/// Keys of a lane that are sorted by shuffles, at most; more by merges.
inline constexpr int64_t kMaxShuffledKeys = 16;

/// How many of `count` keys each lane holds: a power of two for a sort by
/// shuffles, an odd number for one by merges, so that the lanes' blocks start
/// in different banks of shared memory.
int64_t getKeysPerLane(int64_t count, int64_t lanes);

struct RoutePlan {
  int64_t numRows, numCols, topK;
  int64_t rows, cols;        ///< ranks that take part: min(K, R), min(K, C)
  int64_t candidates;        ///< pairs of ranks a * b <= K
  bool warpPerToken;         ///< else the whole block works on one token
  int64_t tokensPerBlock;    ///< tokens of a tile, at most
  int64_t threads;           ///< of a block
  int64_t axisKeys = 0;      ///< warp: entries of an axis that a lane sorts
  int64_t candidateKeys = 0; ///< warp: candidates that a lane sorts
  bool sortsAll = false;     ///< warp: no candidate is left out
  bool inPlace = false;      ///< block: the winners are sorted in the results

  /// Warp: entries of an axis, candidates, and keys of either, with padding.
  int64_t axisRoom() const { return axisKeys * kAxisLanes; }
  int64_t capacity() const { return 2 * kAxisLanes * candidateKeys; }
  int64_t keyRoom() const { return std::max(2 * axisRoom(), capacity()); }
  /// Shared memory that a block takes.
  int64_t sharedBytes() const;
};

/// What a block may have without asking for more.
inline constexpr int64_t kSharedBytes = 48 << 10;

RoutePlan planRoute(int64_t numRows, int64_t numCols, int64_t topK);

} // namespace mlir::omnimoe

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_ROUTEPLAN_H
