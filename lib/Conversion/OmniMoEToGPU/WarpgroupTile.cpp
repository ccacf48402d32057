//===- WarpgroupTile.cpp - Which tiles warpgroups can compute -------------===//

#include "ProductTile.h"
#include "WarpgroupProduct.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// The operation of the tile that gathers the rows `memref`, a buffer of it.
static std::optional<RowGather> getGather(Block &body, Value memref) {
  if (memref.getDefiningOp<memref::AllocOp>())
    for (auto generic : body.getOps<linalg::GenericOp>())
      if (llvm::is_contained(generic.getDpsInits(), memref))
        return matchRowGather(generic);
  return std::nullopt;
}

/// All indices of rows of which a tile has those from `row` on.
static Value getIndices(Value memref, OpFoldResult row) {
  auto subview = memref.getDefiningOp<memref::SubViewOp>();
  if (!subview)
    return isZeroInteger(row) ? memref : Value();
  if (!isEqualConstantIntOrValue(subview.getMixedOffsets().front(), row) ||
      !isOneInteger(subview.getMixedStrides().front()))
    return nullptr;
  return subview.getSource();
}

/// Lets `tile`, whose rows begin at `row`, take the left operand from where
/// `gather` would.
static bool takeGathered(WarpgroupTile &tile, const RowGather &gather,
                         OpFoldResult row) {
  if (tile.gather)
    return tile.gather->op == gather.op;
  tile.indices = getIndices(gather.indices, row);
  auto type = tile.indices ? dyn_cast<MemRefType>(tile.indices.getType())
                           : MemRefType();
  tile.gather = gather;
  tile.left = gather.matrix;
  linalg::GenericOp op = gather.op;
  return type && type.getRank() == 1 && type.getLayout().isIdentity() &&
         tile.forall.isDefinedOutsideOfLoop(tile.indices) &&
         llvm::all_of(*op.getBlock(), [&](Operation &inner) {
           return llvm::all_of(inner.getOperands(), [&](Value operand) {
             return operand.getParentBlock() == op.getBlock() ||
                    tile.forall.isDefinedOutsideOfLoop(operand);
           });
         });
}

/// True if the products' sums start at zero: the tile has no other fills, and
/// each result was filled or is a copy of what was.
static bool startAtZero(Block &body, ArrayRef<MatrixProduct> products) {
  DenseSet<Value> zeros;
  for (Operation &op : body) {
    if (auto fill = dyn_cast<linalg::FillOp>(op)) {
      if (!matchPattern(fill.value(), m_AnyZeroFloat()))
        return false;
      zeros.insert(fill.output());
    } else if (auto copy = dyn_cast<memref::CopyOp>(op)) {
      if (zeros.contains(copy.getSource()))
        zeros.insert(copy.getTarget());
    } else if (llvm::any_of(products, [&](const MatrixProduct &product) {
                 return product.op == &op &&
                        !zeros.erase(product.result->get());
               })) {
      return false;
    }
  }
  return true;
}

/// The memory that the tile's result is stored to.
static Value getStored(Block &body) {
  Value stored;
  for (Operation &op : body)
    if (auto linalgOp = dyn_cast<linalg::LinalgOp>(op))
      for (Value init : linalgOp.getDpsInits()) {
        if (init.getDefiningOp<memref::AllocOp>())
          continue;
        if (stored && stored != init)
          return nullptr;
        stored = init;
      }
  return stored;
}

/// True if the parts of the one product's sums are equal, and whole steps.
static bool canSharePart(const WarpgroupTile &tile) {
  int64_t summed = cast<MemRefType>(tile.left.getType()).getDimSize(1);
  return tile.products.size() == 1 &&
         summed % (tile.parts * kWarpgroupTileDepth) == 0;
}

std::optional<WarpgroupTile>
mlir::omnimoe::matchWarpgroupTile(scf::ForallOp forall) {
  WarpgroupTile tile{forall, {}, {}, {}, {}, -1, -1};
  Block &body = *forall.getBody();
  for (Operation &op : body)
    if (std::optional<MatrixProduct> product = matchMatrixProduct(&op))
      tile.products.push_back(*product);
  Value stored = getStored(body);
  if (tile.products.empty() || tile.products.size() > 2 || !stored ||
      !startAtZero(body, tile.products))
    return std::nullopt;

  std::optional<MatrixCut> result = getCut(stored);
  auto resultType =
      result ? dyn_cast<MemRefType>(result->matrix.getType()) : MemRefType();
  if (!resultType || !resultType.getLayout().isIdentity() ||
      resultType.isDynamicDim(1))
    return std::nullopt;
  tile.result = result->matrix;
  // Each loop starts at 0, has the kernel's step, and says where the result's
  // tile begins.
  int64_t columns = kWarpgroupTileColumns / int64_t(tile.products.size());
  for (auto [index, iv] : llvm::enumerate(forall.getInductionVars())) {
    bool isRow = result->row == OpFoldResult(iv);
    bool isColumn = result->column == OpFoldResult(iv);
    int64_t step = isRow ? kWarpgroupTileRows : columns;
    if (isRow == isColumn ||
        getConstantIntValue(forall.getMixedLowerBound()[index]) != 0 ||
        getConstantIntValue(forall.getMixedStep()[index]) != step)
      return std::nullopt;
    (isRow ? tile.rowLoop : tile.columnLoop) = index;
  }
  if ((tile.rowLoop < 0 && !isZeroInteger(result->row)) ||
      (tile.columnLoop < 0 && (!isZeroInteger(result->column) ||
                               resultType.getDimSize(1) > columns)) ||
      (tile.rowLoop < 0 && (resultType.isDynamicDim(0) ||
                            resultType.getDimSize(0) > kWarpgroupTileRows)))
    return std::nullopt;

  // The operands begin where the result does, and are whole along the sums.
  for (MatrixProduct &product : tile.products) {
    std::optional<MatrixCut> left = getCut(product.left->get());
    if (auto gather = getGather(body, product.left->get()))
      left = takeGathered(tile, *gather, result->row)
                 ? std::optional(MatrixCut{tile.left, result->row,
                                           OpBuilder(forall).getIndexAttr(0)})
                 : std::nullopt;
    std::optional<MatrixCut> right = getCut(product.right->get());
    if (!left || !right || !isEqualConstantIntOrValue(left->row, result->row) ||
        !isEqualConstantIntOrValue(right->row, result->column) ||
        !isZeroInteger(left->column) || !isZeroInteger(right->column) ||
        !forall.isDefinedOutsideOfLoop(left->matrix) ||
        !forall.isDefinedOutsideOfLoop(right->matrix) ||
        (tile.left && tile.left != left->matrix))
      return std::nullopt;
    auto leftType = cast<MemRefType>(left->matrix.getType());
    auto rightType = cast<MemRefType>(right->matrix.getType());
    if (cast<MemRefType>(product.left->get().getType()).getDimSize(1) !=
            leftType.getDimSize(1) ||
        rightType.getDimSize(0) != resultType.getDimSize(1))
      return std::nullopt;
    tile.left = left->matrix;
    tile.rights.push_back(right->matrix);
    if (!canWarpgroupsMultiply(left->matrix, right->matrix))
      return std::nullopt;
  }
  if (auto parts = forall->getAttrOfType<IntegerAttr>(kPartsAttrName))
    tile.parts = parts.getInt();
  if (tile.parts > 1 && !canSharePart(tile))
    return std::nullopt;
  return forall.isDefinedOutsideOfLoop(tile.result) ? std::optional(tile)
                                                    : std::nullopt;
}

Value mlir::omnimoe::getNumTiles(KernelBuilder &k, const WarpgroupTile &tile) {
  int64_t columns = kWarpgroupTileColumns / tile.products.size();
  Value rowTiles = arith::CeilDivUIOp::create(
      k, memref::DimOp::create(k, tile.result, 0), k.index(kWarpgroupTileRows));
  return k.mul(
      rowTiles,
      llvm::divideCeil(cast<MemRefType>(tile.result.getType()).getDimSize(1),
                       columns));
}
