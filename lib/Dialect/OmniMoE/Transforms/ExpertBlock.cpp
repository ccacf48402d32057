//===- ExpertBlock.cpp - What is scheduled together -----------------------===//

#include "ExpertBlock.h"
#include "ElementwiseChain.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace mlir::omnimoe;

static bool isStore(Operation *op) {
  return isa<bufferization::MaterializeInDestinationOp>(op) &&
         op->getNumResults() == 0;
}

std::optional<ExpertBlock> mlir::omnimoe::matchExpertBlock(CombineOp combine) {
  if (!combine.isToTokens() || combine.getSchedule() ||
      combine->getNumResults() == 0)
    return std::nullopt;
  ExpertBlock block;
  block.combine = combine;
  llvm::SetVector<Operation *> feeding;
  feeding.insert(combine);
  auto add = [&](Value value) {
    Operation *op = value.getDefiningOp();
    if (!op || op->getBlock() != combine->getBlock())
      return;
    if (auto matmul = dyn_cast<GroupedMatmulOp>(op)) {
      if (matmul.getExperts() == combine.getExperts() && !block.matmul) {
        block.matmul = matmul;
        feeding.insert(op);
      }
      block.gated |= matmul != block.matmul;
      return;
    }
    auto generic = dyn_cast<linalg::GenericOp>(op);
    if (generic && generic.getNumReductionLoops() == 0)
      feeding.insert(op);
  };
  add(combine.getCoefficients());
  // Zeros that another block starts from too stay outside of both.
  if (auto fill = combine.getOut().getDefiningOp<linalg::FillOp>())
    if (fill->getBlock() == combine->getBlock() && fill->hasOneUse())
      feeding.insert(fill);
  for (unsigned i = 1; i < feeding.size(); ++i)
    if (auto generic = dyn_cast<linalg::GenericOp>(feeding[i]))
      for (Value input : generic.getInputs())
        add(input);
  if (!block.matmul || block.matmul.getSchedule())
    return std::nullopt;
  // What something else needs as well has a tile of its own, and is not to be
  // computed once more for every version.
  for (Operation *op : ArrayRef(feeding.getArrayRef()).drop_front())
    for (Operation *user : op->getUsers()) {
      if (feeding.contains(user) || isa<tensor::DimOp>(user))
        continue;
      if (op != block.matmul || block.save || !isStore(user) ||
          user->getBlock() != op->getBlock() ||
          !isa<BlockArgument>(user->getOperand(1)))
        return std::nullopt;
      block.save = user;
    }
  block.ops = feeding.takeVector();
  llvm::sort(block.ops,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  llvm::append_range(block.ops, getElementwiseChain(combine));
  Operation *last = block.getLast();
  if (last->hasOneUse()) {
    Operation *user = *last->user_begin();
    if (isStore(user) && user->getBlock() == last->getBlock())
      block.ops.push_back(user);
  }
  return block;
}

bool mlir::omnimoe::mayFuse(const ExpertBlock &block) {
  GroupedMatmulOp matmul = block.matmul;
  CombineOp combine = block.combine;
  Type type = getElementTypeOrSelf(matmul.getX().getType());
  if (getElementTypeOrSelf(matmul.getWeights().getType()) != type ||
      getElementTypeOrSelf(combine.getVectors().getType()) != type ||
      !getElementTypeOrSelf(combine.getOut().getType()).isF32() ||
      cast<ShapedType>(matmul.getWeights().getType()).getRank() != 2 ||
      !canGroupOnTensorCores(type, matmul.getExpertWidth(),
                             matmul.getHiddenSize(), /*groupSize=*/1))
    return false;
  Operation *last = combine.getCoefficients().getDefiningOp();
  if (last == matmul)
    return true;
  auto payload = dyn_cast<linalg::GenericOp>(last);
  return payload && payload->getNumResults() == 1 &&
         !payload.hasIndexSemantics() &&
         llvm::is_contained(payload.getInputs(), matmul->getResult(0)) &&
         llvm::all_of(payload.getIndexingMapsArray(), [](AffineMap map) {
           return map.isProjectedPermutation();
         });
}

bool mlir::omnimoe::mayBeExact(const ExpertBlock &block) {
  GroupedMatmulOp matmul = block.matmul;
  CombineOp combine = block.combine;
  auto fill = combine.getOut().getDefiningOp<linalg::FillOp>();
  return fill && matchPattern(fill.value(), m_PosZeroFloat()) &&
         matmul.getTopK() <= kMostExactChoices;
}
