//===- PairRows.h - Coefficients of rows that are pairs ----------*- C++
//-*-===//
//
// All products of a pair with the vectors of its wide expert become
// coefficients, in the registers that they are in.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PAIRROWS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PAIRROWS_H

#include "ExpertBlock.h"
#include "RowCoefficients.h"
#include "RowSums.h"
#include "mlir/IR/IRMapping.h"

namespace mlir::omnimoe {

class PairRows : public RowCoefficients {
public:
  /// `warp` is counted from the first of the tile's rows. All vectors that
  /// there are products with exist if they `endInside` of the expert.
  PairRows(KernelBuilder &k, FusedBlock block, Value warp, Value lane,
           bool endInside);

  SmallVector<Value> lookAhead(Value) override { return {}; }
  void begin(const RowTile &tile, ValueRange) override;
  void loadPairs() override;
  void loadOperands() override;
  /// Products of one table follow those of another. Those of a further call are
  /// of the vectors that follow.
  SmallVector<Value> compute(ArrayRef<Value> products,
                             ArrayRef<Value> scratch) override;

private:
  Value loadOperand(OpOperand *input, int64_t half, Value number);
  SmallVector<Value> computeColumns(ArrayRef<Value> products, Value number);
  Value computeOne(ArrayRef<Value> products, int64_t half, Value number);

  KernelBuilder &k;
  FusedBlock block;
  Value warp, lane;
  bool endInside;
  TwoRows rows, tokens, choices; ///< of sorted pairs that exist
  Value exist;                   ///< whether the warp has any row
  Value ownVector;               ///< that of the thread's first product
  IRMapping operands[2];         ///< what does not depend on the vector
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_PAIRROWS_H
