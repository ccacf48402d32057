//===- Route.h - Parts of the router on a GPU --------------------*- C++
//-*-===//
//
// For each token, by a warp or, if the shape is large, by the block:
//
//  1. Sort the best min(K, R) rows and min(K, C) columns, lower index first
//     among equals.
//  2. Find a sum that at least K candidates reach and not many more; candidates
//     are the pairs of ranks a * b <= K, in sorted order along both axes, so
//     that counting is a binary search in each row.
//  3. Sort these and write the first K.
//
// Keys of value and id order as the router does, ties included. Only where
// rounding made equal sums of what was in another order, or more candidates
// are tied at the K-th sum than there is room for, `emitExactChoice` finds the
// winners.
//
// Logits are cleaned at once: minus zero is zero and NaN is minus infinity, so
// that floats compare as the order of the router does.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROUTE_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROUTE_H

#include "ThreadTeam.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RoutePlan.h"

namespace mlir::omnimoe {

/// A logit that counts as the router wants it.
Value emitCleanLogit(KernelBuilder &k, Value logit);

/// `size` elements of a row of a two-dimensional memref, from `offset` on.
Value emitPart(KernelBuilder &k, Value memref, Value row, OpFoldResult offset,
               int64_t size);

/// Constant i32 data of the kernels.
Value emitTable(KernelBuilder &k, StringRef name, ArrayRef<int32_t> data);

/// What is known of a token once its axes are sorted: values and places of the
/// best rows and columns, one-dimensional memrefs.
struct SortedAxes {
  Value rowValues, rowIds, colValues, colIds;
};

/// A threshold as an ordered integer, and the candidates that reach it.
struct Threshold {
  Value key, count;
};

/// The candidates of a token. Ranks are i32 and count from 0.
class RouteCandidates {
public:
  RouteCandidates(KernelBuilder &k, const RoutePlan &plan, ThreadTeam &team,
                  const SortedAxes &axes);

  Value sum(Value row, Value col);
  Value expert(Value row, Value col);
  /// Row and column of a pair, which is row * cols + col.
  std::pair<Value, Value> ranks(Value pair);
  Value pair(Value row, Value col);

  /// Key that at least K candidates reach.
  Value lowerBound();
  /// Number of candidates that reach `limit`.
  Value count(Value limit);
  /// The same of rows rank, rank + size and so on, for each thread of the team
  /// its own; they are the first of each row.
  SmallVector<Value> countRows(Value limit);
  /// Raises `low` until no more than `capacity` candidates reach it. If too
  /// many do in the end they are tied at the K-th sum. The count of `low` is
  /// negative if it is not known, and at least K.
  Threshold raise(Threshold low, int64_t capacity);
  /// Whether rounding may have made the sums of two candidates equal that are
  /// not in the order of their ids.
  Value mayRoundTogether();

  /// Calls `body(row, col, sum, reached)` for the candidates that reach
  /// `limit`, and others, in some order. The lanes of a warp come together.
  using Body = llvm::function_ref<SmallVector<Value>(
      Value row, Value col, Value sum, Value reached, ValueRange carried)>;
  ResultRange forEachReaching(Value limit, ValueRange inits, Body body);

private:
  Value rowLengths();
  Value countRow(Value lengths, Value row, int64_t first, Value limit);

  KernelBuilder &k;
  const RoutePlan &plan;
  ThreadTeam &team;
  SortedAxes axes;
  int64_t side; // lines of either direction that hold all candidates
};

/// Sorts entries [0, count) of two memrefs in place by the team.
/// `precedes(value, payload, value, payload)` is a strict total order.
using Precedes = llvm::function_ref<Value(Value, Value, Value, Value)>;
void sortInMemory(KernelBuilder &k, ThreadTeam &team, Value values,
                  Value payloads, int64_t count, Precedes precedes);

/// Writes the K best to `scores` and `experts` whatever the ties. `low` is
/// reached by at least K candidates. `values` (f32) and `pairs` (i32) have room
/// for K each and may be the results themselves.
void emitExactChoice(KernelBuilder &k, const RoutePlan &plan, ThreadTeam &team,
                     RouteCandidates &candidates, const SortedAxes &axes,
                     Threshold low, Value values, Value pairs, Value scores,
                     Value experts);

/// The kernels: a warp takes every `plan.tokensPerBlock`-th token of the tile,
/// `one` at most if the tile is known not to hold more, or the block takes one
/// token after the other.
void emitRouteByWarps(KernelBuilder &k, RouteOp op, const RoutePlan &plan,
                      Value threadId, bool one);
/// Where the logits of a warp's token are: in a row of two matrices.
struct LogitRows {
  Value rows, cols, number;
};
/// The same for one token, by a warp: the shared memory of all warps comes from
/// `reserve`, which makes a memref of so many elements for each.
void emitRouteOfWarp(
    KernelBuilder &k, RouteOp op, const RoutePlan &plan, Value threadId,
    Value token, const LogitRows &logits,
    llvm::function_ref<Value(int64_t size, Type type)> reserve);
void emitRouteByBlock(KernelBuilder &k, RouteOp op, const RoutePlan &plan,
                      Value threadId);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_ROUTE_H
