//===- FuseSiblingTiles.cpp - The pass omnimoe-fuse-sibling-tiles ---------===//
//
// 1. Find two loops over tiles, in one block, that each have one product of few
//    columns, with the same rows of the same matrix.
// 2. Check that the earlier one may wait for the later one.
// 3. Let upstream make one loop of them.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Utils/Utils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/PatternMatch.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_FUSESIBLINGTILESPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

/// The one product of a tile, if it is of few columns.
static std::optional<MatrixProduct> findNarrowProduct(scf::ForallOp forall) {
  std::optional<MatrixProduct> found;
  for (Operation &op : *forall.getBody())
    if (std::optional<MatrixProduct> product = matchMatrixProduct(&op)) {
      if (found || !isNarrow(*product))
        return std::nullopt;
      found = product;
    }
  return found;
}

/// What the left operand is a slice of: the same rows for loops that go over
/// the same tiles.
static Value getMatrix(const MatrixProduct &product) {
  auto slice = product.left->get().getDefiningOp<tensor::ExtractSliceOp>();
  return slice ? slice.getSource() : Value();
}

static bool areSiblings(scf::ForallOp a, scf::ForallOp b) {
  std::optional<MatrixProduct> one = findNarrowProduct(a);
  std::optional<MatrixProduct> other = findNarrowProduct(b);
  return one && other && getMatrix(*one) &&
         getMatrix(*one) == getMatrix(*other) && a.getRank() == 1 &&
         b.getRank() == 1 && a.getMixedLowerBound() == b.getMixedLowerBound() &&
         a.getMixedUpperBound() == b.getMixedUpperBound() &&
         a.getMixedStep() == b.getMixedStep() &&
         getElementTypeOrSelf(one->right->get().getType()) ==
             getElementTypeOrSelf(other->right->get().getType());
}

/// True if nothing needs `earlier` before `later` ends.
static bool mayWait(scf::ForallOp earlier, scf::ForallOp later) {
  return llvm::all_of(earlier->getUsers(), [&](Operation *user) {
    return later->isBeforeInBlock(
        later->getBlock()->findAncestorOpInBlock(*user));
  });
}

namespace {
struct FuseSiblingTilesPass
    : omnimoe::impl::FuseSiblingTilesPassBase<FuseSiblingTilesPass> {
  void runOnOperation() override {
    if (!getTarget(getOperation()->getParentOfType<ModuleOp>()).isGPU())
      return;
    IRRewriter rewriter(&getContext());
    getOperation()->walk([&](Block *block) {
      auto loops = llvm::to_vector(block->getOps<scf::ForallOp>());
      for (size_t i = 0; i < loops.size(); ++i)
        for (size_t j = i + 1; j < loops.size(); ++j)
          if (areSiblings(loops[i], loops[j]) && mayWait(loops[i], loops[j])) {
            fuseIndependentSiblingForallLoops(loops[i], loops[j], rewriter);
            ++numFused;
            // Two are what a block has registers and shared memory for.
            loops.erase(loops.begin() + j);
            break;
          }
    });
  }
};
} // namespace
