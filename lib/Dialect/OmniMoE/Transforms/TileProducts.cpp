//===- TileProducts.cpp - Cut dense products along rows and columns -------===//
//
// 1. Find a product that is in no tile, the last of the function first.
// 2. Find the element-wise operation that alone uses it: the root of the tile;
//    without one the product is.
// 3. Let upstream's tile-and-fuse build an scf.forall over rows and columns of
//    the root, and put the products that it alone uses, what they are added to,
//    and rows gathered for them alone into the tile; go on at 1. Where another
//    size of tile is better for few rows, or parts of the sums, and their
//    number is not known, there are several such loops under scf.ifs.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/TileUsingInterface.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RowGather.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_TILEPRODUCTSPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// Products that one tile may hold: each has its sums in registers.
static constexpr size_t kMaxProducts = 2;

namespace {
/// The operation whose result the tiles make, the products in them, and what
/// gathers the rows of their left operand, if warpgroups can do that as well.
struct TileRoot {
  linalg::LinalgOp op;
  SmallVector<MatrixProduct> products;
  linalg::LinalgOp gather = nullptr;
};

/// A way to tile a product of up to so many rows.
struct Version {
  int64_t mostRows, parts;
};
} // namespace

static std::optional<MatrixProduct> matchUntiled(Operation *op) {
  if (op->getNumResults() != 1 || op->getParentOfType<scf::ForallOp>())
    return std::nullopt;
  return matchMatrixProduct(op);
}

/// True if rows of `value`, or what is computed of their elements, are summed
/// up or the like.
static bool hasReducedRows(Value value) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    auto op = dyn_cast<linalg::LinalgOp>(user);
    if (!op || matchMatrixProduct(op) || op->getNumResults() != 1 ||
        llvm::is_contained(op.getDpsInits(), value))
      return false;
    return op.getNumReductionLoops() > 0 || hasReducedRows(op->getResult(0));
  });
}

/// A block of tokens computes a narrow product along with what needs its whole
/// rows, such as a softmax: it is left to omnimoe-tile.
static bool staysWithItsRows(const MatrixProduct &product, TargetAttr target) {
  return target.isGPU() && isNarrow(product) &&
         hasReducedRows(product.op->getResult(0));
}

static std::optional<MatrixProduct> findLastProduct(Operation *function,
                                                    TargetAttr target) {
  std::optional<MatrixProduct> last;
  function->walk([&](linalg::LinalgOp op) {
    std::optional<MatrixProduct> product = matchUntiled(op);
    if (product && !staysWithItsRows(*product, target))
      last = product;
  });
  return last;
}

/// The one user of `op` that does not just ask for its size.
static Operation *getOnlyUser(Operation *op) {
  Operation *only = nullptr;
  for (Operation *user : op->getUsers()) {
    if (isa<tensor::DimOp>(user))
      continue;
    if (only && only != user)
      return nullptr;
    only = user;
  }
  return only;
}

/// True if `op` computes each element of its result from the same element of
/// `product`, and does not write over it.
static bool isElementwiseOn(linalg::LinalgOp op, Value product) {
  if (op.getNumLoops() != 2 || op.getNumParallelLoops() != 2 ||
      op.getNumDpsInits() != 1 ||
      !op.getMatchingIndexingMap(op.getDpsInitOperand(0)).isIdentity())
    return false;
  return llvm::all_of(op->getOpOperands(), [&](OpOperand &operand) {
    return operand.get() != product ||
           (op.isDpsInput(&operand) &&
            op.getMatchingIndexingMap(&operand).isIdentity());
  });
}

static TileRoot findProductRoot(const MatrixProduct &product) {
  auto user = dyn_cast_or_null<linalg::LinalgOp>(getOnlyUser(product.op));
  if (!user || user->getBlock() != product.op->getBlock() ||
      !isElementwiseOn(user, product.op->getResult(0)))
    return {product.op, {product}};
  TileRoot root{user, {}};
  for (Value input : user.getDpsInputs()) {
    Operation *producer = input.getDefiningOp();
    if (!producer || producer->getBlock() != user->getBlock() ||
        getOnlyUser(producer) != user ||
        !isElementwiseOn(user, producer->getResult(0)))
      continue;
    std::optional<MatrixProduct> other = matchUntiled(producer);
    if (other && root.products.size() < kMaxProducts &&
        llvm::none_of(root.products, [&](const MatrixProduct &known) {
          return known.op == other->op;
        }))
      root.products.push_back(*other);
  }
  if (llvm::none_of(root.products, [&](const MatrixProduct &known) {
        return known.op == product.op;
      }))
    return {product.op, {product}};
  return root;
}

/// The operation that gathers rows for `products` alone, if it is one that
/// warpgroups can do on the way.
static linalg::LinalgOp findGather(ArrayRef<MatrixProduct> products,
                                   TargetAttr target) {
  Operation *producer = products.front().left->get().getDefiningOp();
  std::optional<RowGather> gather;
  if (target.isGPU() && producer && suitsWarpgroups(products))
    gather = matchRowGather(producer);
  if (!gather || producer->getBlock() != products.front().op->getBlock() ||
      !canWarpgroupsMultiply(gather->matrix, products.front().right->get()))
    return nullptr;
  bool isOfProducts = llvm::all_of(producer->getUsers(), [&](Operation *user) {
    return isa<tensor::DimOp>(user) ||
           llvm::any_of(products, [&](const MatrixProduct &product) {
             return product.op == user;
           });
  });
  return isOfProducts ? gather->op : nullptr;
}

static TileRoot findRoot(const MatrixProduct &product, TargetAttr target) {
  TileRoot root = findProductRoot(product);
  root.gather = findGather(root.products, target);
  return root;
}

/// Erases an operation of which only the size is used.
static void eraseIfUnused(RewriterBase &rewriter, linalg::LinalgOp op) {
  for (OpOperand &use : llvm::make_early_inc_range(op->getUses()))
    if (isa<tensor::DimOp>(use.getOwner()))
      rewriter.modifyOpInPlace(use.getOwner(),
                               [&] { use.set(op.getDpsInits().front()); });
  if (isOpTriviallyDead(op))
    rewriter.eraseOp(op);
}

namespace {
struct TileProductsPass
    : omnimoe::impl::TileProductsPassBase<TileProductsPass> {
  /// Tiles `root` by what suits `rows` rows.
  LogicalResult tileRoot(IRRewriter &rewriter, TileRoot root, int64_t rows,
                         int64_t parts, TargetAttr target) {
    ProductTile tile = chooseProductTile(root.products, rows, target);
    SmallVector<OpFoldResult> sizes(root.op.getNumLoops(),
                                    rewriter.getIndexAttr(0));
    bool isProduct = root.op == root.products.front().op;
    sizes[isProduct ? root.products.front().rowLoop : 0] =
        rewriter.getIndexAttr(tile.rows);
    sizes[isProduct ? root.products.front().columnLoop : 1] =
        rewriter.getIndexAttr(tile.columns);

    scf::SCFTilingOptions tiling;
    tiling.setLoopType(scf::SCFTilingOptions::LoopType::ForallOp);
    tiling.setTileSizes(sizes);
    scf::SCFTileAndFuseOptions options;
    options.setTilingOptions(tiling);
    options.setFusionControlFn(
        [&](tensor::ExtractSliceOp, OpResult producer, bool)
            -> std::optional<scf::SCFTileAndFuseOptions::ControlFnResult> {
          Operation *op = producer.getOwner();
          bool fused =
              isa<linalg::FillOp>(op) ||
              (root.gather == op && tile.rows == kWarpgroupTileRows) ||
              llvm::any_of(root.products, [&](const MatrixProduct &product) {
                return product.op == op;
              });
          if (!fused)
            return std::nullopt;
          return scf::SCFTileAndFuseOptions::ControlFnResult{};
        });
    rewriter.setInsertionPoint(root.op);
    FailureOr<scf::SCFTileAndFuseResult> tiled =
        scf::tileConsumerAndFuseProducersUsingSCF(
            rewriter, cast<TilingInterface>(root.op.getOperation()), options);
    if (failed(tiled))
      return root.op.emitOpError("could not be tiled along its rows and "
                                 "columns");
    if (parts > 1)
      tiled->loops.front()->setAttr(kPartsAttrName,
                                    rewriter.getI64IntegerAttr(parts));
    for (OpResult result : root.op->getResults())
      rewriter.replaceAllUsesWith(result, tiled->replacements.lookup(result));
    eraseRoot(rewriter, root);
    ++numTiled;
    numFused += isProduct ? 0 : root.products.size();
    return success();
  }

  static void eraseRoot(IRRewriter &rewriter, const TileRoot &root) {
    if (root.op != root.products.front().op)
      rewriter.eraseOp(root.op);
    for (const MatrixProduct &product : root.products)
      eraseIfUnused(rewriter, product.op);
    if (root.gather)
      eraseIfUnused(rewriter, root.gather);
  }

  /// `root` with its products, copied to where `rewriter` stands.
  static TileRoot cloneRoot(IRRewriter &rewriter, const TileRoot &root) {
    IRMapping mapping;
    TileRoot clone;
    auto cloneOp = [&](linalg::LinalgOp op) {
      return cast<linalg::LinalgOp>(rewriter.clone(*op, mapping));
    };
    if (root.gather)
      clone.gather = cloneOp(root.gather);
    for (const MatrixProduct &product : root.products)
      clone.products.push_back(*matchMatrixProduct(cloneOp(product.op)));
    clone.op = root.op == root.products.front().op ? clone.products.front().op
                                                   : cloneOp(root.op);
    return clone;
  }

  /// Which versions of `root` there are, by the rows that they serve.
  static SmallVector<Version> getVersions(const TileRoot &root,
                                          TargetAttr target) {
    constexpr int64_t many = std::numeric_limits<int64_t>::max();
    SmallVector<Version> versions;
    if (chooseProductTile(root.products, many, target).rows !=
        chooseProductTile(root.products, kFewRows, target).rows)
      versions.push_back({kFewRows, 1});
    for (ProductParts choice : chooseProductParts(root.products, target))
      versions.push_back({choice.mostRows, choice.parts});
    versions.push_back({many, 1});
    return versions;
  }

  LogicalResult tile(IRRewriter &rewriter, TileRoot root, TargetAttr target) {
    Value result = root.op->getResult(0);
    int64_t rows = cast<ShapedType>(result.getType()).getDimSize(0);
    SmallVector<Version> versions = getVersions(root, target);
    if (!ShapedType::isDynamic(rows)) {
      // One large tile would keep one multiprocessor busy, and no loop.
      ProductTile tile = chooseProductTile(root.products, rows, target);
      int64_t columns = cast<ShapedType>(result.getType()).getDimSize(1);
      if (tile.rows == kWarpgroupTileRows && rows <= tile.rows &&
          columns <= tile.columns)
        return tileRoot(rewriter, root, kFewRows, /*parts=*/1, target);
      Version version = *llvm::find_if(
          versions, [&](Version known) { return rows <= known.mostRows; });
      return tileRoot(rewriter, root, rows, version.parts, target);
    }
    return tileVersions(rewriter, root, versions, target);
  }

  /// Lets the number of rows choose among the first of `versions` and others.
  LogicalResult tileVersions(IRRewriter &rewriter, TileRoot root,
                             ArrayRef<Version> versions, TargetAttr target) {
    Version first = versions.front();
    if (versions.size() == 1)
      return tileRoot(rewriter, root, first.mostRows, first.parts, target);
    Value result = root.op->getResult(0);
    Location loc = root.op.getLoc();
    rewriter.setInsertionPoint(root.op);
    Value few = arith::CmpIOp::create(
        rewriter, loc, arith::CmpIPredicate::ule,
        tensor::DimOp::create(rewriter, loc,
                              root.products.front().result->get(), 0),
        arith::ConstantIndexOp::create(rewriter, loc, first.mostRows));
    auto choice = scf::IfOp::create(rewriter, loc, result.getType(), few,
                                    /*withElseRegion=*/true);
    SmallVector<TileRoot> clones;
    for (Block *block : {choice.thenBlock(), choice.elseBlock()}) {
      rewriter.setInsertionPointToEnd(block);
      clones.push_back(cloneRoot(rewriter, root));
      scf::YieldOp::create(rewriter, loc, clones.back().op->getResult(0));
    }
    rewriter.replaceAllUsesWith(result, choice.getResult(0));
    eraseRoot(rewriter, root);
    if (failed(
            tileRoot(rewriter, clones[0], first.mostRows, first.parts, target)))
      return failure();
    return tileVersions(rewriter, clones[1], versions.drop_front(), target);
  }

  void runOnOperation() override {
    TargetAttr target = getTarget(getOperation()->getParentOfType<ModuleOp>());
    IRRewriter rewriter(&getContext());
    while (std::optional<MatrixProduct> product =
               findLastProduct(getOperation(), target))
      if (failed(tile(rewriter, findRoot(*product, target), target)))
        return signalPassFailure();
  }
};
} // namespace
