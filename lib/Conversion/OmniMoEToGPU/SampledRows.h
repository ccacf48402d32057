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

#include "ExpertBlock.h"
#include "mlir/IR/IRMapping.h"

namespace mlir::omnimoe {

/// 64 rows of a tile of slots, those of one warpgroup. What pairs take from
/// memory is asked for long before products are there, a few pairs a thread:
/// `loadPairs`, then `loadOperands`, which depends on it, then `sample`.
class SampledRows {
public:
  /// The rows have the sorted pairs from `from` to `to`. `warp` is counted from
  /// the block's first; `consumer` is the number of the warpgroup among those
  /// that consume.
  SampledRows(KernelBuilder &k, ExpertBlock block, Value cells, Value consumer,
              Value warp, Value lane, Value from, Value to);

  void loadPairs();
  void loadOperands();
  /// What a product takes from registers, two coefficients in each i32, of
  /// `products` as accumulators hold them. Pieces of `scratch` are 8 KB of the
  /// warpgroup's shared memory each, in which nothing is needed.
  SmallVector<Value> sample(ArrayRef<Value> products, ArrayRef<Value> scratch);

private:
  /// A pair's place among the warpgroup's cells, and what its coefficient takes
  /// besides the product.
  struct Pair {
    Value exists, cell, number;
    IRMapping operands;
  };

  SmallVector<Pair> loadPairs(Value at);
  void loadOperands(Pair &pair);
  void barrier();
  Value getWord(Value row, Value block8, Value column);
  Value move(Value pointer, Value words);
  void storeProducts(ArrayRef<Value> products, ArrayRef<Value> scratch,
                     int64_t firstBlock);
  void addCoefficients(ArrayRef<Value> scratch, int64_t firstBlock);
  void addCoefficient(Pair &pair, ArrayRef<Value> scratch, int64_t firstBlock);
  void loadCoefficients(ArrayRef<Value> scratch, int64_t firstBlock,
                        int64_t lastBlock, SmallVectorImpl<Value> &fragments);

  KernelBuilder &k;
  ExpertBlock block;
  Value cells, consumer, thread, from, to, ownWord;
  SmallVector<Pair> first;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SAMPLEDROWS_H
