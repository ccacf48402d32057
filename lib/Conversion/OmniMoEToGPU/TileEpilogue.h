//===- TileEpilogue.h - What is done to the sums of a tile -------*- C++
//-*-===//
//
// Walks the operations of a tile of dense products in order and keeps, for each
// buffer, the sums that stand for it in registers:
//
//   fill     the sums are a constant
//   product  the sums are multiplied on; a result in memory is stored
//   copy     the sums have another name
//   gather   nothing: products read the rows from where they are
//   generic  element-wise on the sums and on memory; its result is stored
//
// Where lanes hold whole rows, operations may besides reduce rows, and their
// results may stay in registers.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TILEEPILOGUE_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TILEEPILOGUE_H

#include "ProductTile.h"
#include "TileOperands.h"
#include "Utils/VectorPayload.h"

namespace mlir::omnimoe {

class TileEpilogue {
public:
  /// `body` has the operations, `multiplier` the products' code, `operands`
  /// what has been loaded before.
  TileEpilogue(KernelBuilder &k, Block &body, TileMultiplier &multiplier,
               TileOperands operands = {})
      : k(k), body(body), multiplier(multiplier), operands(std::move(operands)),
        fragments(multiplier.getFragments()) {}

  /// Replaces the operations by code; results are stored.
  LogicalResult emit();
  /// The same, but the one result is not stored: returns a vector for each
  /// fragment. Only for bodies of which `mayKeep` is true.
  FailureOr<SmallVector<Value>> emitAndKeep();

  /// What the thread has of `memref`, one f32 for each column of each fragment:
  /// of a buffer of the tile, or what it has stored where lanes hold rows and
  /// it is made of rows alone. Null if it has nothing.
  const TileSums *getValues(Value memref) const {
    for (const auto *known : {&sums, &stored})
      if (auto found = known->find(memref); found != known->end())
        return &found->second;
    return nullptr;
  }

  /// Emits one product alone, which adds to its result in memory, or to zero.
  LogicalResult emitProduct(const MatrixProduct &product);
  void startAtZero(Value result);

  /// True if `op`, which is no product, can be computed where lanes hold whole
  /// rows: a fill, a copy, a reduction of rows, or element by element.
  /// `results` are those of the products.
  static bool isOfRows(Operation *op, const DenseSet<Value> &results);

  /// True if `body` has one result, and takes nothing else from memory that is
  /// made of the sums.
  static bool mayKeep(Block &body);

private:
  LogicalResult emitOperation(Operation *op);
  LogicalResult emitElementwise(linalg::LinalgOp op);
  void emitRowReduction(linalg::LinalgOp op);
  /// Columns of a fragment that one access to all of `memrefs` may take.
  int64_t getWidth(ArrayRef<Value> memrefs);
  /// Calls `body(position of the first sum, row, column)` for each piece of
  /// `width` columns that lies inside of `rows` x `columns`, and `prepare` with
  /// the number of each fragment before.
  void forEachPiece(Value rows, Value columns, int64_t width,
                    llvm::function_ref<void(int64_t, Value, Value)> body,
                    llvm::function_ref<void(int64_t)> prepare = nullptr);
  int64_t numSums() { return fragments.size() * multiplier.getFragmentWidth(); }
  TileSums loadSums(Value memref);
  void storeSums(const TileSums &values, Value memref);
  void storePairs(const TileSums &values, Value memref, Value isOdd);
  Value getVector(ArrayRef<Value> elements);
  /// What the payload of `op` makes of `width` columns, with what has been
  /// loaded for the operation alone.
  Value computePiece(linalg::LinalgOp op, ArrayRef<VectorOperand> memrefs,
                     const TileOperands &own, int64_t first, int64_t width,
                     Value row, Value column);
  void store(Value vector, Value memref, Value row, Value column);

  KernelBuilder &k;
  Block &body;
  TileMultiplier &multiplier;
  TileOperands operands;
  SmallVector<Fragment> fragments;
  DenseMap<Value, TileSums> sums;
  /// Buffers with one element a row: that of the thread's row.
  DenseMap<Value, Value> rows;
  /// What was stored to memory, if it is known.
  DenseMap<Value, TileSums> stored;
  DenseSet<Value> gathered;
  bool keeps = false;
  SmallVector<Value> kept;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_TILEEPILOGUE_H
