//===- ThreadTeam.h - Threads that work together -----------------*- C++
//-*-===//
//
// Operations of a warp, and a team of threads that is either a warp or a block:
// code written for a team serves both.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_THREADTEAM_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_THREADTEAM_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// The number of the warp that `thread` (i32) of a block is of: the same for
/// all lanes, and known to be.
Value getUniformWarp(KernelBuilder &k, Value thread);

//===--- Operations that all lanes of a warp take part in -----------------===//

/// The value of the lane whose number differs in the bits of `mask`.
Value shuffleXor(KernelBuilder &k, Value value, int64_t mask, int64_t width);
/// One bit for each lane, as i32.
Value ballot(KernelBuilder &k, Value predicate);
/// Whether the predicate holds in any lane.
Value anyLane(KernelBuilder &k, Value predicate);
/// Sum and maximum of an i32 over the lanes.
Value sumLanes(KernelBuilder &k, Value value);
Value maxLanes(KernelBuilder &k, Value value);
/// The value that lane `lane` (i32) has.
Value laneValue(KernelBuilder &k, Value value, Value lane);
/// Sum of an i32 over the lanes before this one.
Value sumLanesBefore(KernelBuilder &k, Value value);
/// Number of set bits.
Value countBits(KernelBuilder &k, Value bits);
/// The same value, by a shuffle that no compiler moves.
Value keepInLoop(KernelBuilder &k, Value value);
/// Waits for the lanes of the warp and makes their stores visible to it.
void syncWarp(KernelBuilder &k);

class ThreadTeam {
public:
  /// `rank` (i32) is the thread's number in the team, of `size` threads, whole
  /// warps. A team of several warps is the block and needs `partials`, shared
  /// memory for an i32 of each warp.
  ThreadTeam(KernelBuilder &k, Value rank, int64_t size, Value partials);

  Value rank() const { return threadRank; }
  Value lane() const { return threadLane; }
  Value warp() const { return threadWarp; }
  int64_t size() const { return threads; }
  int64_t warps() const;
  bool isWarp() const { return warps() == 1; }

  /// Barrier of the team.
  void sync();
  /// Sum over the threads of an i32.
  Value sum(Value value);
  /// Sum over the warps before the thread's of an i32 that is the same in all
  /// lanes of a warp.
  Value sumOfWarpsBefore(Value value);

  /// `for (i = rank; i < count; i += size)`; i32.
  void forEach(Value count, llvm::function_ref<void(Value)> body);

private:
  Value sumPartials(Value warps);

  KernelBuilder &k;
  int64_t threads;
  Value threadRank, threadLane, threadWarp, partials;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_THREADTEAM_H
