//===- OmniMoEToVector.cpp - The pass convert-omnimoe-to-vector -----------===//

#include "Patterns.h"
#include "omnimoe/Conversion/Passes.h"

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
    RewritePatternSet patterns(&getContext());
    populateRouteToVectorPatterns(patterns, vectorBits);
    populateDispatchToVectorPatterns(patterns);
    populateTokenCentricPatterns(patterns, vectorBits);
    populateBlockProductPatterns(patterns, vectorBits);
    walkAndApplyPatterns(getOperation(), std::move(patterns));
  }
};
} // namespace
