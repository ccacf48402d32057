//===- RouterTile.cpp - Routers that a kernel has with their projections --===//

#include "RouterTile.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Keys of a lane for which the registers of so many threads suffice.
static constexpr int64_t kMostCandidateKeys = 4;

/// The matrix of which `memref` has the rows from `row` on, and all columns.
static Value getMatrixOfRows(Value memref, Value row) {
  std::optional<MatrixCut> cut = getCut(memref);
  auto type = cut ? dyn_cast<MemRefType>(cut->matrix.getType()) : MemRefType();
  bool isRows =
      type && type.getRank() == 2 && type.getLayout().isIdentity() &&
      cut->row == OpFoldResult(row) && isZeroInteger(cut->column) &&
      cast<MemRefType>(memref.getType()).getDimSize(1) == type.getDimSize(1);
  return isRows ? cut->matrix : Value();
}

/// The tiles of a router right behind `projections`, of the same tokens.
static std::pair<scf::ForallOp, RouteOp> findRoutes(scf::ForallOp projections) {
  Operation *next = projections->getNextNode();
  while (next && (isMemoryEffectFree(next) || isa<memref::AllocOp>(next)))
    next = next->getNextNode();
  auto routes = dyn_cast_or_null<scf::ForallOp>(next);
  if (!routes || routes.getRank() != 1 ||
      !isZeroInteger(routes.getMixedLowerBound().front()) ||
      !isZeroInteger(projections.getMixedLowerBound().front()))
    return {};
  RouteOp route;
  for (Operation &op : routes.getBody()->without_terminator()) {
    if (isMemoryEffectFree(&op))
      continue;
    if (route || !isa<RouteOp>(op))
      return {};
    route = cast<RouteOp>(op);
  }
  return {routes, route};
}

/// True if both loops go over all rows of `logits`, which `projections` makes.
static bool haveSameTokens(scf::ForallOp projections, scf::ForallOp routes,
                           Value logits) {
  OpFoldResult tokens = routes.getMixedUpperBound().front();
  if (isEqualConstantIntOrValue(tokens,
                                projections.getMixedUpperBound().front()))
    return true;
  auto value = dyn_cast<Value>(tokens);
  auto dim = value ? value.getDefiningOp<memref::DimOp>() : memref::DimOp();
  return dim && dim.getSource() == logits && dim.getConstantIndex() == 0;
}

/// True if `memref` is the program's own and only used in two loops.
static bool isOnlyUsedIn(Value memref, scf::ForallOp first,
                         scf::ForallOp second) {
  Operation *made = memref.getDefiningOp();
  return isa_and_present<memref::ViewOp, memref::AllocOp>(made) &&
         llvm::all_of(memref.getUsers(), [&](Operation *user) {
           return isa<memref::DimOp, memref::DeallocOp>(user) ||
                  first->isAncestor(user) || second->isAncestor(user);
         });
}

/// True if a warpgroup can multiply what `product` does with `tokens`.
static bool suitsWarpgroup(const MatrixProduct &product, Value tokens) {
  Value right = product.right->get();
  return !product.leftTransposed && !product.rightTransposed &&
         product.rowLoop < product.columnLoop && canCopyTiles(tokens, right) &&
         cast<MemRefType>(right.getType()).getDimSize(1) >=
             kRouterParts * kWarpgroupTileDepth;
}

std::optional<RouterTile>
mlir::omnimoe::matchRouterTile(scf::ForallOp projections, const RowTile &rows) {
  auto [routes, route] = findRoutes(projections);
  if (!route || rows.tile.rows != kSiblingTileRows ||
      rows.products.size() != kRouterProducts)
    return std::nullopt;
  RouterTile tile;
  tile.routes = routes;
  tile.route = route;
  tile.plan =
      planRoute(route.getNumRows(), route.getNumCols(), route.getTopK());
  if (!tile.plan.warpPerToken || tile.plan.candidateKeys > kMostCandidateKeys)
    return std::nullopt;

  Value row = projections.getInductionVar(0);
  tile.tokens = getMatrixOfRows(rows.products.front().left->get(), row);
  for (const MatrixProduct &product : rows.products) {
    if (!tile.tokens || !suitsWarpgroup(product, tile.tokens) ||
        !projections.isDefinedOutsideOfLoop(product.right->get()))
      return std::nullopt;
    tile.matrices.push_back(product.right->get());
  }
  // What a tile writes of each matrix, by one name.
  DenseMap<Value, Value> made;
  for (auto op : projections.getBody()->getOps<linalg::LinalgOp>())
    for (Value init : op.getDpsInits())
      if (Value matrix = getMatrixOfRows(init, row))
        if (made.try_emplace(matrix, init).first->second != init)
          return std::nullopt;
  for (Value operand : route->getOperands()) {
    Value matrix = getMatrixOfRows(operand, routes.getInductionVar(0));
    if (!matrix || !routes.isDefinedOutsideOfLoop(matrix))
      return std::nullopt;
    tile.operands.push_back(matrix);
  }
  for (size_t axis : {0, 1})
    tile.logits.push_back(made.lookup(tile.operands[axis]));
  bool readsThem =
      llvm::all_of(tile.logits,
                   [](Value memref) { return memref != nullptr; }) &&
      haveSameTokens(projections, routes, tile.operands.front());
  if (!readsThem)
    return std::nullopt;
  tile.onlyRouted = llvm::all_of(
      ArrayRef(tile.operands).take_front(kRouterProducts),
      [&](Value memref) { return isOnlyUsedIn(memref, projections, routes); });
  return tile;
}
