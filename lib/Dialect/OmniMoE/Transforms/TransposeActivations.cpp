//===- TransposeActivations.cpp - Tokens along the vector lanes -----------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_TRANSPOSEACTIVATIONSPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

static constexpr int64_t kSwap[] = {1, 0};

/// An uninitialised tensor with the transposed shape of `value`.
static Value emptyTransposed(OpBuilder &builder, Location loc, Value value,
                             Type elementType) {
  SmallVector<OpFoldResult> sizes = tensor::getMixedSizes(builder, loc, value);
  std::swap(sizes[0], sizes[1]);
  return tensor::EmptyOp::create(builder, loc, sizes, elementType);
}

static Value transposeInto(OpBuilder &builder, Location loc, Value value,
                           Value init) {
  return linalg::TransposeOp::create(builder, loc, value, init, kSwap)
      ->getResult(0);
}

static Value transposed(OpBuilder &builder, Location loc, Value value) {
  Value init = emptyTransposed(builder, loc, value,
                               getElementTypeOrSelf(value.getType()));
  return transposeInto(builder, loc, value, init);
}

/// The value a two-dimensional transpose swaps, or null.
static Value getUntransposed(Value value) {
  auto op = value.getDefiningOp<linalg::TransposeOp>();
  if (!op || op.getPermutation() != ArrayRef<int64_t>(kSwap))
    return nullptr;
  return op.getInput();
}

namespace {
/// x[m, k] * w[n, k]^T  ->  transpose(w[n, k] * transpose(x)[k, m]).
struct TransposeMatmul : OpRewritePattern<linalg::MatmulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(linalg::MatmulOp op,
                                PatternRewriter &rewriter) const override {
    MLIRContext *context = op.getContext();
    AffineExpr m, n, k;
    bindDims(context, m, n, k);
    auto map = [&](AffineExpr a, AffineExpr b) {
      return AffineMap::get(3, 0, {a, b}, context);
    };
    if (op.getIndexingMapsArray() !=
            SmallVector<AffineMap>{map(m, k), map(n, k), map(m, n)} ||
        op->getNumResults() == 0)
      return failure();
    Location loc = op.getLoc();
    Value x = op.getInputs()[0], weights = op.getInputs()[1];
    Value init = op.getOutputs()[0];

    // A product that starts from a fill starts from the transposed fill.
    Value destination = init, transposedInit;
    if (auto fill = init.getDefiningOp<linalg::FillOp>()) {
      destination = fill.getOutputs()[0];
      Value empty = emptyTransposed(rewriter, loc, init,
                                    getElementTypeOrSelf(init.getType()));
      transposedInit =
          linalg::FillOp::create(rewriter, loc, fill.getInputs(), empty)
              .getResult(0);
    } else {
      transposedInit = transposed(rewriter, loc, init);
    }
    Value product = linalg::MatmulOp::create(
                        rewriter, loc, transposedInit.getType(),
                        ValueRange{weights, transposed(rewriter, loc, x)},
                        ValueRange{transposedInit})
                        .getResult(0);
    rewriter.replaceOp(op, transposeInto(rewriter, loc, product, destination));
    return success();
  }
};

/// f(transpose(a), transpose(b)) -> transpose(f(a, b)) for element-wise f.
struct TransposeElementwise : OpRewritePattern<linalg::GenericOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(linalg::GenericOp op,
                                PatternRewriter &rewriter) const override {
    if (op->getNumResults() != 1 || op.getNumLoops() != 2 ||
        op.getNumParallelLoops() != 2)
      return failure();
    AffineMap identity = rewriter.getMultiDimIdentityMap(2);
    Value init = op.getOutputs()[0];
    if (op.getMatchingIndexingMap(op.getDpsInitOperand(0)) != identity ||
        op.payloadUsesValueFromOperand(op.getDpsInitOperand(0)))
      return failure();
    AffineMap swap =
        AffineMap::getPermutationMap(ArrayRef<int64_t>(kSwap), op.getContext());
    SmallVector<Value> inputs;
    SmallVector<AffineMap> maps;
    bool any = false;
    for (OpOperand *input : op.getDpsInputOperands()) {
      AffineMap map = op.getMatchingIndexingMap(input);
      if (map == identity) {
        Value source = getUntransposed(input->get());
        if (!source)
          return failure();
        inputs.push_back(source);
        maps.push_back(identity);
        any = true;
      } else {
        inputs.push_back(input->get());
        maps.push_back(map.compose(swap));
      }
    }
    if (!any)
      return failure();
    maps.push_back(identity);
    Location loc = op.getLoc();
    Value empty = emptyTransposed(rewriter, loc, init,
                                  getElementTypeOrSelf(init.getType()));
    auto result =
        linalg::GenericOp::create(rewriter, loc, empty.getType(), inputs, empty,
                                  maps, op.getIteratorTypesArray());
    rewriter.cloneRegionBefore(op.getRegion(), result.getRegion(),
                               result.getRegion().begin());
    rewriter.replaceOp(op,
                       transposeInto(rewriter, loc, result.getResult(0), init));
    return success();
  }
};

/// The transpose of a transpose is the value itself.
struct CancelTransposes : OpRewritePattern<linalg::TransposeOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(linalg::TransposeOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getPermutation() != ArrayRef<int64_t>(kSwap) ||
        op->getNumResults() == 0)
      return failure();
    Value source = getUntransposed(op.getInput());
    if (!source || source.getType() != op->getResult(0).getType())
      return failure();
    rewriter.replaceOp(op, source);
    return success();
  }
};

struct TransposeActivationsPass
    : omnimoe::impl::TransposeActivationsPassBase<TransposeActivationsPass> {
  void runOnOperation() override {
    int64_t before = 0, after = 0;
    auto count = [&](int64_t &counter) {
      getOperation()->walk([&](linalg::TransposeOp) { ++counter; });
    };
    count(before);
    RewritePatternSet patterns(&getContext());
    patterns.add<TransposeMatmul, TransposeElementwise, CancelTransposes>(
        &getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      return signalPassFailure();
    count(after);
    numTransposes += after - before;
  }
};
} // namespace
