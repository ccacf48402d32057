//===- LinalgToVector.cpp - The pass convert-linalg-to-vector -------------===//

#include "Patterns.h"
#include "Utils/KernelBuilder.h"
#include "omnimoe/Conversion/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_CONVERTLINALGTOVECTORPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
struct ConvertLinalgToVectorPass
    : omnimoe::impl::ConvertLinalgToVectorPassBase<ConvertLinalgToVectorPass> {
  using ConvertLinalgToVectorPassBase::ConvertLinalgToVectorPassBase;

  void runOnOperation() override {
    if (!isSupportedVectorWidth(vectorBits)) {
      getOperation()->emitError("option 'vector-bits' must be a power of two "
                                "from 64 to 2048, got ")
          << static_cast<int64_t>(vectorBits);
      return signalPassFailure();
    }
    RewritePatternSet patterns(&getContext());
    populateMatmulToVectorPatterns(patterns, vectorBits);
    populateTransposeToVectorPatterns(patterns, vectorBits);
    populateElementwiseToVectorPatterns(patterns, vectorBits);
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};
} // namespace
