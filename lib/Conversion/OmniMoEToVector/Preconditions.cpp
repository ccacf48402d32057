//===- Preconditions.cpp - What the lowering to vectors can take ----------===//
//
// The verifiers accept every layout and every combination of schedule and
// dispatch; the patterns of this folder do not. Each refusal here names the
// operand, what it has, and what would make it fit.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Rows are loaded and stored as vectors.
static LogicalResult expectContiguousRows(Operation *op, StringRef name,
                                          Value value) {
  if (cast<MemRefType>(value.getType()).isLastDimUnitStride())
    return success();
  return op->emitOpError() << "operand '" << name
                           << "' must be contiguous along its last dimension "
                              "to be lowered to vectors, got "
                           << value.getType();
}

/// Dimensions `dim` and `dim + 1` of a wide expert's operand become one.
static LogicalResult expectCollapsible(Operation *op, StringRef name,
                                       Value value, int64_t dim) {
  auto type = cast<MemRefType>(value.getType());
  if (type.getRank() != 3)
    return success();
  SmallVector<ReassociationIndices> groups;
  if (dim == 0)
    groups = {{0, 1}, {2}};
  else
    groups = {{0}, {1, 2}};
  if (type.isStrided() &&
      memref::CollapseShapeOp::isGuaranteedCollapsible(type, groups))
    return success();
  return op->emitOpError() << "operand '" << name << "' must be contiguous in "
                           << "dimensions " << dim << " and " << dim + 1
                           << " to be lowered to vectors, got " << type;
}

/// Expert-centric work follows the order of a dispatch, and hybrid work is
/// expert-centric for some of the pairs.
static LogicalResult expectDispatch(Operation *op, bool dispatched,
                                    std::optional<ScheduleAttr> schedule) {
  if (!schedule || !*schedule)
    return success();
  if (dispatched && schedule->getGridColumns() != 0)
    return op->emitOpError() << "has groups of a grid's lines (grid_columns = "
                             << schedule->getGridColumns()
                             << "), which only the kernel of a GPU takes";
  if (dispatched)
    return success();
  switch (schedule->getKind()) {
  case ScheduleKind::TokenCentric:
  case ScheduleKind::Dense:
    return success();
  case ScheduleKind::ExpertCentric:
    return op->emitOpError("has the schedule expert_centric but no dispatch: "
                           "run omnimoe-expert-centric-reorder first");
  case ScheduleKind::Hybrid:
    return op->emitOpError("has the schedule hybrid: run "
                           "omnimoe-partition-pairs first");
  }
  llvm_unreachable("unknown schedule");
}

static LogicalResult check(RouteOp op) {
  for (auto [name, value] :
       {std::pair<StringRef, Value>{"row_logits", op.getRowLogits()},
        {"col_logits", op.getColLogits()},
        {"scores", op.getScores()},
        {"experts", op.getExperts()}})
    if (failed(expectContiguousRows(op, name, value)))
      return failure();
  return success();
}

static LogicalResult check(GroupedMatmulOp op) {
  return success(
      succeeded(expectDispatch(op, op.isDispatched(), op.getSchedule())) &&
      succeeded(expectContiguousRows(op, "x", op.getX())) &&
      succeeded(expectContiguousRows(op, "weights", op.getWeights())) &&
      succeeded(expectCollapsible(op, "weights", op.getWeights(), 0)) &&
      succeeded(expectCollapsible(op, "products", op.getProducts(), 1)));
}

static LogicalResult check(CombineOp op) {
  if (!getElementTypeOrSelf(op.getOut().getType()).isF32())
    return op->emitOpError()
           << "operand 'out' must be of f32 to be lowered to vectors, got "
           << op.getOut().getType() << ": run omnimoe-accumulate-in-f32 first";
  // Sums to experts take the pairs in any order.
  if (op.isToTokens() &&
      failed(expectDispatch(op, op.isDispatched(), op.getSchedule())))
    return failure();
  StringRef expertName = op.isToTokens() ? "vectors" : "out";
  return success(
      succeeded(expectContiguousRows(op, "vectors", op.getVectors())) &&
      succeeded(expectContiguousRows(op, "out", op.getOut())) &&
      succeeded(expectCollapsible(op, expertName, op.getExpertSide(), 0)) &&
      succeeded(
          expectCollapsible(op, "coefficients", op.getCoefficients(), 1)));
}

LogicalResult mlir::omnimoe::checkVectorPreconditions(Operation *op) {
  if (op->getNumOperands() == 0 ||
      !isa<MemRefType>(op->getOperand(0).getType()))
    return success();
  if (auto route = dyn_cast<RouteOp>(op))
    return check(route);
  if (auto matmul = dyn_cast<GroupedMatmulOp>(op))
    return check(matmul);
  if (auto combine = dyn_cast<CombineOp>(op))
    return check(combine);
  return success();
}
