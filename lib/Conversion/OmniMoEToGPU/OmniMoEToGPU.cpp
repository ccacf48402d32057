//===- OmniMoEToGPU.cpp - The pass convert-omnimoe-to-gpu -----------------===//
//
// 1. Each scf.forall becomes a gpu.launch with one block per tile.
// 2. Buffers made in the tile become shared memory.
// 3. Rows that a later operation of the tile will read are loaded early, if
//    there are few tiles.
// 4. The tile's operations are computed by the block, one after the other.
//
// What stands in no tile, because it is too small to be cut or has no loop that
// could be, is a tile of its own.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "ProductTile.h"
#include "RouterTile.h"
#include "RowTile.h"
#include "WarpgroupProduct.h"
#include "omnimoe/Conversion/Passes.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/RoutePlan.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Affine/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/MemRef/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/IR/ValueBoundsOpInterfaceImpl.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ValueBoundsOpInterface.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_CONVERTOMNIMOETOGPUPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

static bool isComputed(Operation *op) {
  return isa<linalg::LinalgOp, memref::CopyOp>(op) ||
         isa_and_present<OmniMoEDialect>(op->getDialect());
}

/// Threads that suit the operations of a tile; the widest sum decides. A router
/// has a tile of its own.
static int64_t chooseThreads(scf::ForallOp forall) {
  int64_t threads = 0;
  forall.walk([&](RouteOp route) {
    threads = planRoute(route.getNumRows(), route.getNumCols(), route.getTopK())
                  .threads;
  });
  forall.walk([&](CombineOp combine) {
    std::optional<ScheduleAttr> schedule = combine.getSchedule();
    if (schedule && schedule->getColumnTile())
      threads = std::max(threads, kWarp * schedule->getTokenTile());
    threads = std::max(
        threads,
        getBlockThreads(combine.getHiddenSize(),
                        getElementTypeOrSelf(combine.getVectors().getType())));
  });
  forall.walk([&](GroupedMatmulOp matmul) {
    if (matmul.isDispatched())
      threads = std::max(
          threads,
          getBlockThreads(matmul.getHiddenSize(),
                          getElementTypeOrSelf(matmul.getWeights().getType())));
  });
  return threads ? threads : 4 * kWarp;
}

/// A buffer of the tile, in shared memory. One whose size depends on the tile,
/// as the last tile may be smaller than others, gets the most that it can need.
static LogicalResult moveToSharedMemory(gpu::LaunchOp launch,
                                        memref::AllocOp alloc) {
  MemRefType type = alloc.getType();
  SmallVector<int64_t> shape;
  for (int64_t dim = 0; dim < type.getRank(); ++dim) {
    FailureOr<int64_t> bound = ValueBoundsConstraintSet::computeConstantBound(
        presburger::BoundType::UB, {alloc.getResult(), dim},
        /*stopCondition=*/nullptr, /*closedUB=*/true);
    if (failed(bound))
      return alloc.emitOpError("needs a bounded shape to lie in shared memory; "
                               "the tile's number of tokens is not bounded");
    shape.push_back(*bound);
  }
  auto space = gpu::AddressSpaceAttr::get(alloc.getContext(),
                                          gpu::AddressSpace::Workgroup);
  auto sharedType = MemRefType::get(shape, type.getElementType(),
                                    MemRefLayoutAttrInterface(), space);
  Value shared = launch.addWorkgroupAttribution(sharedType, alloc.getLoc());
  for (Operation *user : llvm::make_early_inc_range(alloc->getUsers()))
    if (isa<memref::DeallocOp>(user))
      user->erase();
    else if (!isComputed(user) && !isa<memref::DimOp>(user))
      return user->emitOpError("cannot use a buffer in shared memory");
  if (!type.hasStaticShape()) {
    OpBuilder builder(alloc);
    SmallVector<OpFoldResult> zeros(type.getRank(), builder.getIndexAttr(0)),
        ones(type.getRank(), builder.getIndexAttr(1));
    shared = memref::SubViewOp::create(builder, alloc.getLoc(), shared, zeros,
                                       alloc.getMixedSizes(), ones);
  }
  alloc.replaceAllUsesWith(shared);
  alloc.erase();
  return success();
}

/// Puts the body of `forall` into a launch of one block per tile, or a cluster
/// of `parts` blocks. The tiles stand in a grid of as many dimensions as the
/// loop has, or in a row.
static gpu::LaunchOp createLaunch(IRRewriter &rewriter, KernelBuilder &k,
                                  scf::ForallOp forall, int64_t threads,
                                  int64_t parts, bool inRow, StringRef name) {
  auto bound = [&](OpFoldResult value) {
    return getValueOrCreateConstantIndexOp(k, k.getLoc(), value);
  };
  Value one = k.index(1);
  SmallVector<Value> starts, steps, tiles;
  for (auto [from, to, step] :
       llvm::zip(forall.getMixedLowerBound(), forall.getMixedUpperBound(),
                 forall.getMixedStep())) {
    starts.push_back(bound(from));
    steps.push_back(bound(step));
    tiles.push_back(arith::CeilDivUIOp::create(
        k, k.sub(bound(to), starts.back()), steps.back()));
  }
  // No tokens, no blocks: a launch of zero blocks would be an error.
  Value any;
  for (Value count : tiles) {
    Value some = k.compare(arith::CmpIPredicate::ugt, count, k.index(0));
    any = any ? k.both(any, some) : some;
  }
  auto ifOp = scf::IfOp::create(k, any, false);
  k.setInsertionPointToStart(ifOp.thenBlock());
  Value width = tiles.front();
  for (Value count : ArrayRef(tiles).drop_front())
    if (inRow)
      width = k.mul(width, count);
  Value height = tiles.size() > 1 && !inRow ? tiles[1] : one;
  auto launch = gpu::LaunchOp::create(k, width, height, k.index(parts),
                                      k.index(threads), one, one);
  launch.setModuleAttr(FlatSymbolRefAttr::get(k.getContext(), kKernelModule));
  launch.setFunctionAttr(FlatSymbolRefAttr::get(k.getContext(), name));
  Block *body = &launch.getBody().front();
  k.setInsertionPointToStart(body);
  SmallVector<Value> blocks = {launch.getBlockIds().x, launch.getBlockIds().y};
  if (inRow) {
    blocks.resize(tiles.size());
    Value number = launch.getBlockIds().x;
    for (int64_t loop = tiles.size() - 1; loop > 0; --loop) {
      blocks[loop] = arith::RemUIOp::create(k, number, tiles[loop]);
      number = arith::DivUIOp::create(k, number, tiles[loop]);
    }
    blocks.front() = number;
  }
  SmallVector<Value> ivs;
  for (auto [start, step, block] : llvm::zip(starts, steps, blocks))
    ivs.push_back(k.add(start, k.mul(block, step)));
  rewriter.setInsertionPointToEnd(body);
  auto terminator = gpu::TerminatorOp::create(rewriter, forall.getLoc());
  forall.getTerminator().erase();
  rewriter.inlineBlockBefore(forall.getBody(), terminator, ivs);
  rewriter.eraseOp(forall);
  return launch;
}

/// Marks a loop of so many tiles that they have better uses for registers.
static constexpr StringLiteral kManyTilesAttrName = "omnimoe.many_tiles";

/// Blocks of a multiprocessor, of 128 threads, that load rows early.
static constexpr int64_t kEarlyBlocks = 4;

/// Rows that are loaded early save a block one of two latencies, and take the
/// registers of as many blocks again, which would fill these with work of their
/// own. So there are two kernels, if it is not known which one suits.
static void versionByTiles(IRRewriter &rewriter, scf::ForallOp forall,
                           TargetAttr target) {
  // Pairs are split only where tokens are few.
  if (forall.getRank() != 1 ||
      findEarlySums(*forall.getBody(), chooseThreads(forall)).empty())
    return;
  rewriter.setInsertionPoint(forall);
  KernelBuilder k(forall.getLoc(), rewriter);
  auto bound = [&](OpFoldResult value) {
    return getValueOrCreateConstantIndexOp(rewriter, k.getLoc(), value);
  };
  Value tiles = rewriter.createOrFold<arith::CeilDivUIOp>(
      k.getLoc(),
      rewriter.createOrFold<arith::SubIOp>(
          k.getLoc(), bound(forall.getMixedUpperBound().front()),
          bound(forall.getMixedLowerBound().front())),
      bound(forall.getMixedStep().front()));
  int64_t few = kEarlyBlocks * target.getUnits();
  std::optional<int64_t> known = getConstantIntValue(tiles);
  if (known && *known <= few)
    return;
  if (!known) {
    auto branch = scf::IfOp::create(
        k, k.compare(arith::CmpIPredicate::ule, tiles, k.index(few)),
        /*withElseRegion=*/true);
    rewriter.setInsertionPointToStart(branch.thenBlock());
    rewriter.clone(*forall);
    rewriter.moveOpBefore(forall, branch.elseBlock()->getTerminator());
  }
  forall->setAttr(kManyTilesAttrName, rewriter.getUnitAttr());
}

static LogicalResult convertForall(IRRewriter &rewriter, scf::ForallOp forall,
                                   StringRef name, TargetAttr target) {
  bool isProduct = isProductTile(forall.getBody());
  std::optional<RowTile> rowTile;
  if (forall.getNumResults() == 0 && forall.getRank() == 1)
    rowTile = matchRowTile(*forall.getBody());
  if (forall->getNumResults() != 0 || (isProduct && forall.getRank() > 2))
    return forall.emitOpError(
        "must work on memrefs, and have at most two loops "
        "around a product, to become a kernel");
  std::optional<RouterTile> router;
  if (rowTile)
    router = matchRouterTile(forall, *rowTile);
  int64_t threads = router      ? kRouterThreads
                    : rowTile   ? kRowTileThreads
                    : isProduct ? kTileThreads
                                : chooseThreads(forall);
  // What the router writes to may be made in between.
  if (router)
    rewriter.moveOpBefore(forall, router->routes);
  rewriter.setInsertionPoint(forall);
  KernelBuilder k(forall.getLoc(), rewriter);
  // Tiles that are not of a product may be of many tokens and few columns, and
  // only the first dimension of a grid may pass 65,535.
  int64_t parts = rowTile     ? rowTile->parts
                  : isProduct ? getNumParts(forall, target)
                              : 1;
  bool loadsEarly = !forall->hasAttr(kManyTilesAttrName);
  gpu::LaunchOp launch = createLaunch(rewriter, k, forall, threads, parts,
                                      /*inRow=*/!isProduct, name);
  if (router)
    return emitRouterTile(k, launch, *router, *rowTile);
  if (rowTile)
    return emitRowTile(k, launch, *rowTile);
  if (isProduct)
    return emitProductTile(k, launch, parts);

  Block *body = &launch.getBody().front();
  for (auto alloc : llvm::make_early_inc_range(body->getOps<memref::AllocOp>()))
    if (failed(moveToSharedMemory(launch, alloc)))
      return failure();
  BlockEmitter emitter(k, launch.getThreadIds().x, threads);
  emitter.foldZeroFills(*body);
  if (loadsEarly)
    emitter.preload(*body);
  for (Operation &op : llvm::make_early_inc_range(*body))
    if (isComputed(&op) && failed(emitter.emit(&op)))
      return op.emitOpError("has no GPU lowering with these operands");
  return success();
}

/// Puts operations that are in no tile into tiles of their own.
static void wrapRest(IRRewriter &rewriter, Operation *root) {
  SmallVector<Operation *> rest;
  root->walk([&](Operation *op) {
    if (isComputed(op) && !op->getParentOfType<scf::ForallOp>() &&
        !op->getParentOfType<gpu::LaunchOp>() &&
        !op->getParentOfType<linalg::LinalgOp>() && op->getNumResults() == 0)
      rest.push_back(op);
  });
  for (Operation *op : rest) {
    rewriter.setInsertionPoint(op);
    auto forall =
        scf::ForallOp::create(rewriter, op->getLoc(),
                              ArrayRef<OpFoldResult>{rewriter.getIndexAttr(1)},
                              ValueRange{}, std::nullopt);
    rewriter.moveOpBefore(op, forall.getTerminator());
  }
}

/// The tiles of a sum to experts right behind `matmul`, by the same dispatch
/// and of the same tokens, and the sum in them.
static std::pair<scf::ForallOp, CombineOp>
findSumTiles(GroupedMatmulOp matmul) {
  Operation *next = matmul->getNextNode();
  while (next && isMemoryEffectFree(next))
    next = next->getNextNode();
  auto forall = dyn_cast_or_null<scf::ForallOp>(next);
  if (!forall || forall.getRank() != 1)
    return {};
  for (auto combine : forall.getBody()->getOps<CombineOp>())
    if (combine.goesByExpert() && combine.getVectors() == matmul.getX() &&
        combine.getDispatch().drop_front() ==
            matmul.getDispatch().drop_front() &&
        getConstantIntValue(forall.getMixedStep().front()) == 1)
      return {forall, combine};
  return {};
}

/// Products that go expert by expert become part of the tiles of a sum, or have
/// a tile for each expert.
static LogicalResult tileByExpert(IRRewriter &rewriter,
                                  GroupedMatmulOp matmul) {
  std::optional<ScheduleAttr> schedule = matmul.getSchedule();
  if (!schedule || schedule->getGroupSize() != 1)
    return matmul.emitOpError("has no GPU lowering with groups of experts");
  auto [forall, combine] = findSumTiles(matmul);
  Location loc = matmul.getLoc();
  rewriter.setInsertionPoint(matmul);
  if (!forall)
    forall = scf::ForallOp::create(
        rewriter, loc,
        ArrayRef<OpFoldResult>{rewriter.getIndexAttr(matmul.getNumExperts())},
        ValueRange{}, std::nullopt);
  Operation *before =
      combine ? combine.getOperation() : forall.getTerminator().getOperation();
  rewriter.moveOpBefore(matmul, before);
  rewriter.setInsertionPoint(matmul);
  OpFoldResult expert = forall.getInductionVars().front();
  OpFoldResult one = rewriter.getIndexAttr(1);
  auto cut = [&](Value memref, int64_t size) -> Value {
    int64_t rank = cast<MemRefType>(memref.getType()).getRank();
    SmallVector<OpFoldResult> offsets(rank, rewriter.getIndexAttr(0)),
        sizes = memref::getMixedSizes(rewriter, loc, memref),
        strides(rank, one);
    offsets.front() = expert;
    sizes.front() = rewriter.getIndexAttr(size);
    return memref::SubViewOp::create(rewriter, loc, memref, offsets, sizes,
                                     strides);
  };
  matmul.getWeightsMutable().assign(cut(matmul.getWeights(), 1));
  matmul.getDispatchMutable().slice(0, 1).assign(
      combine ? combine.getDispatch().front()
              : cut(matmul.getDispatch().front(), 2));
  return success();
}

namespace {
struct ConvertOmniMoEToGPUPass
    : omnimoe::impl::ConvertOmniMoEToGPUPassBase<ConvertOmniMoEToGPUPass> {
  /// Besides, what tells how large a tile can be.
  void getDependentDialects(DialectRegistry &registry) const override {
    ConvertOmniMoEToGPUPassBase::getDependentDialects(registry);
    affine::registerValueBoundsOpInterfaceExternalModels(registry);
    arith::registerValueBoundsOpInterfaceExternalModels(registry);
    memref::registerValueBoundsOpInterfaceExternalModels(registry);
    scf::registerValueBoundsOpInterfaceExternalModels(registry);
  }

  scf::ForallOp findForall() {
    scf::ForallOp found;
    getOperation()->walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (isa<gpu::LaunchOp>(op)) // a kernel by now
        return WalkResult::skip();
      found = dyn_cast<scf::ForallOp>(op);
      return found ? WalkResult::interrupt() : WalkResult::advance();
    });
    return found;
  }

  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<GroupedMatmulOp> dispatched;
    getOperation()->walk([&](GroupedMatmulOp matmul) {
      if (matmul.isDispatched() && !matmul->getParentOfType<scf::ForallOp>())
        dispatched.push_back(matmul);
    });
    for (GroupedMatmulOp matmul : dispatched)
      if (failed(tileByExpert(rewriter, matmul)))
        return signalPassFailure();
    wrapRest(rewriter, getOperation());
    SmallVector<scf::ForallOp> foralls;
    getOperation()->walk([&](scf::ForallOp op) { foralls.push_back(op); });
    for (scf::ForallOp forall : foralls)
      versionByTiles(rewriter, forall,
                     getTarget(forall->getParentOfType<ModuleOp>()));
    // A kernel may take the tiles behind its own along.
    for (int64_t index = 0; scf::ForallOp forall = findForall(); ++index) {
      auto function = forall->getParentOfType<FunctionOpInterface>();
      std::string name = (function.getName() + "_" + Twine(index)).str();
      TargetAttr target = getTarget(forall->getParentOfType<ModuleOp>());
      if (std::optional<WarpgroupTile> tile = matchWarpgroupTile(forall)) {
        if (failed(convertWarpgroupTile(
                rewriter, *tile, name, target,
                FlatSymbolRefAttr::get(&getContext(), kKernelModule))))
          return signalPassFailure();
        continue;
      }
      if (failed(convertForall(rewriter, forall, name, target)))
        return signalPassFailure();
    }
  }
};
} // namespace
