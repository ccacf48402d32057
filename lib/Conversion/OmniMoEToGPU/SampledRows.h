//===- SampledRows.h - The few products that pairs need ----------*- C++
//-*-===//
//
// A dense product computes all products of a slot with a group; the slot's
// pairs need few of them. Through shared memory each pair picks its own,
// computes its coefficient, and puts it into a matrix of zeros, which the
// threads of the warpgroup take back in the order that the next product wants.
// So a pair costs what it costs in any schedule, and what was not chosen is
// never looked at.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SAMPLEDROWS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SAMPLEDROWS_H

#include "ExactCoefficients.h"
#include "ExpertBlock.h"
#include "mlir/IR/IRMapping.h"

namespace mlir::omnimoe {

/// What the coefficient of the pair at `place`, its token and choice, takes
/// besides the product.
IRMapping loadPairOperands(KernelBuilder &k, ExpertBlock block,
                           std::array<Value, 2> place);
/// The coefficient of a pair with these operands.
Value computeCoefficient(KernelBuilder &k, ExpertBlock block,
                         IRMapping operands, Value product);

/// 64 rows of a tile of slots, those of one warpgroup. They are sampled in
/// passes, each over as many blocks of columns as scratch memory has pieces.
/// What pairs take from memory is asked for passes ahead, a few pairs a thread:
/// `loadPairs`, then `loadOperands`, which depends on it, then `sample`.
class SampledRows {
public:
  /// `warp` is counted from the block's first; `consumer` is the number of the
  /// warpgroup among those that consume. `pieces` of scratch memory are 8 KB of
  /// the warpgroup's shared memory each.
  SampledRows(KernelBuilder &k, ExpertBlock block, const SlotTiles &tiles,
              Value consumer, Value warp, Value lane, int64_t pieces);

  /// Where the pairs of each pass over the rows of `tile` begin, and their end.
  SmallVector<Value> loadBounds(Value tile);
  /// From here on it is about the rows with these bounds.
  void begin(ValueRange bounds);

  void loadPairs();
  void loadOperands();
  /// What a product takes from registers, two coefficients in each i32, of
  /// `products` as accumulators hold them. Nothing is needed any more of what
  /// is in `scratch`.
  SmallVector<Value> sample(ArrayRef<Value> products, ArrayRef<Value> scratch);

private:
  /// A pair's place among the warpgroup's cells, and what its coefficient takes
  /// besides the product.
  struct Pair {
    Value exists, cell, number;
    IRMapping operands;
  };
  using Pairs = SmallVector<Pair>;

  int64_t getNumPasses() {
    return llvm::divideCeil(block.getColumnBlocks(), pieces);
  }
  Pairs loadPairs(Value at, Value end);
  void loadFirstPairs(int64_t pass);
  std::array<Value, 2> getTokenAndChoice(const Pair &pair);
  void loadOperands(Pair &pair);
  void barrier();
  Value getWord(Value row, Value block8, Value column);
  Value move(Value pointer, Value words);
  void storeProducts(ArrayRef<Value> products, ArrayRef<Value> scratch,
                     int64_t firstBlock);
  Value getPlace(const Pair &pair, ArrayRef<Value> scratch, int64_t firstBlock);
  Value getCoefficient(const Pair &pair, Value place);
  void addCoefficient(const Pair &pair, ArrayRef<Value> scratch,
                      int64_t firstBlock);
  void raiseSums(ArrayRef<Value> scratch, int64_t pass);
  Value loadExact(Value pointer);
  void forEachPair(int64_t pass, llvm::function_ref<void(Pair &)> body);
  void loadCoefficients(ArrayRef<Value> scratch, int64_t firstBlock,
                        int64_t lastBlock, SmallVectorImpl<Value> &fragments);

  KernelBuilder &k;
  ExpertBlock block;
  SlotTiles tiles;
  Value consumer, thread, ownWord;
  int64_t pieces;
  std::optional<ExactCoefficients> exact;
  SmallVector<Value> bounds;
  SmallVector<Pairs> first; ///< of each pass
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SAMPLEDROWS_H
