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

/// True if `value` is one of the products of `block`.
static bool isProduct(const FusedBlock &block, Value value) {
  return llvm::any_of(block.matmuls, [&](GroupedMatmulOp matmul) {
    return matmul.getProducts() == value;
  });
}

/// True if the payload makes a coefficient of products and of other values that
/// are scalars, or are found by the number of a pair (and of a wide expert's
/// vector).
static bool makesCoefficients(const FusedBlock &block) {
  linalg::GenericOp payload = block.payload;
  if (payload.hasIndexSemantics() || payload.getNumDpsInits() != 1 ||
      !payload.getMatchingIndexingMap(payload.getDpsInitOperand(0))
           .isIdentity())
    return false;
  return llvm::all_of(payload.getDpsInputOperands(), [&](OpOperand *input) {
    AffineMap map = payload.getMatchingIndexingMap(input);
    bool plain = llvm::all_of(map.getResults(), [](AffineExpr result) {
      return isa<AffineDimExpr>(result);
    });
    return plain && (map.isIdentity() || !isProduct(block, input->get()));
  });
}

FailureOr<FusedBlock>
mlir::omnimoe::matchFusedBlock(scf::ExecuteRegionOp region) {
  FusedBlock block;
  for (Operation &op : region.getRegion().front())
    if (auto matmul = dyn_cast<GroupedMatmulOp>(op))
      block.matmuls.push_back(matmul);
    else if (auto payload = dyn_cast<linalg::GenericOp>(op))
      block.payload = payload;
    else if (auto combine = dyn_cast<CombineOp>(op))
      block.sum = combine;
  if (block.matmuls.empty() || !block.sum)
    return region.emitOpError("holds no expert block");
  block.products = block.matmuls.front();
  auto refuse = [&](const Twine &message) {
    return block.products.emitOpError("expert_centric on a GPU: ") << message;
  };
  auto table = cast<ShapedType>(block.sum.getVectors().getType());
  for (GroupedMatmulOp matmul : block.matmuls) {
    if (getElementTypeOrSelf(matmul.getX().getType()) !=
            table.getElementType() ||
        getElementTypeOrSelf(matmul.getWeights().getType()) !=
            table.getElementType())
      return refuse("tokens and expert vectors must have one type");
    if (matmul.getX() != block.products.getX() ||
        cast<ShapedType>(matmul.getWeights().getType()).getShape() !=
            table.getShape())
      return refuse("products must be of the same tokens with tables of one "
                    "shape");
  }
  if (int64_t count = block.matmuls.size();
      count > (block.isWide() ? kMaxWideProducts : 1))
    return refuse("several products must be of wide experts, and " +
                  Twine(kMaxWideProducts) + " at most, got " + Twine(count));
  if (block.keepsProducts() && block.isWide())
    return refuse("products of wide experts are not kept");
  if (!canGroupOnTensorCores(table, block.getGroupSize()))
    return refuse("vectors must be f16 or bf16, the hidden size a multiple of "
                  "64, and a group one wide expert or up to 320 atomic ones");
  if (!getElementTypeOrSelf(block.sum.getOut().getType()).isF32())
    return refuse("sums must be f32");
  if (block.payload ? !makesCoefficients(block) : block.matmuls.size() > 1)
    return refuse("coefficients must be made of values of a pair");
  return block;
}

/// Lets the kernels clear the sums of `block`, if `region` fills them with
/// zeros.
static void takeZeros(RewriterBase &rewriter, scf::ExecuteRegionOp region,
                      FusedBlock &block) {
  Block &body = region.getRegion().front();
  for (auto fill : llvm::make_early_inc_range(body.getOps<linalg::FillOp>()))
    if (fill.output() == block.sum.getOut() &&
        matchPattern(fill.value(), m_AnyZeroFloat())) {
      block.clears = true;
      rewriter.eraseOp(fill);
    }
}

/// Moves what makes the memory that sums are added to in front of the region:
/// bufferization copies there what they may not be added to in place. What else
/// is in the region, the kernel does not need.
static void hoistDestination(RewriterBase &rewriter,
                             scf::ExecuteRegionOp region, FusedBlock block) {
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
      FailureOr<FusedBlock> block = matchFusedBlock(region);
      if (failed(block))
        return signalPassFailure();
      auto function = region->getParentOfType<FunctionOpInterface>();
      std::string name = (function.getName() + "_experts" + Twine(index)).str();
      takeZeros(rewriter, region, *block);
      hoistDestination(rewriter, region, *block);
      rewriter.setInsertionPoint(region);
      CarriedPairs carried = carryPairs(rewriter, *block, region);
      rewriter.setInsertionPoint(region);
      KernelBuilder k(region.getLoc(), rewriter);
      SlotTiles tiles = block->isWide()
                            ? emitPairTiles(k, *block, name)
                            : emitSlotTiles(k, *block, carried, target, name);
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
