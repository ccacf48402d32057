//===- SplitPairs.cpp - Cut the pairs of each token into parts ------------===//
//
// 1. Tile each combine whose schedule says so along tokens and pairs, through
// its
//    PartialReductionOpInterface.
// 2. Fuse the producers that only the combine needs.
// 3. Tile the sum of the partial sums, with the element-wise operations that
//    follow it, along tokens and columns: with few tokens, tokens alone would
//    leave it to few units.
//
//===----------------------------------------------------------------------===//

#include "ElementwiseChain.h"
#include "ExpertBlock.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/TileUsingInterface.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_SPLITPAIRSPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

using OpGroup = llvm::SetVector<Operation *>;

/// The slices that the operands of `op` are.
static void addSlices(Operation *op,
                      SmallVectorImpl<tensor::ExtractSliceOp> &slices) {
  for (Value operand : op->getOperands())
    if (auto slice = operand.getDefiningOp<tensor::ExtractSliceOp>())
      slices.push_back(slice);
}

static int64_t largestDivisor(int64_t n, int64_t limit) {
  for (int64_t divisor = std::min(n, limit); divisor > 1; --divisor)
    if (n % divisor == 0)
      return divisor;
  return 1;
}

/// The parts of a split operation are not split again.
static void dropSplit(Operation *op) {
  auto schedule = op->getAttrOfType<ScheduleAttr>("schedule");
  if (schedule)
    op->setAttr("schedule",
                ScheduleAttr::get(op->getContext(), schedule.getKind(),
                                  schedule.getGroupSize(),
                                  schedule.getTokenTile(), /*pair_split=*/1));
}

/// The loop of a combine over its pairs, and how it is cut.
static SetVector<unsigned> getPairLoop() {
  SetVector<unsigned> loops;
  loops.insert(1);
  return loops;
}
static constexpr auto kStrategy =
    ReductionTilingStrategy::PartialReductionOuterParallel;

namespace {
/// A loop that leaves partial sums, and the combine in it.
struct PartialSums {
  scf::ForallOp forall;
  Operation *tile;
};

struct SplitPairsPass : omnimoe::impl::SplitPairsPassBase<SplitPairsPass> {
  using SplitPairsPassBase::SplitPairsPassBase;

  LogicalResult split(RewriterBase &rewriter, CombineOp combine) {
    ScheduleAttr schedule = *combine.getSchedule();
    int64_t parts = schedule.getPairSplit(), topK = combine.getTopK();
    if (topK % parts != 0)
      return combine.emitOpError("schedule's pair_split must divide the ")
             << topK << " pairs of a token, got " << parts;
    OpGroup producers = collectProducers(combine);
    rewriter.setInsertionPoint(combine);
    FailureOr<PartialSums> sums =
        tile(rewriter, combine, rewriter.getIndexAttr(topK / parts));
    if (failed(sums))
      return combine.emitOpError("could not be tiled along its pairs");
    FailureOr<MergeResult> merged = combine.mergeReductions(
        rewriter, combine.getLoc(), sums->forall->getResults(), getPairLoop());
    if (failed(merged))
      return failure();
    rewriter.replaceOp(combine, merged->replacements);
    producers.remove(combine);
    fuse(rewriter, *sums, producers);
    ++numSplit;
    return tileMerge(rewriter, merged->mergeOps.front());
  }

  /// The loop over single tokens and `size` pairs that leaves partial sums.
  /// (Upstream's tiling cuts either parallel loops or a reduction, not both.)
  static FailureOr<PartialSums> tile(RewriterBase &rewriter, CombineOp combine,
                                     OpFoldResult size) {
    Location loc = combine.getLoc();
    OpFoldResult one = rewriter.getIndexAttr(1);
    SmallVector<Range> domain = combine.getIterationDomain(rewriter);
    OpFoldResult parts = affine::makeComposedFoldedAffineApply(
        rewriter, loc,
        rewriter.getAffineSymbolExpr(0).ceilDiv(
            rewriter.getAffineSymbolExpr(1)),
        {domain[1].size, size});
    FailureOr<SmallVector<Value>> inits =
        combine.generateInitialTensorForPartialReduction(
            rewriter, loc, {domain[0].size, parts}, getPairLoop());
    if (failed(inits))
      return failure();
    auto forall = scf::ForallOp::create(
        rewriter, loc, {domain[0].offset, domain[1].offset},
        {domain[0].size, domain[1].size}, {one, size}, *inits,
        /*mapping=*/std::nullopt);
    OpBuilder::InsertionGuard guard(rewriter);
    rewriter.setInsertionPoint(forall.getTerminator());
    SmallVector<OpFoldResult> offsets =
        getAsOpFoldResult(forall.getInductionVars());
    OpFoldResult part = affine::makeComposedFoldedAffineApply(
        rewriter, loc,
        rewriter.getAffineSymbolExpr(0).floorDiv(
            rewriter.getAffineSymbolExpr(1)),
        {offsets[1], size});
    SmallVector<OpFoldResult> sizes = {one, size}, partOffsets, partSizes;
    FailureOr<TilingResult> tiled = combine.tileToPartialReduction(
        rewriter, loc, kStrategy, forall.getRegionIterArgs(), offsets, sizes,
        getPairLoop(), part);
    if (failed(tiled) || failed(combine.getPartialResultTilePosition(
                             rewriter, 0, kStrategy, offsets, sizes,
                             getPairLoop(), part, partOffsets, partSizes)))
      return failure();
    rewriter.setInsertionPointToStart(forall.getTerminator().getBody());
    SmallVector<OpFoldResult> strides(partOffsets.size(), one);
    tensor::ParallelInsertSliceOp::create(
        rewriter, loc, tiled->tiledValues.front(),
        forall.getRegionIterArgs().front(), partOffsets, partSizes, strides);
    return PartialSums{forall, tiled->tiledOps.front()};
  }

  /// Computes what `producers` make in the tile that needs it.
  static void fuse(RewriterBase &rewriter, PartialSums &sums,
                   OpGroup &producers) {
    SmallVector<LoopLikeOpInterface> loops = {sums.forall};
    SmallVector<tensor::ExtractSliceOp> slices;
    dropSplit(sums.tile);
    addSlices(sums.tile, slices);
    while (!slices.empty()) {
      tensor::ExtractSliceOp slice = slices.pop_back_val();
      Operation *producer = slice.getSource().getDefiningOp();
      if (!producer || !producers.contains(producer))
        continue;
      std::optional<scf::SCFFuseProducerOfSliceResult> fused =
          scf::tileAndFuseProducerOfSlice(rewriter, slice, loops);
      if (!fused)
        continue;
      for (Operation *op : fused->tiledOps) {
        dropSplit(op);
        addSlices(op, slices);
      }
    }
    // Consumers come before their producers.
    for (Operation *op : producers)
      if (isOpTriviallyDead(op))
        rewriter.eraseOp(op);
  }

  LogicalResult tileMerge(RewriterBase &rewriter, Operation *merge) {
    OpGroup group;
    group.insert(merge);
    group.insert_range(getElementwiseChain(merge));
    auto root = cast<TilingInterface>(group.back());
    int64_t columns =
        cast<ShapedType>(merge->getResult(0).getType()).getDimSize(1);
    rewriter.setInsertionPoint(root);
    scf::SCFTilingOptions tiling;
    tiling.setLoopType(scf::SCFTilingOptions::LoopType::ForallOp);
    SmallVector<OpFoldResult> sizes = {
        rewriter.getIndexAttr(1),
        rewriter.getIndexAttr(largestDivisor(columns, columnTile))};
    // The loops of a sum over the middle dimension are in the order of its
    // operand's.
    if (root == merge)
      sizes.insert(sizes.begin() + 1, rewriter.getIndexAttr(0));
    tiling.setTileSizes(sizes);
    scf::SCFTileAndFuseOptions options;
    options.setTilingOptions(tiling);
    options.setFusionControlFn(
        [&](tensor::ExtractSliceOp, OpResult producer, bool)
            -> std::optional<scf::SCFTileAndFuseOptions::ControlFnResult> {
          Operation *op = producer.getOwner();
          if (!group.contains(op) && !isa<linalg::FillOp>(op))
            return std::nullopt;
          return scf::SCFTileAndFuseOptions::ControlFnResult{};
        });
    FailureOr<scf::SCFTileAndFuseResult> tiled =
        scf::tileConsumerAndFuseProducersUsingSCF(rewriter, root, options);
    if (failed(tiled))
      return root->emitOpError("could not be tiled along its columns");
    for (OpResult result : root->getResults())
      if (Value replacement = tiled->replacements.lookup(result))
        rewriter.replaceAllUsesWith(result, replacement);
    for (Operation *op : llvm::reverse(group))
      if (isOpTriviallyDead(op))
        rewriter.eraseOp(op);
    return success();
  }

  void runOnOperation() override {
    SmallVector<CombineOp> combines;
    getOperation()->walk([&](CombineOp combine) {
      if (combine.isToTokens() && !combine.isDispatched() &&
          combine->getNumResults() && combine.getSchedule() &&
          combine.getSchedule()->getPairSplit() > 1)
        combines.push_back(combine);
    });
    IRRewriter rewriter(&getContext());
    for (CombineOp combine : combines)
      if (failed(split(rewriter, combine)))
        return signalPassFailure();
  }
};
} // namespace
