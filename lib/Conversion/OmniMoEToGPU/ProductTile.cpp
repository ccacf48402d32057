//===- ProductTile.cpp - A tile of a dense product by a block -------------===//

#include "ProductTile.h"

#include "KnownDivisor.h"
#include "TileEpilogue.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"

using namespace mlir;
using namespace mlir::omnimoe;

StoredOperand mlir::omnimoe::getStoredOperand(KernelBuilder &k, Value operand,
                                              bool transposed,
                                              int64_t accessBytes) {
  Type elementType = getElementTypeOrSelf(operand.getType());
  int64_t limit = accessBytes * 8 / elementType.getIntOrFloatBitWidth();
  return {operand,
          memref::DimOp::create(k, operand, 0),
          memref::DimOp::create(k, operand, 1),
          elementType,
          transposed,
          getAlignedElements(operand, limit)};
}

SmallVector<TilePiece>
mlir::omnimoe::getTilePieces(KernelBuilder &k, Value threadId,
                             const StoredOperand &operand, int64_t elements,
                             int64_t depth, Value summed) {
  int64_t columns = operand.transposed ? kTileSize : depth;
  int64_t rows = operand.transposed ? depth : kTileSize;
  int64_t piecesOfRow = columns / elements;
  int64_t rowsAtOnce = kTileThreads / piecesOfRow;
  Value firstRow = arith::DivUIOp::create(k, threadId, k.index(piecesOfRow));
  Value column = k.mul(
      arith::RemUIOp::create(k, threadId, k.index(piecesOfRow)), elements);
  Value inner = operand.transposed ? column : k.add(summed, column);
  Value inRow = k.compare(arith::CmpIPredicate::ult, inner, operand.inner);
  SmallVector<TilePiece> pieces;
  for (int64_t at = 0; at < rows; at += rowsAtOnce) {
    Value row = k.add(firstRow, at);
    Value outer = operand.transposed ? k.add(summed, row) : row;
    Value valid = k.both(
        inRow, k.compare(arith::CmpIPredicate::ult, outer, operand.outer));
    pieces.push_back({row, column, outer, inner, valid});
  }
  return pieces;
}

bool mlir::omnimoe::isProductTile(Block *body) {
  return llvm::any_of(
      *body, [](Operation &op) { return matchMatrixProduct(&op).has_value(); });
}

/// Tensor cores take two matrices of one short type.
static bool suitsTensorCores(const MatrixProduct &product) {
  Type left = getElementTypeOrSelf(product.left->get().getType());
  Type right = getElementTypeOrSelf(product.right->get().getType());
  return left == right && (left.isF16() || left.isBF16());
}

/// True if the tile's buffers are never larger than a tile.
static bool fitsTile(Value memref) {
  for (int64_t dim : {0, 1}) {
    FailureOr<int64_t> bound = ValueBoundsConstraintSet::computeConstantBound(
        presburger::BoundType::UB, {memref, dim}, /*stopCondition=*/nullptr,
        /*closedUB=*/true);
    if (failed(bound) || *bound > kTileSize)
      return false;
  }
  return true;
}

LogicalResult mlir::omnimoe::emitProductTile(KernelBuilder &k,
                                             gpu::LaunchOp launch) {
  Block &body = launch.getBody().front();
  bool tensorCores = true;
  for (Operation &op : body)
    if (std::optional<MatrixProduct> product = matchMatrixProduct(&op)) {
      if (!fitsTile(product->result->get()))
        return op.emitOpError("has a tile of more than ")
               << kTileSize << " rows or columns";
      tensorCores &= suitsTensorCores(*product);
    }
  std::unique_ptr<TileMultiplier> multiplier =
      tensorCores ? createTensorCoreMultiplier(k, launch)
                  : createFMAMultiplier(k, launch);
  k.setInsertionPointToStart(&body);
  return TileEpilogue(k, body, *multiplier).emit();
}
