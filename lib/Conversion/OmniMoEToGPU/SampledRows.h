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
#include "RowCoefficients.h"
#include "mlir/IR/IRMapping.h"

namespace mlir::omnimoe {

/// Token and choice of pair `number`, as indices of [T, K].
std::array<Value, 2> getTokenAndChoice(KernelBuilder &k, FusedBlock block,
                                       Value number);
/// What the coefficient of the pair at `place`, its token and choice, takes
/// from `input`.
Value loadPairInput(KernelBuilder &k, FusedBlock block, OpOperand &input,
                    std::array<Value, 2> place);
/// All that it takes besides the product.
IRMapping loadPairOperands(KernelBuilder &k, FusedBlock block,
                           std::array<Value, 2> place);
/// The coefficient of a pair with these operands.
Value computeCoefficient(KernelBuilder &k, FusedBlock block, IRMapping operands,
                         Value product);

/// Rows that are slots. They are sampled in passes, each over as many blocks of
/// columns as scratch memory has pieces. A thread asks for a few pairs ahead.
class SampledRows : public RowCoefficients {
public:
  /// `warp` is counted from the block's first; `consumer` is the number of the
  /// warpgroup among those that consume. `pieces` of scratch memory are 8 KB of
  /// the warpgroup's shared memory each.
  SampledRows(KernelBuilder &k, FusedBlock block, const SlotTiles &tiles,
              Value consumer, Value warp, Value lane, int64_t pieces);

  SmallVector<Value> lookAhead(Value tile) override;
  void begin(const RowTile &tile, ValueRange ahead) override;
  void loadPairs() override;
  void loadOperands() override {}
  SmallVector<Value> compute(ArrayRef<Value> products,
                             ArrayRef<Value> scratch) override;

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
  void barrier();
  Value getWord(Value row, Value block8, Value column);
  Value move(Value pointer, Value words);
  void storeProducts(ArrayRef<Value> products, ArrayRef<Value> scratch,
                     int64_t firstBlock);
  Value getPlace(const Pair &pair, ArrayRef<Value> scratch, int64_t firstBlock);
  void forCoefficients(
      ArrayRef<Pair> pairs, ArrayRef<Value> scratch, int64_t firstBlock,
      llvm::function_ref<void(const Pair &, Value, Value, Value)> body);
  void addCoefficients(ArrayRef<Value> scratch, int64_t pass);
  void raiseSums(ArrayRef<Value> scratch, int64_t pass);
  Value loadExact(Value pointer);
  void forPairs(int64_t pass, llvm::function_ref<void(ArrayRef<Pair>)> body);
  void loadCoefficients(ArrayRef<Value> scratch, int64_t firstBlock,
                        int64_t lastBlock, SmallVectorImpl<Value> &fragments);

  KernelBuilder &k;
  FusedBlock block;
  SlotTiles tiles;
  Value consumer, thread, ownWord;
  int64_t pieces, pairsAhead;
  SmallVector<OpOperand *> inputs;
  std::optional<ExactCoefficients> exact;
  /// Where the pairs of each pass begin, and their end.
  SmallVector<Value> bounds;
  SmallVector<Pairs> first; ///< of each pass
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SAMPLEDROWS_H
