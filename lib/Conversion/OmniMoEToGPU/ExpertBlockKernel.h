//===- ExpertBlockKernel.h - Products, coefficients and sums in one *- C++
//-*-===//
//
// A persistent kernel of one producer and two consumer warpgroups. For each
// tile of 128 rows of a group, 64 for each consumer:
//
// 1. Producer: gathers pieces of the rows' tokens (cp.async) and copies the
//    same columns of the tile's up vectors, stage by stage; then copies the
//    tile's down vectors, 64 columns a stage.
// 2. Consumers multiply tokens by up vectors; all products stay in registers.
// 3. Of these, coefficients are computed (`RowCoefficients`).
// 4. Consumers multiply coefficients, from registers, by down vectors, 64
//    columns at a time, and add the results to the tokens' rows in memory while
//    the next 64 columns are multiplied.
//
// The vectors of a tile are those of all experts of a group, of which pairs
// need some, or those of a wide expert, or an even part of them, of which its
// pairs need all. Products with several tables may take steps 1 to 3 several
// times, for a part of the vectors each.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXPERTBLOCKKERNEL_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXPERTBLOCKKERNEL_H

#include "BarrierRing.h"
#include "ExactSums.h"
#include "ExpertBlock.h"
#include "RowCoefficients.h"
#include "RowSums.h"
#include "TensorMaps.h"
#include "TileQueue.h"
#include "WarpgroupMatrix.h"

namespace mlir::omnimoe {

/// What a stage holds: elements of a swizzled row, of tokens and up vectors
/// along the sums, of down vectors along the columns.
inline constexpr int64_t kBlockDepth = 64;
inline constexpr int64_t kTokenBytes = kSlotTileRows * kSwizzleBytes;
inline constexpr int64_t kStageAlignment = 1024;
static_assert(kBlockDepth == kFragmentProductColumns);

inline constexpr int64_t kConsumers = 2;
inline constexpr int64_t kExpertBlockThreads = 128 * (kConsumers + 1);
inline constexpr int64_t kWarpsOfGroup = 4;

/// How the vectors of a tile are cut: into passes over the tokens, and these
/// into products and copies.
struct TileVectors {
  TileVectors(FusedBlock block, int64_t units);

  int64_t getStageBytes() const {
    return llvm::alignTo(kTokenBytes + std::max(products * columns, depth) *
                                           kSwizzleBytes,
                         kStageAlignment);
  }

  int64_t depth;    ///< down vectors, and coefficients of a row
  int64_t passes;   ///< times that tokens are gathered and multiplied
  int64_t products; ///< products that they are multiplied in
  int64_t columns;  ///< up vectors in each
  int64_t rows;     ///< vectors in a copy
  int64_t tiles;    ///< tiles that share the vectors of a wide expert
};

/// How the hardware finds a table's vectors; by lines, those of a row of the
/// grid, and those of a column.
struct TableMap {
  Value rows, columns;
};

class ExpertBlockKernel {
public:
  /// A map for each table of up vectors; `cachePolicy` is that of all vectors,
  /// or null.
  ExpertBlockKernel(KernelBuilder &k, FusedBlock block,
                    const SlotTiles &slotTiles, const TileVectors &vectors,
                    gpu::LaunchOp launch, ArrayRef<TableMap> upMaps,
                    TableMap downMap, Value cachePolicy, int64_t stages);
  /// `attempt` is the number of the launch that `limits` are for, if they are.
  void emit(const SumLimits *limits, Value attempt);

private:
  /// Vectors of a tile, from the number `first` of them on.
  struct Copy {
    TableMap map;
    int64_t first;
  };
  Value getKnown(Value index);
  RowTile loadTile(Value index);
  Value isTile(Value index);
  Value loadToken(Value row);
  Value getStage(Value stage);

  void emitProducer();
  /// The rows of a tile that the first consumer has.
  Value getSplit(const RowTile &tile);
  Value getTileOf(Value number);
  void release(Value stage);
  RingPosition gatherTokens(const RowTile &tile, RingPosition at);
  RingPosition copyDownVectors(const RowTile &tile, RingPosition at);
  SmallVector<Copy> getUpCopies(int64_t pass);
  SmallVector<Copy> getDownCopies();
  void copyVectors(ArrayRef<Copy> copies, const RowTile &tile, Value stage,
                   Value column);
  RingPosition
  produce(ArrayRef<Copy> copies, const RowTile &tile, RingPosition at,
          llvm::function_ref<void(Value step, Value stage)> fillRest);

  void emitConsumer();
  std::unique_ptr<RowCoefficients> createCoefficients();
  SmallVector<Value> getScratch(Value stage);
  SmallVector<Value> multiplyByUp(RingPosition &at,
                                  llvm::function_ref<void()> meanwhile);
  RingPosition multiplyByDown(ArrayRef<Value> coefficients, RowSums tokenSums,
                              ExactRows *exact, RingPosition at);
  RingPosition addToTokens(ArrayRef<Value> coefficients, const RowTile &tile,
                           TwoRows tokens, RingPosition at);
  TwoRows getRows(const RowTile &tile);
  Value getRowsEnd(const RowTile &tile);
  TwoRows loadTokens(const RowTile &tile);

  KernelBuilder &k;
  FusedBlock block;
  SlotTiles slotTiles;
  const SumLimits *limits = nullptr;
  TileVectors vectors;
  SmallVector<TableMap> upMaps;
  TableMap downMap;
  Value cachePolicy;
  int64_t stages, steps;
  Type elementType;
  BarrierRing ring;
  TileQueue queue;
  int64_t clusterBlocks;
  Value blockOfCluster; ///< null if there are no clusters
  Value thread, warp, group, lane, isFirstLane, consumer;
  Value firstTile, tileCount, stageBase;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_EXPERTBLOCKKERNEL_H
