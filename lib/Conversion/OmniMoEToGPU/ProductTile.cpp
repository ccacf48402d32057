//===- ProductTile.cpp - A tile of a dense product by a block -------------===//

#include "ProductTile.h"

#include "KnownDivisor.h"
#include "TileEpilogue.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"

using namespace mlir;
using namespace mlir::omnimoe;

std::optional<MatrixCut> mlir::omnimoe::getCut(Value memref) {
  Builder builder(memref.getContext());
  auto subview = memref.getDefiningOp<memref::SubViewOp>();
  if (!subview)
    return MatrixCut{memref, builder.getIndexAttr(0), builder.getIndexAttr(0)};
  if (subview.getSourceType().getRank() != 2 ||
      subview.getType().getRank() != 2 ||
      !llvm::all_of(subview.getMixedStrides(),
                    [](OpFoldResult stride) { return isOneInteger(stride); }))
    return std::nullopt;
  return MatrixCut{subview.getSource(), subview.getMixedOffsets()[0],
                   subview.getMixedOffsets()[1]};
}

bool mlir::omnimoe::isOfTile(Value memref) {
  return memref.getDefiningOp<memref::AllocOp>() != nullptr;
}

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
                             const StoredOperand &operand, int64_t size,
                             int64_t depth, Value summed, int64_t threads) {
  int64_t elements = operand.elements;
  int64_t columns = operand.transposed ? size : depth;
  int64_t rows = operand.transposed ? depth : size;
  int64_t piecesOfRow = columns / elements;
  int64_t rowsAtOnce = threads / piecesOfRow;
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
  bool any = false;
  for (auto op : body->getOps<linalg::LinalgOp>()) {
    if (matchMatrixProduct(op)) {
      any = true;
      continue;
    }
    bool isFill = isa<linalg::FillOp>(op.getOperation());
    bool inMemory = llvm::none_of(op.getDpsInits(), [](Value init) {
      return init.getDefiningOp<memref::AllocOp>();
    });
    if (!isFill && (op.getNumReductionLoops() > 0 || !inMemory))
      return false;
  }
  return any;
}

/// The most rows (0) or columns (1) of `memref`, as a power of two.
static FailureOr<int64_t> getSize(Value memref, int64_t dim) {
  FailureOr<int64_t> bound = ValueBoundsConstraintSet::computeConstantBound(
      presburger::BoundType::UB, {memref, dim}, /*stopCondition=*/nullptr,
      /*closedUB=*/true);
  if (failed(bound))
    return failure();
  return std::max<int64_t>(llvm::PowerOf2Ceil(*bound), kLeastTileSize);
}

FailureOr<ProductTile> mlir::omnimoe::getProductTile(Value result) {
  FailureOr<int64_t> rows = getSize(result, 0), columns = getSize(result, 1);
  if (failed(rows) || failed(columns) || *rows > kTileSize ||
      *columns > (*rows < kTileSize ? kMostNarrowColumns : kTileSize))
    return failure();
  return ProductTile{*rows, *columns};
}

int64_t mlir::omnimoe::getNumParts(scf::ForallOp forall, TargetAttr target) {
  // A cluster may have eight blocks; each has enough to do for its pipeline to
  // fill. Two blocks share a multiprocessor.
  constexpr int64_t kMostParts = 8, kLeastSummed = 512;
  int64_t most = kMostParts;
  for (Operation &op : *forall.getBody()) {
    std::optional<MatrixProduct> product = matchMatrixProduct(&op);
    if (!product)
      continue;
    FailureOr<ProductTile> tile = getProductTile(product->result->get());
    auto left = cast<ShapedType>(product->left->get().getType());
    int64_t summed = left.getDimSize(product->leftTransposed ? 0 : 1);
    if (failed(tile) || tile->rows != kFewRows || tile->columns != kFewRows ||
        !suitsTensorCores(*product) || ShapedType::isDynamic(summed))
      return 1;
    most = std::min(most, summed / kLeastSummed);
  }
  if (forall.getRank() != 2)
    return 1;
  std::optional<int64_t> columns =
      getConstantIntValue(forall.getMixedUpperBound().back());
  if (!columns)
    return 1;
  int64_t tiles = llvm::divideCeil(*columns, kFewRows), parts = 1;
  while (2 * parts <= most && tiles * parts < 3 * target.getUnits() / 2)
    parts *= 2;
  return parts;
}

LogicalResult mlir::omnimoe::emitProductTile(KernelBuilder &k,
                                             gpu::LaunchOp launch,
                                             int64_t parts) {
  Block &body = launch.getBody().front();
  ProductTile tile{0, 0};
  bool tensorCores = true;
  for (Operation &op : body)
    if (std::optional<MatrixProduct> product = matchMatrixProduct(&op)) {
      FailureOr<ProductTile> own = getProductTile(product->result->get());
      if (failed(own))
        return op.emitOpError("has a tile of more than ")
               << kTileSize << " rows or columns";
      tile.rows = std::max(tile.rows, own->rows);
      tile.columns = std::max(tile.columns, own->columns);
      tensorCores &= suitsTensorCores(*product);
    }
  k.setInsertionPointToStart(&body);
  std::unique_ptr<TileMultiplier> multiplier =
      tensorCores ? createTensorCoreMultiplier(k, launch, tile, parts)
                  : createFMAMultiplier(k, launch);
  return TileEpilogue(k, body, *multiplier).emit();
}
