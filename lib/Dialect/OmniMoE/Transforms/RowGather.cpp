//===- RowGather.cpp - Rows of a matrix, picked by indices ----------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/RowGather.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// The operation of the payload that reads an element of a matrix, and nothing
/// else that could not be computed once for a row.
static Operation *findRead(Block *payload) {
  Operation *read = nullptr;
  for (Operation &op : payload->without_terminator()) {
    if (isa<tensor::ExtractOp, memref::LoadOp>(op)) {
      if (read)
        return nullptr;
      read = &op;
    } else if (op.getNumRegions() != 0 ||
               (!isa<linalg::IndexOp>(op) && !isPure(&op))) {
      return nullptr;
    }
  }
  return read;
}

std::optional<RowGather> mlir::omnimoe::matchRowGather(Operation *operation) {
  auto op = dyn_cast<linalg::GenericOp>(operation);
  if (!op || op.getNumLoops() != 2 || op.getNumParallelLoops() != 2 ||
      op.getNumDpsInputs() != 1 || op.getNumDpsInits() != 1)
    return std::nullopt;
  OpOperand *input = op.getDpsInputOperand(0);
  OpOperand *init = op.getDpsInitOperand(0);
  MLIRContext *context = op.getContext();
  if (op.getMatchingIndexingMap(input) !=
          AffineMap::get(2, 0, getAffineDimExpr(0, context)) ||
      !op.getMatchingIndexingMap(init).isIdentity() ||
      !getElementTypeOrSelf(input->get().getType()).isIntOrIndex())
    return std::nullopt;

  Operation *read = findRead(op.getBlock());
  if (!read || read->getNumOperands() != 3)
    return std::nullopt;
  RowGather gather{
      op,     read, read->getOperand(0), input->get(), read->getOperand(1),
      Value()};
  auto column = read->getOperand(2).getDefiningOp<linalg::IndexOp>();
  if (!column || column.getDim() != 1 ||
      op.getRegion().isAncestor(gather.matrix.getParentRegion()))
    return std::nullopt;

  // Elements are those of the matrix, or zeros where a condition does not hold.
  Value element = op.getBlock()->getTerminator()->getOperand(0);
  if (auto choice = element.getDefiningOp<arith::SelectOp>();
      choice && matchPattern(choice.getFalseValue(), m_PosZeroFloat())) {
    gather.isRead = choice.getCondition();
    element = choice.getTrueValue();
  }
  if (element != read->getResult(0))
    return std::nullopt;

  // Neither depends on where in the result an element is, or what was there.
  auto isOfIndex = [&](Value value) {
    SmallVector<Value> open{value};
    while (!open.empty()) {
      Value next = open.pop_back_val();
      if (next == op.getMatchingBlockArgument(init) ||
          next == read->getResult(0))
        return false;
      Operation *by = next.getDefiningOp();
      if (!by || by->getBlock() != op.getBlock())
        continue;
      if (isa<linalg::IndexOp>(by))
        return false;
      llvm::append_range(open, by->getOperands());
    }
    return true;
  };
  if (!isOfIndex(gather.row) || (gather.isRead && !isOfIndex(gather.isRead)))
    return std::nullopt;
  return gather;
}

std::pair<Value, Value> mlir::omnimoe::emitGatheredRow(OpBuilder &builder,
                                                       const RowGather &gather,
                                                       Value index) {
  IRMapping mapping;
  linalg::GenericOp op = gather.op;
  mapping.map(op.getMatchingBlockArgument(op.getDpsInputOperand(0)), index);
  // What is not needed, such as a choice between elements, is left out.
  std::function<Value(Value)> emit = [&](Value value) {
    Operation *by = value.getDefiningOp();
    if (!mapping.contains(value) && by && by->getBlock() == op.getBlock()) {
      for (Value operand : by->getOperands())
        emit(operand);
      builder.clone(*by, mapping);
    }
    return mapping.lookupOrDefault(value);
  };
  Value row = emit(gather.row);
  return {row, gather.isRead ? emit(gather.isRead) : Value()};
}
