//===- CostModel.h - Which schedule is fastest -------------------*- C++
//-*-===//
//
// A pure function from shapes and target to estimated seconds. Choosing stands
// apart from rewriting: passes only read the attribute that this leads to.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_COSTMODEL_H
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_COSTMODEL_H

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {

/// The static shapes of an expert block.
struct ExpertBlockShape {
  int64_t numExperts;   ///< N
  int64_t width;        ///< r, vectors an expert has
  int64_t hiddenSize;   ///< D
  int64_t topK;         ///< K
  int64_t elementBytes; ///< bytes of an element of the expert vectors
  int64_t gridColumns;  ///< C if the ids come from a router, else 0
  /// Whether products, coefficients and sums can be one kernel of a GPU, which
  /// adds to tokens in no fixed order.
  bool mayFuse = false;
  /// Whether its sums must not depend on that order.
  bool exact = false;
  int64_t products = 1; ///< tables that tokens are multiplied by
  /// Whether products are needed besides, as a gradient does.
  bool keepsProducts = false;
};

/// A schedule and the seconds it is estimated to take for some T.
struct ScheduleEstimate {
  ScheduleAttr schedule;
  double seconds;
};

/// Estimates for `tokens` tokens of all schedules that `target` can run, in the
/// order of `ScheduleKind`, each with the group size and tile that suit it.
/// `units` is the number of cores to plan for.
SmallVector<ScheduleEstimate>
estimateSchedules(MLIRContext *context, const ExpertBlockShape &shape,
                  int64_t tokens, TargetAttr target, int64_t units);

/// The seconds that one schedule is estimated to take for `tokens` tokens, if
/// it suits that many; also of one that would not be chosen for them.
std::optional<double> estimateSchedule(ScheduleAttr schedule,
                                       const ExpertBlockShape &shape,
                                       int64_t tokens, TargetAttr target,
                                       int64_t units);

/// True if the expert-centric schedule of a GPU can work with groups of
/// `groupSize` experts of `table`: [N, D], or [N, r, D] with an expert a group.
bool canGroupOnTensorCores(ShapedType table, int64_t groupSize);

/// Tables of wide experts that it can multiply tokens by at a time.
inline constexpr int64_t kMaxWideProducts = 16;

/// How that schedule cuts a wide expert: `tiles` tiles share its vectors
/// evenly, and take theirs in `passes` passes of `vectors` vectors, up to a
/// multiple of 16.
struct ExpertCut {
  int64_t tiles, passes, vectors;
};

/// The cut of an expert of `width` that tokens are multiplied by in `products`
/// tables, where `experts` experts are there for `units` units.
ExpertCut cutExpert(int64_t width, int64_t products, int64_t experts,
                    int64_t units);

/// Groups that a block of a GPU has counters for, in shared memory.
inline constexpr int64_t kMaxCountedGroups = 8192;

/// Groups of which a dispatch by lines keeps a table for all tokens.
inline constexpr int64_t kMostTableGroups = 1024;

/// Share of a GPU's second-level cache that the sums of a chunk of tokens take
/// in the expert-centric schedule. Vectors of experts and tokens pass through
/// the rest.
inline constexpr double kChunkShare = 0.35;

/// Groups, where these are lines of a grid, that a token with `topK` choices is
/// expected to have pairs in.
double estimateLines(const GroupLayout &layout, int64_t topK);

/// The same share for them, of which a token has pairs in `linesPerToken`.
/// Their vectors meet few tokens: reading `tableBytes` of tables once more may
/// cost more than sums, of `sumBytes` a token, that leave the cache.
double getLinesChunkShare(double linesPerToken, double tableBytes,
                          double sumBytes, TargetAttr target);

/// The columns of a tile of sums to tokens whose coefficients are known, so
/// that the slice of all vectors that a tile reads stays in a GPU's cache until
/// all tokens have met it; 0 where whole rows are as good. If coefficients are
/// not known yet, whole rows of `tables` tables have to share the cache.
int64_t chooseColumnTile(const ExpertBlockShape &shape, int64_t tokens,
                         TargetAttr target, int64_t tables = 1);
/// Tokens of such a tile, a warp each.
inline constexpr int64_t kSlicedTokens = 4;

/// True if a block of a GPU can own an expert in products: each of its threads
/// then has one access of a row.
bool mayGoByExpert(const ExpertBlockShape &shape, TargetAttr target);

/// The target of a module: its attribute, or the host.
TargetAttr getTarget(ModuleOp module);

} // namespace mlir::omnimoe

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_COSTMODEL_H
