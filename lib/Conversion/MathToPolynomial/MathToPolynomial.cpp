//===- MathToPolynomial.cpp - The pass convert-math-to-polynomial ---------===//

#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_CONVERTMATHTOPOLYNOMIALPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
struct ConvertMathToPolynomialPass
    : omnimoe::impl::ConvertMathToPolynomialPassBase<
          ConvertMathToPolynomialPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    populateMathPolynomialApproximationPatterns(patterns);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace
