//===- Tile.cpp - Cut the program along its tokens ------------------------===//
//
// 1. Find the last operation of the function that is in no tile yet and has a
//    parallel first loop: the root of the next tile.
// 2. Collect the producers that only this tile needs (`TileGroup`).
// 3. Choose the tile's size from the schedules of the operations in it.
// 4. Let upstream's tile-and-fuse build the scf.forall; go on at 1.
//
//===----------------------------------------------------------------------===//

#include "ElementwiseChain.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/TileUsingInterface.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/RegionUtils.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RoutePlan.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_TILEPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// Columns of a tile of a sum to experts: whole cache lines for every type.
static constexpr int64_t kColumnTileMultiple = 64;

/// Experts of a tile of a sum that goes expert by expert: rows that a near
/// cache holds from the fill of zeros to the last sum.
static constexpr int64_t kExpertTile = 32;

/// Tokens of a tile on a GPU where no schedule says: one for each warp of a
/// small block.
static constexpr int64_t kTokensPerBlock = 4;
/// Elements of a block's tile of element-wise operations, and its rows at most.
static constexpr int64_t kElementsPerBlock = 1024, kMostRowsPerBlock = 32;

static bool isTileable(Operation *op) {
  if (!isa<linalg::LinalgOp, RouteOp, PartitionOp, GroupedMatmulOp, CombineOp>(
          op) ||
      op->getNumResults() == 0 || op->getParentOfType<scf::ForallOp>() ||
      op->getParentOfType<linalg::LinalgOp>() ||
      op->getParentOfType<scf::ExecuteRegionOp>())
    return false;
  auto loops = cast<TilingInterface>(op).getLoopIteratorTypes();
  return !loops.empty() && loops.front() == utils::IteratorType::parallel;
}

static bool cutsColumns(Operation *op) {
  auto combine = dyn_cast<CombineOp>(op);
  return combine && !combine.isToTokens() && !combine.goesByExpert();
}

static bool cutsExperts(Operation *op) {
  auto combine = dyn_cast<CombineOp>(op);
  return combine && combine.goesByExpert();
}

/// The last operation to be tiled. A fill is only a root if nothing that could
/// take it in is left.
static TilingInterface findRoot(Operation *function) {
  Operation *root = nullptr, *fill = nullptr;
  function->walk([&](Operation *op) {
    if (isTileable(op))
      (isa<linalg::FillOp>(op) ? fill : root) = op;
  });
  return dyn_cast_or_null<TilingInterface>(root ? root : fill);
}

/// True if `op` is a product of matrices, or moves the elements of one.
static bool makesProduct(Operation *op) {
  if (matchMatrixProduct(op))
    return true;
  auto moves = dyn_cast<linalg::TransposeOp>(op);
  Operation *moved = moves ? moves.getInput().getDefiningOp() : nullptr;
  return moved && matchMatrixProduct(moved);
}

/// True if `op` is a sum to tokens, or what is made of its elements alone.
static bool makesSum(Operation *op) {
  if (isa_and_present<CombineOp>(op))
    return true;
  auto generic = dyn_cast_or_null<linalg::GenericOp>(op);
  return generic && omnimoe::isElementwise(op) &&
         generic.getNumDpsInputs() == 1 &&
         isa_and_present<CombineOp>(
             generic.getDpsInputs().front().getDefiningOp());
}

/// The destination of `use` may be computed in the tile if that is cheap; a
/// product keeps a tile of its own, whose size suits it. So does one that is
/// added to a sum behind it.
static bool mayFuseThrough(OpOperand &use, Operation *producer) {
  Operation *user = use.getOwner();
  if (omnimoe::isElementwise(user) && makesProduct(producer))
    return llvm::none_of(user->getOperands(), [](Value operand) {
      return makesSum(operand.getDefiningOp());
    });
  auto dps = dyn_cast<DestinationStyleOpInterface>(user);
  if (!dps || !dps.isDpsInit(&use))
    return true;
  auto product = dyn_cast<linalg::LinalgOp>(producer);
  return !product || product.getNumReductionLoops() == 0;
}

/// A router for a GPU works on several tokens at once, which products and
/// element-wise operations do not.
static bool isTiledAlone(Operation *op, TargetAttr target) {
  return cutsColumns(op) || (isa<RouteOp>(op) && target.isGPU());
}

/// True if nothing but `value` needs products of a `grouped_matmul` that it is
/// made of.
static bool isMadeOfOwnProducts(Value value) {
  Operation *producer = value.getDefiningOp();
  auto isOnlyUse = [](Value result) {
    return llvm::count_if(result.getUses(), [](OpOperand &use) {
             return !isa<tensor::DimOp>(use.getOwner());
           }) == 1;
  };
  if (!producer || !isOnlyUse(value))
    return false;
  if (isa<GroupedMatmulOp>(producer))
    return true;
  auto payload = dyn_cast<linalg::GenericOp>(producer);
  return payload && llvm::any_of(payload.getDpsInputs(), isMadeOfOwnProducts);
}

/// The operands of `op` that its tiles take slices of, or other cheap values.
static OperandRange getSlicedOperands(Operation *op, TargetAttr target) {
  // The pairs of an expert may be anywhere in the batch, and tensor cores take
  // their operands from memory that all blocks see.
  if (cutsExperts(op) || (target.isGPU() && matchMatrixProduct(op)))
    return cast<DestinationStyleOpInterface>(op).getDpsInits();
  // Products in the tile would be computed again for every slice of a sum.
  if (auto combine = dyn_cast<CombineOp>(op))
    if (std::optional<ScheduleAttr> schedule = combine.getSchedule();
        schedule && schedule->getColumnTile() &&
        isMadeOfOwnProducts(combine.getCoefficients()))
      return combine.getDpsInits();
  return op->getOperands();
}

/// A block of a GPU computes a product of matrices in memory by all of its
/// threads, whose number is not that of other operations than linalg's.
static bool mayShareBlock(Operation *producer,
                          const llvm::SetVector<Operation *> &group) {
  auto isProduct = [](Operation *op) {
    return matchMatrixProduct(op).has_value();
  };
  if (isProduct(producer))
    return llvm::all_of(group, llvm::IsaPred<linalg::LinalgOp>);
  return isa<linalg::LinalgOp>(producer) || llvm::none_of(group, isProduct);
}

/// The root and the producers that nothing outside of the tile needs.
static llvm::SetVector<Operation *> collectTileGroup(Operation *root,
                                                     TargetAttr target) {
  llvm::SetVector<Operation *> group;
  group.insert(root);
  if (isTiledAlone(root, target))
    return group;
  for (bool changed = true; changed;) {
    changed = false;
    for (unsigned i = 0; i < group.size(); ++i) {
      for (Value operand : getSlicedOperands(group[i], target)) {
        Operation *producer = operand.getDefiningOp();
        if (!producer || group.contains(producer) || !isTileable(producer) ||
            isa<RouteOp>(producer) || cutsColumns(producer) ||
            producer->getBlock() != root->getBlock() ||
            (target.isGPU() && !mayShareBlock(producer, group)))
          continue;
        bool onlyHere = llvm::all_of(producer->getUses(), [&](OpOperand &use) {
          return isa<tensor::DimOp>(use.getOwner()) ||
                 (group.contains(use.getOwner()) &&
                  (isa<CombineOp>(producer) || mayFuseThrough(use, producer)));
        });
        // A fill is cheaper to repeat than to read.
        if (onlyHere || isa<linalg::FillOp>(producer))
          changed |= group.insert(producer);
      }
    }
  }
  return group;
}

/// What was cloned into the tile is dead outside of it; consumers go first.
static void eraseDead(RewriterBase &rewriter, SmallVector<Operation *> ops) {
  while (true) {
    auto dead =
        llvm::find_if(ops, [](Operation *op) { return isOpTriviallyDead(op); });
    if (dead == ops.end())
      return;
    rewriter.eraseOp(*dead);
    ops.erase(dead);
  }
}

/// True if the rows of `product` are multiplied by another matrix of few
/// columns as well, which is tiled alike.
static bool hasSibling(const MatrixProduct &product) {
  auto isFew = [](const MatrixProduct &known) {
    auto type = cast<ShapedType>(known.result->get().getType());
    return isNarrow(known) && type.getDimSize(1) <= kMostSiblingColumns;
  };
  SmallVector<Operation *> users(product.left->get().getUsers());
  for (Operation *user : product.left->get().getUsers())
    if (auto slice = dyn_cast<tensor::ExtractSliceOp>(user))
      llvm::append_range(users, slice->getUsers());
  return isFew(product) && llvm::any_of(users, [&](Operation *user) {
           std::optional<MatrixProduct> other = matchMatrixProduct(user);
           return other && user != product.op && isFew(*other);
         });
}

/// True if no element of the results of `op` needs another.
static bool isParallel(Operation *op) {
  auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
  return linalgOp && linalgOp.getNumLoops() == linalgOp.getNumParallelLoops();
}

/// Rows of a block of a GPU that a thread has one piece of each: loads do not
/// wait for each other.
static int64_t getElementwiseRows(Operation *op) {
  auto type = cast<ShapedType>(op->getResult(0).getType());
  int64_t length = type.getShape().back();
  if (type.getRank() < 2 || ShapedType::isDynamic(length))
    return kTokensPerBlock;
  return std::clamp<int64_t>(kElementsPerBlock / std::max<int64_t>(length, 1),
                             1, kMostRowsPerBlock);
}

namespace {
struct TilePass : omnimoe::impl::TilePassBase<TilePass> {
  using TilePassBase::TilePassBase;

  /// The most tokens a tile may hold; 0 if one tile a thread is best.
  int64_t getTokenTile(const llvm::SetVector<Operation *> &group) {
    if (auto route = dyn_cast<RouteOp>(group.front()); route && isGPU)
      return planRoute(route.getNumRows(), route.getNumCols(), route.getTopK())
          .tokensPerBlock;
    if (isGPU && isa<PartitionOp>(group.front()))
      return 1;
    if (isGPU)
      for (Operation *op : group)
        if (std::optional<MatrixProduct> product = matchMatrixProduct(op))
          return hasSibling(*product) ? kSiblingTileRows : kNarrowTileRows;
    if (isGPU && llvm::all_of(group, isParallel))
      return getElementwiseRows(group.front());
    int64_t tile = isGPU ? kTokensPerBlock : tokenTile;
    bool scheduled = false;
    for (Operation *op : group) {
      ScheduleAttr schedule = op->getAttrOfType<ScheduleAttr>("schedule");
      if (!schedule)
        continue;
      int64_t own = schedule.getTokenTile();
      if (isGPU && own == 0)
        own = kTokensPerBlock;
      tile = scheduled ? std::min(tile, own) : own;
      scheduled = true;
    }
    return tile;
  }

  /// The columns of a tile of a sum to tokens; 0 for all of them. Products in
  /// the tile would be computed again for every piece of a row.
  static int64_t getColumnTile(const llvm::SetVector<Operation *> &group) {
    int64_t columns = 0;
    for (Operation *op : group) {
      if (isa<GroupedMatmulOp>(op))
        return 0;
      if (auto combine = dyn_cast<CombineOp>(op))
        if (std::optional<ScheduleAttr> schedule = combine.getSchedule())
          columns = std::max(columns, schedule->getColumnTile());
    }
    return columns;
  }

  /// min(cap, ceil(length / threads)), at least 1, for the first loop. A block
  /// of a GPU has a fixed size, which its shared memory is made for.
  OpFoldResult getTileSize(RewriterBase &rewriter, TilingInterface root,
                           int64_t cap, int64_t multiple, int64_t units) {
    if (cap == 1 || (isGPU && cap > 0))
      return rewriter.getIndexAttr(cap);
    SmallVector<Range> domain = root.getIterationDomain(rewriter);
    AffineExpr length = rewriter.getAffineSymbolExpr(0);
    SmallVector<AffineExpr> bounds = {length.ceilDiv(units * multiple) *
                                      multiple};
    if (cap > 0)
      bounds.push_back(rewriter.getAffineConstantExpr(cap));
    Location loc = root.getLoc();
    OpFoldResult share = affine::makeComposedFoldedAffineMin(
        rewriter, loc, AffineMap::get(0, 1, bounds, rewriter.getContext()),
        {domain.front().size});
    return affine::makeComposedFoldedAffineMax(
        rewriter, loc,
        AffineMap::get(0, 1,
                       {rewriter.getAffineSymbolExpr(0),
                        rewriter.getAffineConstantExpr(1)},
                       rewriter.getContext()),
        {share});
  }

  LogicalResult tileRoot(RewriterBase &rewriter, TilingInterface root,
                         TargetAttr target, int64_t units) {
    llvm::SetVector<Operation *> group = collectTileGroup(root, target);
    rewriter.setInsertionPoint(root);
    bool columns = cutsColumns(root);
    int64_t cap = columns ? 0 : getTokenTile(group);
    if (llvm::any_of(group, cutsExperts))
      cap = isGPU ? 1 : kExpertTile;
    OpFoldResult size = getTileSize(rewriter, root, cap,
                                    columns ? kColumnTileMultiple : 1, units);

    scf::SCFTilingOptions tiling;
    tiling.setLoopType(scf::SCFTilingOptions::LoopType::ForallOp);
    tiling.setTileSizes({size});
    // All tokens meet a slice of the vectors before any meets the next.
    if (int64_t columnTile = getColumnTile(group)) {
      OpFoldResult piece = rewriter.getIndexAttr(columnTile);
      if (isa<CombineOp>(root)) {
        tiling.setTileSizes({size, rewriter.getIndexAttr(0), piece});
        tiling.setInterchange({2, 0, 1});
      } else {
        tiling.setTileSizes({size, piece});
        tiling.setInterchange({1, 0});
      }
    }
    scf::SCFTileAndFuseOptions options;
    options.setTilingOptions(tiling);
    options.setFusionControlFn(
        [&](tensor::ExtractSliceOp, OpResult producer, bool)
            -> std::optional<scf::SCFTileAndFuseOptions::ControlFnResult> {
          if (!group.contains(producer.getOwner()))
            return std::nullopt;
          return scf::SCFTileAndFuseOptions::ControlFnResult{};
        });
    FailureOr<scf::SCFTileAndFuseResult> tiled =
        scf::tileConsumerAndFuseProducersUsingSCF(rewriter, root, options);
    if (failed(tiled))
      return root->emitOpError("could not be tiled along its tokens");
    for (OpResult result : root->getResults())
      if (Value replacement = tiled->replacements.lookup(result))
        rewriter.replaceAllUsesWith(result, replacement);
    ++numTiled;
    numFused += tiled->fusedProducers.size();
    eraseDead(rewriter, group.takeVector());
    return success();
  }

  /// Products that go expert by expert are computed in the tiles of a sum that
  /// reads the same tokens: that comes before anyone needs the products.
  static void bringSumTo(RewriterBase &rewriter, GroupedMatmulOp matmul) {
    // Pairs of no expert are in no tile.
    rewriter.setInsertionPoint(matmul);
    Value zero = arith::ConstantOp::create(rewriter, matmul.getLoc(),
                                           rewriter.getF32FloatAttr(0));
    Value zeros = linalg::FillOp::create(rewriter, matmul.getLoc(), zero,
                                         matmul.getProducts())
                      .getResult(0);
    rewriter.modifyOpInPlace(
        matmul, [&] { matmul.getProductsMutable().assign(zeros); });
    Operation *first = nullptr;
    for (Operation *user : matmul->getUsers()) {
      Operation *ancestor = matmul->getBlock()->findAncestorOpInBlock(*user);
      if (!first || ancestor->isBeforeInBlock(first))
        first = ancestor;
    }
    if (!first)
      return;
    for (Operation *user : matmul.getX().getUsers()) {
      auto combine = dyn_cast<CombineOp>(user);
      if (!combine || combine->getBlock() != matmul->getBlock() ||
          combine.getVectors() != matmul.getX() || !combine.goesByExpert() ||
          combine.getDispatch() != matmul.getDispatch())
        continue;
      Operation *last = combine;
      if (auto chain = getElementwiseChain(combine); !chain.empty())
        last = chain.back();
      DominanceInfo dominance(matmul->getParentOp());
      if (first->isBeforeInBlock(last) &&
          succeeded(
              moveOperationDependencies(rewriter, last, first, dominance)))
        rewriter.moveOpBefore(last, first);
      return;
    }
  }

  void runOnOperation() override {
    auto module = getOperation()->getParentOfType<ModuleOp>();
    TargetAttr target = getTarget(module);
    int64_t units = threads > 0 ? threads : target.getUnits();
    isGPU = target.isGPU();
    IRRewriter rewriter(&getContext());
    if (isGPU)
      getOperation()->walk([&](GroupedMatmulOp matmul) {
        if (matmul.isDispatched() && matmul->getNumResults())
          bringSumTo(rewriter, matmul);
      });
    while (TilingInterface root = findRoot(getOperation()))
      if (failed(tileRoot(rewriter, root, target, units)))
        return signalPassFailure();
  }

  bool isGPU = false;
};
} // namespace
