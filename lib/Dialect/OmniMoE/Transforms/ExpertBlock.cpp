//===- ExpertBlock.cpp - What is scheduled together -----------------------===//

#include "ExpertBlock.h"
#include "ElementwiseChain.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Matchers.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/Products.h"

using namespace mlir;
using namespace mlir::omnimoe;

static bool isStore(Operation *op) {
  return isa<bufferization::MaterializeInDestinationOp>(op) &&
         op->getNumResults() == 0;
}

llvm::SetVector<Operation *>
mlir::omnimoe::collectProducers(CombineOp combine) {
  llvm::SetVector<Operation *> group;
  group.insert(combine);
  for (unsigned i = 0; i < group.size(); ++i)
    for (Value operand : group[i]->getOperands()) {
      Operation *producer = operand.getDefiningOp();
      if (!producer || producer->getBlock() != combine->getBlock() ||
          !(isa<GroupedMatmulOp>(producer) || isElementwise(producer)))
        continue;
      bool onlyHere = llvm::all_of(producer->getUsers(), [&](Operation *user) {
        return isa<tensor::DimOp>(user) || group.contains(user);
      });
      if (onlyHere || isa<linalg::FillOp>(producer))
        group.insert(producer);
    }
  return group;
}

bool mlir::omnimoe::areGatedProducts(GroupedMatmulOp a, GroupedMatmulOp b) {
  auto table = cast<ShapedType>(a.getWeights().getType());
  return table.getRank() == 3 && a.getX() == b.getX() &&
         a.getExperts() == b.getExperts() && table == b.getWeights().getType();
}

std::optional<ExpertBlock> mlir::omnimoe::matchExpertBlock(CombineOp combine,
                                                           bool several) {
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
      bool isFirst = block.matmuls.empty();
      if (matmul.getExperts() == combine.getExperts() &&
          (isFirst ||
           (several && areGatedProducts(block.matmuls.front(), matmul))) &&
          feeding.insert(op))
        block.matmuls.push_back(matmul);
      block.gated |= !isFirst && matmul != block.matmuls.front();
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
  if (block.matmuls.empty() ||
      llvm::any_of(block.matmuls, [](GroupedMatmulOp matmul) {
        return matmul.getSchedule().has_value();
      }))
    return std::nullopt;
  // What something else needs as well has a tile of its own, and is not to be
  // computed once more for every version.
  for (Operation *op : ArrayRef(feeding.getArrayRef()).drop_front())
    for (Operation *user : op->getUsers()) {
      if (feeding.contains(user) || isa<tensor::DimOp>(user))
        continue;
      if (op != block.matmuls.front() || block.save || !isStore(user) ||
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
  CombineOp combine = block.combine;
  auto table = cast<ShapedType>(combine.getVectors().getType());
  if (!getElementTypeOrSelf(combine.getOut().getType()).isF32() ||
      !canGroupOnTensorCores(table, /*groupSize=*/1))
    return false;
  // Products of wide experts are many, and are not kept.
  if ((block.save && table.getRank() == 3) ||
      int64_t(block.matmuls.size()) > kMaxWideProducts)
    return false;
  for (GroupedMatmulOp matmul : block.matmuls)
    if (matmul.getWeights().getType() != table ||
        getElementTypeOrSelf(matmul.getX().getType()) != table.getElementType())
      return false;
  Operation *last = combine.getCoefficients().getDefiningOp();
  if (last == block.matmuls.front())
    return true;
  auto payload = dyn_cast<linalg::GenericOp>(last);
  if (!payload || payload->getNumResults() != 1 ||
      payload.hasIndexSemantics() ||
      !llvm::all_of(payload.getIndexingMapsArray(),
                    [](AffineMap map) { return map.isProjectedPermutation(); }))
    return false;
  return llvm::all_of(block.matmuls, [&](GroupedMatmulOp matmul) {
    Value products = matmul->getResult(0);
    return llvm::is_contained(payload.getInputs(), products) &&
           llvm::all_of(payload.getDpsInputOperands(), [&](OpOperand *input) {
             return input->get() != products ||
                    payload.getMatchingIndexingMap(input).isIdentity();
           });
  });
}

bool mlir::omnimoe::mayBeExact(const ExpertBlock &block) {
  CombineOp combine = block.combine;
  auto table = cast<ShapedType>(combine.getVectors().getType());
  auto fill = combine.getOut().getDefiningOp<linalg::FillOp>();
  return table.getRank() == 2 && fill &&
         matchPattern(fill.value(), m_PosZeroFloat()) &&
         combine.getTopK() <= kMostExactChoices;
}
