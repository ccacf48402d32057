//===- OmniMoEToVector.cpp - The pass convert-omnimoe-to-vector -----------===//

#include "Patterns.h"
#include "Utils/KernelBuilder.h"
#include "omnimoe/Conversion/Passes.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_CONVERTOMNIMOETOVECTORPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
struct ConvertOmniMoEToVectorPass
    : omnimoe::impl::ConvertOmniMoEToVectorPassBase<
          ConvertOmniMoEToVectorPass> {
  using ConvertOmniMoEToVectorPassBase::ConvertOmniMoEToVectorPassBase;

  void runOnOperation() override {
    if (!isSupportedVectorWidth(vectorBits)) {
      getOperation()->emitError("option 'vector-bits' must be a power of two "
                                "from 64 to 2048, got ")
          << static_cast<int64_t>(vectorBits);
      return signalPassFailure();
    }
    bool failedAny = false;
    getOperation()->walk([&](Operation *op) {
      failedAny |= failed(checkVectorPreconditions(op));
    });
    if (failedAny)
      return signalPassFailure();
    RewritePatternSet patterns(&getContext());
    populateRouteToVectorPatterns(patterns, vectorBits);
    populatePartitionToVectorPatterns(patterns);
    populateDispatchToVectorPatterns(patterns);
    populateTokenCentricPatterns(patterns, vectorBits);
    populateSumsToExpertsPatterns(patterns, vectorBits);
    populateBlockProductPatterns(patterns, vectorBits);
    walkAndApplyPatterns(getOperation(), std::move(patterns));
    getOperation()->walk([&](RouteOp op) {
      if (op->getNumResults() != 0)
        return;
      op.emitOpError("chooses among too many rows and columns: the numbers of "
                     "min(top_k, rows) rows and min(top_k, columns) columns "
                     "must fit into 31 bits, got top_k ")
          << op.getTopK() << " of " << op.getNumRows() << " x "
          << op.getNumCols();
      signalPassFailure();
    });
  }
};
} // namespace
