//===- RouterTile.h - A router and its projections ---------------*- C++
//-*-===//
//
// Tiles of the two products that a router's logits are made of, and right
// behind them the router of the same tokens, become one kernel. Each pair of
// blocks has 64 tokens:
//
// 1. The blocks share the summed loop. One thread lets the hardware copy tiles
//    of the tokens and of both matrices, and a warpgroup multiplies for each of
//    the products.
// 2. The blocks exchange their parts of the sums. Each takes half of the
//    tokens, a warp for each of them.
// 3. A warp makes the logits of its token's sums, in registers, stores them,
//    and chooses the token's experts.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROUTERTILE_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROUTERTILE_H

#include "RowTile.h"

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RoutePlan.h"

namespace mlir::omnimoe {

/// Threads of a block: a warp for each of its tokens.
inline constexpr int64_t kRouterThreads = 1024;
/// Blocks of a cluster, which share the summed loop of its tokens.
inline constexpr int64_t kRouterParts = 2;
/// Products of a tile: of the rows and of the columns of the grid.
inline constexpr size_t kRouterProducts = 2;

struct RouterTile {
  scf::ForallOp routes; ///< the tiles of the router
  RouteOp route;        ///< in them
  RoutePlan plan;
  Value tokens;                   ///< all rows that are multiplied
  SmallVector<Value, 2> matrices; ///< by these
  /// What the router takes and gives, of all tokens, in its operands' order.
  SmallVector<Value, 4> operands;
  /// What a tile of `projections` writes of the two that the router takes, and
  /// whether nobody else reads them.
  SmallVector<Value, 2> logits;
  bool onlyRouted = false;
};

/// The router behind `projections`, whose tiles are `rows`, if a kernel can
/// have both.
std::optional<RouterTile> matchRouterTile(scf::ForallOp projections,
                                          const RowTile &rows);

/// Replaces what was in a tile of `rows`, and stands in `launch` by now, and
/// the tiles of the router by code for the threads of `launch`.
LogicalResult emitRouterTile(KernelBuilder &k, gpu::LaunchOp launch,
                             const RouterTile &tile, const RowTile &rows);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROUTERTILE_H
