//===- RoutePlan.h - How a GPU divides the work of a router ------*- C++
//-*-===//
//
// A pure function from the shape of a router. The tile chooser takes the tokens
// of a tile from it, the lowering the rest.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_ROUTEPLAN_H
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_ROUTEPLAN_H

#include <cstdint>

namespace mlir::omnimoe {

struct RoutePlan {
  int64_t numRows, numCols, topK;
  int64_t rows, cols;     ///< ranks that take part: min(K, R), min(K, C)
  int64_t candidates;     ///< pairs of ranks a * b <= K
  bool warpPerToken;      ///< else the whole block works on one token
  int64_t tokensPerBlock; ///< tokens of a tile, at most
  int64_t threads;        ///< of a block
  int64_t axisLength = 0; ///< warp: logits of an axis, padded for the sort
  int64_t capacity = 0;   ///< warp: candidates that are sorted, padded
  bool inPlace = false;   ///< block: the winners are sorted in the results

  /// Warp: room for the candidates' pairs, or for an order of both axes.
  int64_t pairRoom() const;
  /// Shared memory that a block takes.
  int64_t sharedBytes() const;
};

/// What a block may have without asking for more.
inline constexpr int64_t kSharedBytes = 48 << 10;

RoutePlan planRoute(int64_t numRows, int64_t numCols, int64_t topK);

} // namespace mlir::omnimoe

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_ROUTEPLAN_H
