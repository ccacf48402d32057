//===- RowTile.cpp - Two narrow products and their whole rows -------------===//
//
// 1. Find out which operations follow which product, by the buffers of the tile
//    that they share.
// 2. Multiply: half of the warps have the one product, half the other. A warp of
//    either half has half of the summed loop; then one has all.
// 3. Those make what follows their product of the sums in their registers.
//
//===----------------------------------------------------------------------===//

#include "RowTile.h"

#include "TileEpilogue.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/EquivalenceClasses.h"

using namespace mlir;
using namespace mlir::omnimoe;

static bool isOfTile(Value memref) {
  return memref.getDefiningOp<memref::AllocOp>() != nullptr;
}

/// True if the sums of `product` start at the zeros that are the only thing in
/// its result before.
static bool startsAtZero(const MatrixProduct &product) {
  for (Operation *op = product.op->getPrevNode(); op; op = op->getPrevNode())
    if (!isa<memref::AllocOp, memref::DimOp>(op) &&
        llvm::is_contained(op->getOperands(), product.result->get())) {
      auto fill = dyn_cast<linalg::FillOp>(op);
      return fill && matchPattern(fill.value(), m_AnyZeroFloat());
    }
  return false;
}

/// The tile that holds both products, if warps can share it.
static std::optional<ProductTile>
getSharedTile(ArrayRef<MatrixProduct> products) {
  ProductTile tile{0, 0};
  const MatrixProduct &first = products.front();
  for (const MatrixProduct &product : products) {
    FailureOr<ProductTile> own = getProductTile(product.result->get());
    if (failed(own) || !isNarrow(product) || !startsAtZero(product) ||
        product.left->get() != first.left->get() ||
        product.leftTransposed != first.leftTransposed ||
        product.rightTransposed != first.rightTransposed ||
        isOfTile(product.left->get()) || isOfTile(product.right->get()) ||
        !isOfTile(product.result->get()))
      return std::nullopt;
    tile.rows = std::max(tile.rows, own->rows);
    tile.columns = std::max(tile.columns, own->columns);
  }
  if (tile.rows != kNarrowTileRows || tile.columns > kMostNarrowColumns)
    return std::nullopt;
  return tile;
}

std::optional<RowTile> mlir::omnimoe::matchRowTile(Block &body) {
  RowTile rowTile;
  llvm::EquivalenceClasses<Value> buffers;
  auto forEachBuffer = [](Operation *op, auto visit) {
    for (Value operand : op->getOperands())
      if (isOfTile(operand))
        visit(operand);
  };
  SmallVector<Operation *> computed;
  for (Operation &op : body) {
    if (!isa<linalg::LinalgOp, memref::CopyOp>(op))
      continue;
    if (std::optional<MatrixProduct> product = matchMatrixProduct(&op))
      rowTile.products.push_back(*product);
    else if (!TileEpilogue::isOfRows(&op))
      return std::nullopt;
    computed.push_back(&op);
    Value first;
    forEachBuffer(&op, [&](Value buffer) {
      first ? (void)buffers.unionSets(first, buffer)
            : (void)buffers.insert(first = buffer);
    });
    if (!first)
      return std::nullopt;
  }
  if (rowTile.products.size() != 2)
    return std::nullopt;
  std::optional<ProductTile> tile = getSharedTile(rowTile.products);
  if (!tile || buffers.isEquivalent(rowTile.products[0].result->get(),
                                    rowTile.products[1].result->get()))
    return std::nullopt;
  rowTile.tile = *tile;
  for (Operation *op : computed) {
    Value buffer;
    forEachBuffer(op, [&](Value operand) { buffer = operand; });
    auto *owner = llvm::find_if(rowTile.products, [&](auto &product) {
      return buffers.isEquivalent(product.result->get(), buffer);
    });
    if (owner == rowTile.products.end())
      return std::nullopt;
    size_t number = owner - rowTile.products.begin();
    rowTile.owners[op] = number;
    forEachBuffer(op, [&](Value operand) {
      rowTile.owners[operand.getDefiningOp()] = number;
      for (Operation *user : operand.getUsers())
        if (isa<memref::DeallocOp>(user))
          rowTile.owners[user] = number;
    });
  }
  return rowTile;
}

LogicalResult mlir::omnimoe::emitRowTile(KernelBuilder &k, gpu::LaunchOp launch,
                                         const RowTile &tile) {
  Block &body = launch.getBody().front();
  SmallVector<SmallVector<Operation *>, 2> operations(tile.products.size());
  for (Operation &op : body)
    if (auto owner = tile.owners.find(&op); owner != tile.owners.end())
      operations[owner->second].push_back(&op);

  k.setInsertionPoint(body.getTerminator());
  std::unique_ptr<RowMultiplier> multiplier =
      createRowMultiplier(k, launch, tile.tile);
  SmallVector<Fragment> fragments = multiplier->getFragments();
  TileSums sums = multiplier->multiplyBoth(tile.products);
  LogicalResult result = success();
  auto emitOwn = [&](size_t number) {
    Block *block = k.getInsertionBlock();
    for (Operation *op : operations[number])
      op->moveBefore(block->getTerminator());
    ReadySums ready(k, multiplier->getFragmentWidth(), fragments, {sums},
                    /*isOddOfPair=*/nullptr, multiplier->getRowsOfThread());
    if (failed(TileEpilogue(k, *block, ready).emit()))
      result = failure();
  };
  for (size_t number = 0; number < tile.products.size(); ++number)
    k.when(k.compare(arith::CmpIPredicate::eq, multiplier->getProductNumber(),
                     k.index(number)),
           [&] { emitOwn(number); });
  return result;
}
