//===- OmniMoEFolds.cpp - Folders and canonicalization patterns -----------===//

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// True if `value`'s leading dimension, the tokens, is statically zero.
static bool hasNoTokens(Value value) {
  return cast<ShapedType>(value.getType()).getDimSize(0) == 0;
}

/// Replaces an operation that computes nothing by its destinations.
static LogicalResult
foldToDestinations(Operation *op, SmallVectorImpl<OpFoldResult> &results) {
  if (op->getNumResults() == 0)
    return failure();
  for (Value init : cast<DestinationStyleOpInterface>(op).getDpsInits())
    results.push_back(init);
  return success();
}

LogicalResult RouteOp::fold(FoldAdaptor,
                            SmallVectorImpl<OpFoldResult> &results) {
  if (hasNoTokens(getRowLogits()))
    return foldToDestinations(getOperation(), results);
  return memref::foldMemRefCast(getOperation());
}

LogicalResult PartitionOp::fold(FoldAdaptor,
                                SmallVectorImpl<OpFoldResult> &results) {
  if (hasNoTokens(getExperts()))
    return foldToDestinations(getOperation(), results);
  return memref::foldMemRefCast(getOperation());
}

/// Without pairs the offsets are still zeros, so only casts fold.
LogicalResult DispatchOp::fold(FoldAdaptor, SmallVectorImpl<OpFoldResult> &) {
  return memref::foldMemRefCast(getOperation());
}

LogicalResult GroupedMatmulOp::fold(FoldAdaptor,
                                    SmallVectorImpl<OpFoldResult> &results) {
  if (hasNoTokens(getExperts()))
    return foldToDestinations(getOperation(), results);
  return memref::foldMemRefCast(getOperation());
}

LogicalResult CombineOp::fold(FoldAdaptor adaptor,
                              SmallVectorImpl<OpFoldResult> &results) {
  if (hasNoTokens(getExperts()))
    return foldToDestinations(getOperation(), results);
  if (auto splat =
          dyn_cast_or_null<SplatElementsAttr>(adaptor.getCoefficients()))
    if (splat.getSplatValue<APFloat>().isZero())
      return foldToDestinations(getOperation(), results);
  return memref::foldMemRefCast(getOperation());
}

namespace {
/// Coefficients that are a fill with zero add nothing.
struct DropCombineOfZeros : OpRewritePattern<CombineOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(CombineOp op,
                                PatternRewriter &rewriter) const override {
    auto fill = op.getCoefficients().getDefiningOp<linalg::FillOp>();
    if (!fill || op->getNumResults() == 0 ||
        !matchPattern(fill.value(), m_AnyZeroFloat()))
      return failure();
    rewriter.replaceOp(op, op.getOut());
    return success();
  }
};
} // namespace

void CombineOp::getCanonicalizationPatterns(RewritePatternSet &results,
                                            MLIRContext *context) {
  results.add<DropCombineOfZeros>(context);
}
