//===- RowTile.cpp - Two narrow products and their whole rows -------------===//
//
// 1. Find out which operations follow which product, by the buffers of the tile
//    that they share.
// 2. Multiply: half of the warps have the one product, half the other, and of
//    those either half has half of the summed loop. Where the tile is high, two
//    blocks share the loop besides: each reads half of both operands.
// 3. Bring the sums of a row together in the four lanes that will have it.
// 4. Make what follows the products of the sums in registers.
//
//===----------------------------------------------------------------------===//

#include "RowTile.h"

#include "ClusterParts.h"
#include "DevicePointer.h"
#include "TileEpilogue.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "llvm/ADT/EquivalenceClasses.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Shares of the depth that the threads of a block have, and neighbouring
/// columns that one has of a row.
static constexpr int64_t kShares = kRowTileThreads / kTileThreads;
static constexpr int64_t kFragmentWidth = 2;
/// Lanes that hold a row: those of a product of `mma.sync`.
static constexpr int64_t kLanesOfRow = 4;

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
        isOfTile(product.left->get()) || isOfTile(product.right->get()))
      return std::nullopt;
    tile.rows = std::max(tile.rows, own->rows);
    tile.columns = std::max(tile.columns, own->columns);
  }
  bool isHigh =
      tile.rows == kSiblingTileRows && tile.columns <= kMostSiblingColumns;
  bool isLow = tile.rows == kNarrowTileRows;
  return isHigh || isLow ? std::optional(tile) : std::nullopt;
}

std::optional<RowTile> mlir::omnimoe::matchRowTile(Block &body) {
  RowTile rowTile;
  llvm::EquivalenceClasses<Value> buffers;
  DenseSet<Value> results;
  for (Operation &op : body)
    if (std::optional<MatrixProduct> product = matchMatrixProduct(&op)) {
      rowTile.products.push_back(*product);
      results.insert(product->result->get());
    }
  if (rowTile.products.size() != 2)
    return std::nullopt;
  auto forEachBuffer = [&](Operation *op, auto visit) {
    for (Value operand : op->getOperands())
      if (isOfTile(operand) || results.contains(operand))
        visit(operand);
  };
  SmallVector<Operation *> computed;
  for (Operation &op : body) {
    if (!isa<linalg::LinalgOp, memref::CopyOp>(op))
      continue;
    if (!matchMatrixProduct(&op) && !TileEpilogue::isOfRows(&op, results))
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
  std::optional<ProductTile> tile = getSharedTile(rowTile.products);
  if (!tile || buffers.isEquivalent(rowTile.products[0].result->get(),
                                    rowTile.products[1].result->get()))
    return std::nullopt;
  rowTile.tile = *tile;
  rowTile.parts = tile->rows / kNarrowTileRows;
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
      if (isOfTile(operand))
        rowTile.owners[operand.getDefiningOp()] = number;
      for (Operation *user : operand.getUsers())
        if (isa<memref::DeallocOp>(user))
          rowTile.owners[user] = number;
    });
  }
  return rowTile;
}

/// All shares of all parts of row `number` of the thread's.
static TileSums addShares(KernelBuilder &k, const RowShares &shares,
                          int64_t parts, Value number) {
  Type f32 = k.getF32Type();
  Value thread = k.toI32(shares.thread);
  int64_t perRow = shares.rows.front().size();
  int64_t perShare = shares.rows.size() * perRow;
  auto getBuffer = [&](Value share) {
    return movePointer(k, shares.buffer, f32,
                       k.mul(share, perShare * kTileThreads));
  };
  TileSums own;
  for (const TileSums &row : shares.rows)
    llvm::append_range(own, row);
  storePart(k, own, getBuffer(shares.share), thread, kTileThreads);
  if (parts > 1)
    meetInCluster(k);
  else
    gpu::BarrierOp::create(k);
  TileSums sums;
  for (int64_t share = 0; share < kShares; ++share) {
    TileSums others =
        addParts(k, getBuffer(k.index(share)), thread, kTileThreads, parts,
                 k.toI32(k.mul(number, perRow)), perRow);
    for (auto [at, value] : llvm::enumerate(others))
      share == 0 ? sums.push_back(value)
                 : (void)(sums[at] = arith::AddFOp::create(k, sums[at], value));
  }
  return sums;
}

LogicalResult mlir::omnimoe::emitRowTile(KernelBuilder &k, gpu::LaunchOp launch,
                                         const RowTile &tile) {
  Block &body = launch.getBody().front();
  SmallVector<SmallVector<Operation *>, 2> operations(tile.products.size());
  for (Operation &op : body)
    if (auto owner = tile.owners.find(&op); owner != tile.owners.end())
      operations[owner->second].push_back(&op);

  k.setInsertionPoint(body.getTerminator());
  RowShares shares = createRowMultiplier(k, launch, tile.tile, tile.parts)
                         ->multiplyBoth(tile.products);
  // A thread ends with one row: each share of each part with another.
  Value number = k.add(k.mul(launch.getBlockIds().z, kShares), shares.share);
  TileSums sums = addShares(k, shares, tile.parts, number);
  SmallVector<Fragment> fragments;
  Value row = k.add(shares.firstRow, k.mul(number, 8));
  for (size_t at = 0; at < sums.size() / kFragmentWidth; ++at)
    fragments.push_back({row, k.add(shares.firstColumn, 8 * at)});
  LogicalResult result = success();
  auto emitOwn = [&](size_t number) {
    Block *block = k.getInsertionBlock();
    for (Operation *op : operations[number])
      op->moveBefore(block->getTerminator());
    ReadySums ready(k, kFragmentWidth, fragments, {sums},
                    /*isOddOfPair=*/nullptr, /*lanesOfRow=*/kLanesOfRow);
    if (failed(TileEpilogue(k, *block, ready).emit()))
      result = failure();
  };
  for (size_t number = 0; number < tile.products.size(); ++number)
    k.when(k.compare(arith::CmpIPredicate::eq, shares.product, k.index(number)),
           [&] { emitOwn(number); });
  if (tile.parts > 1)
    leaveCluster(k);
  return result;
}
