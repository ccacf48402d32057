//===- NarrowProducts.cpp - Operands of products in the narrower type -----===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_NARROWPRODUCTSPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// `value`, the result of a linalg operation, rounded to `elementType` element
/// by element.
static Value roundTo(RewriterBase &rewriter, Value value, Type elementType) {
  Location loc = value.getLoc();
  // Asking the result for its size would be another use of it.
  auto producer = value.getDefiningOp<linalg::LinalgOp>();
  Value like = producer.getDpsInits()[cast<OpResult>(value).getResultNumber()];
  Value empty = tensor::EmptyOp::create(
      rewriter, loc, tensor::getMixedSizes(rewriter, loc, like), elementType);
  int64_t rank = cast<RankedTensorType>(value.getType()).getRank();
  AffineMap identity = rewriter.getMultiDimIdentityMap(rank);
  SmallVector<utils::IteratorType> loops(rank, utils::IteratorType::parallel);
  auto generic = linalg::GenericOp::create(
      rewriter, loc, empty.getType(), value, empty,
      ArrayRef<AffineMap>{identity, identity}, loops,
      [&](OpBuilder &builder, Location loc, ValueRange arguments) {
        Value rounded =
            arith::TruncFOp::create(builder, loc, elementType, arguments[0]);
        linalg::YieldOp::create(builder, loc, rounded);
      });
  return generic.getResult(0);
}

/// True if `value` is computed here, element by element, in f32.
static bool isComputedInF32(Value value) {
  auto op = value.getDefiningOp<linalg::LinalgOp>();
  return op && op.getNumReductionLoops() == 0 &&
         !isa<linalg::FillOp>(op.getOperation()) &&
         getElementTypeOrSelf(value.getType()).isF32();
}

/// The body takes an element of `elementType` for `operand` and extends it.
static void extendInBody(RewriterBase &rewriter, OpOperand *operand,
                         Type elementType) {
  Block *body = cast<linalg::LinalgOp>(operand->getOwner()).getBlock();
  BlockArgument element = body->getArgument(operand->getOperandNumber());
  Type wide = element.getType();
  element.setType(elementType);
  rewriter.setInsertionPointToStart(body);
  Value extended =
      arith::ExtFOp::create(rewriter, element.getLoc(), wide, element);
  rewriter.replaceAllUsesExcept(element, extended, extended.getDefiningOp());
}

namespace {
struct NarrowProductsPass
    : omnimoe::impl::NarrowProductsPassBase<NarrowProductsPass> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    DenseMap<std::pair<Value, Type>, Value> rounded;
    auto narrow = [&](OpOperand *operand, OpOperand *other) {
      Type type = getElementTypeOrSelf(other->get().getType());
      Value value = operand->get();
      if (!isComputedInF32(value) || type.isF32())
        return;
      Value &replacement = rounded[{value, type}];
      if (!replacement) {
        rewriter.setInsertionPointAfterValue(value);
        replacement = roundTo(rewriter, value, type);
      }
      operand->set(replacement);
      extendInBody(rewriter, operand, type);
      ++numNarrowed;
    };
    getOperation().walk([&](linalg::LinalgOp op) {
      if (!op.hasPureTensorSemantics())
        return;
      if (std::optional<MatrixProduct> product = matchMatrixProduct(op)) {
        narrow(product->left, product->right);
        narrow(product->right, product->left);
      }
    });
  }
};
} // namespace
