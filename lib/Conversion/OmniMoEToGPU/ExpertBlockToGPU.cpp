//===- ExpertBlockToGPU.cpp - convert-omnimoe-expert-block-to-gpu ---------===//

#include "ExpertBlock.h"
#include "omnimoe/Conversion/Passes.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_CONVERTOMNIMOEEXPERTBLOCKTOGPUPASS
#include "omnimoe/Conversion/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// True if each operand besides the products is a scalar, or is found by the
/// number of a pair.
static bool hasPairOperands(linalg::GenericOp payload, Value products) {
  if (payload.hasIndexSemantics())
    return false;
  return llvm::all_of(payload.getDpsInputOperands(), [&](OpOperand *input) {
    AffineMap map = payload.getMatchingIndexingMap(input);
    bool plain = llvm::all_of(map.getResults(), [](AffineExpr result) {
      return isa<AffineDimExpr>(result);
    });
    return plain && (input->get() != products || map.isIdentity());
  });
}

FailureOr<ExpertBlock>
mlir::omnimoe::matchExpertBlock(scf::ExecuteRegionOp region) {
  ExpertBlock block;
  for (Operation &op : region.getRegion().front())
    if (auto matmul = dyn_cast<GroupedMatmulOp>(op))
      block.products = matmul;
    else if (auto payload = dyn_cast<linalg::GenericOp>(op))
      block.payload = payload;
    else if (auto combine = dyn_cast<CombineOp>(op))
      block.sum = combine;
  if (!block.products || !block.sum)
    return region.emitOpError("holds no expert block");
  auto refuse = [&](const Twine &message) {
    return block.products.emitOpError("expert_centric on a GPU: ") << message;
  };
  Type type = getElementTypeOrSelf(block.products.getX().getType());
  if (getElementTypeOrSelf(block.products.getWeights().getType()) != type ||
      getElementTypeOrSelf(block.sum.getVectors().getType()) != type)
    return refuse("tokens and expert vectors must have one type");
  if (cast<ShapedType>(block.products.getWeights().getType()).getRank() != 2 ||
      !canGroupOnTensorCores(type, block.products.getExpertWidth(),
                             block.products.getHiddenSize(),
                             block.getGroupSize()))
    return refuse("vectors must be f16 or bf16, experts atomic, the hidden "
                  "size a multiple of 64, and a group 320 experts at most");
  if (!getElementTypeOrSelf(block.sum.getOut().getType()).isF32())
    return refuse("sums must be f32");
  if (block.payload &&
      !hasPairOperands(block.payload, block.products.getProducts()))
    return refuse("coefficients must be made of values of a pair");
  return block;
}

/// Moves what makes the memory that sums are added to in front of the region:
/// bufferization copies there what they may not be added to in place. What else
/// is in the region, the kernel does not need.
static void hoistDestination(RewriterBase &rewriter,
                             scf::ExecuteRegionOp region, ExpertBlock block) {
  Block &body = region.getRegion().front();
  llvm::SetVector<Operation *> needed;
  auto need = [&](auto &self, Operation *op) -> void {
    if (!op || op->getBlock() != &body || needed.contains(op))
      return;
    for (Value operand : op->getOperands())
      self(self, operand.getDefiningOp());
    needed.insert(op);
  };
  Value out = block.sum.getOut();
  need(need, out.getDefiningOp());
  for (Operation &op : body.without_terminator())
    if (&op != block.sum && llvm::is_contained(op.getOperands(), out))
      need(need, &op);
  for (Operation *op : needed)
    rewriter.moveOpBefore(op, region);
}

namespace {
struct ConvertOmniMoEExpertBlockToGPUPass
    : omnimoe::impl::ConvertOmniMoEExpertBlockToGPUPassBase<
          ConvertOmniMoEExpertBlockToGPUPass> {
  void runOnOperation() override {
    TargetAttr target = getTarget(getOperation());
    SmallVector<scf::ExecuteRegionOp> regions;
    getOperation().walk([&](scf::ExecuteRegionOp op) {
      if (op.getNoInline())
        regions.push_back(op);
    });
    IRRewriter rewriter(&getContext());
    for (auto [index, region] : llvm::enumerate(regions)) {
      FailureOr<ExpertBlock> block = matchExpertBlock(region);
      if (failed(block))
        return signalPassFailure();
      auto function = region->getParentOfType<FunctionOpInterface>();
      std::string name = (function.getName() + "_experts" + Twine(index)).str();
      hoistDestination(rewriter, region, *block);
      rewriter.setInsertionPoint(region);
      KernelBuilder k(region.getLoc(), rewriter);
      SlotTiles tiles = emitSlotTiles(k, *block, target, name);
      emitExpertBlock(k, *block, tiles, target, name);
      // Results are where they were written to.
      Operation *yield = region.getRegion().front().getTerminator();
      for (auto [result, value] :
           llvm::zip_equal(region.getResults(), yield->getOperands()))
        rewriter.replaceAllUsesWith(result, value);
      rewriter.eraseOp(region);
    }
  }
};
} // namespace
