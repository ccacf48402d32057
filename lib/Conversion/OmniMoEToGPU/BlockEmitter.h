//===- BlockEmitter.h - Operations of one thread block -----------*- C++
//-*-===//
//
// A tile of tokens is one thread block. Each operation of the tile is computed
// by all threads of the block together, between barriers; values from one to
// the next stand in shared memory.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_BLOCKEMITTER_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_BLOCKEMITTER_H

#include "Utils/KernelBuilder.h"
#include "Utils/VectorPayload.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

namespace mlir::omnimoe {

/// All kernels of a program go into one GPU module.
inline constexpr llvm::StringLiteral kKernelModule = "kernels";

/// Threads of a warp.
inline constexpr int64_t kWarp = 32;
/// Bytes of the widest access of a thread.
inline constexpr int64_t kAccessBytes = 16;

/// Elements that one access of a row of `length` elements can hold: rows start
/// at multiples of `length`, so a power of two that divides it keeps accesses
/// aligned.
int64_t getAccessElements(int64_t length, Type elementType);

/// Expert vectors that a block has in flight in a sum of few pairs: all of
/// them.
inline constexpr int64_t kMaxVectorsPerBlock = 16;

/// The sums of a tile of one token, behind its products, whose vectors all fit
/// into the registers of `threads` threads and can be loaded ahead.
SmallVector<CombineOp> findEarlySums(Block &body, int64_t threads);

/// Says of the loop that is being built that 64 registers for each thread are
/// worth more than twice the warps.
void keepRegisters(KernelBuilder &k);

/// Threads of the block that suit an operation on rows of expert vectors: one
/// access of a row each.
int64_t getBlockThreads(int64_t hiddenSize, Type elementType);

/// The operands of `op` as they take part in its loops, or failure if an access
/// is more than a choice of loops. Where a vector of neighbours along the last
/// loop cannot be loaded at once, `contiguous` becomes false.
FailureOr<SmallVector<VectorOperand>> classifyOperands(linalg::LinalgOp op,
                                                       bool &contiguous);

/// Clones the payload of `op` in the iteration `ivs`, with its arguments
/// mapped, and returns what it yields.
SmallVector<Value> clonePayload(KernelBuilder &k, linalg::LinalgOp op,
                                IRMapping &mapping, ArrayRef<Value> ivs);

/// The one operation that combines elements of `op`, a reduction, if lanes can
/// use it; null if not.
Operation *matchCombiner(linalg::LinalgOp op);

/// A thread's piece of an expert vector, and whether the pair has an expert. If
/// it has not, the piece is of some other vector.
struct LoadedRow {
  Value piece;
  Value valid;

  /// The piece as f32, or zeros if the pair has no expert: chosen before
  /// elements are widened, since there are fewer words then.
  Value widen(KernelBuilder &k) const;
};

class BlockEmitter {
public:
  BlockEmitter(KernelBuilder &k, Value threadId, int64_t threads)
      : k(k), threadId(threadId), threads(threads) {}

  /// Lets sums start at zero instead of reading the zeros that a fill right
  /// before would write.
  void foldZeroFills(Block &body);

  /// Loads the vectors of `findEarlySums` ahead of the products: what few pairs
  /// take is latency, and two of them one after the other is twice as much.
  void preload(Block &body);

  /// Emits `op` and erases it, or fails if the block has no code for it.
  LogicalResult emit(Operation *op);

private:
  void emitGroupedMatmul(GroupedMatmulOp op);
  void emitCombineToTokens(CombineOp op);
  void emitSlicedCombine(CombineOp op, int64_t lanesOfTeam);
  void emitCombineToExperts(CombineOp op);
  LogicalResult emitProductsByExpert(GroupedMatmulOp op);
  bool ownsPieces(Value x, Value weights);
  Value loadOwnPiece(Value memref, Value row);
  void allocateParts(Operation *op);
  GroupedMatmulOp findProducts(CombineOp op);
  void storeParts(SmallVector<Value> parts, Value at);
  /// One pair for each lane of a warp.
  struct HeldPairs {
    Value pair, token, exists;
  };
  HeldPairs holdPairs(Value pairs, int64_t topK, Value first, Value end);
  void storeProducts(GroupedMatmulOp op, const HeldPairs &held, Value count);
  LogicalResult emitRoute(RouteOp op);
  LogicalResult emitPartition(PartitionOp op);
  /// Where in a token's list the pairs with an expert stand, in shared memory,
  /// and how many there are.
  struct PairList {
    Value positions, length;
  };
  bool hasFewPairs(Operation *op, Value experts, int64_t width);
  PairList listPairs(Operation *op, Value experts, int64_t numExperts);
  Value allocateShared(Operation *op, ArrayRef<int64_t> shape, Type type);
  LogicalResult emitProduct(const MatrixProduct &product);
  LogicalResult emitElementwise(linalg::LinalgOp op);
  LogicalResult emitReduction(linalg::LinalgOp op);
  void emitRowReduction(linalg::LinalgOp op, Operation *combiner,
                        TypedAttr neutral);
  void emitLoopsPerElement(linalg::LinalgOp op);
  LogicalResult emitSumOfParts(linalg::LinalgOp op);
  LoadedRow loadRow(CombineOp op, Value token, Value position, Value column);
  /// What lane number `lane` of this warp has for `value`.
  Value fromLane(Value value, Value lane);
  void barrier();

  KernelBuilder &k;
  Value threadId;
  int64_t threads;
  llvm::SmallPtrSet<Operation *, 4> startsAtZero;
  /// What the warps have of the products of the pairs that lanes hold.
  Value productParts;
  llvm::SmallDenseMap<Operation *, SmallVector<LoadedRow>> preloaded;
  llvm::SmallDenseMap<Value, PairList> lists;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_BLOCKEMITTER_H
