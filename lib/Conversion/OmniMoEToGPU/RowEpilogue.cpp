//===- RowEpilogue.cpp - Reductions of rows in registers ------------------===//
//
// The part of TileEpilogue for tiles of which neighbouring lanes hold a row: a
// lane reduces what it has of it, and shuffles bring the lanes together.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "TileEpilogue.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace mlir::omnimoe;

static bool hasIndices(linalg::LinalgOp op) {
  return !op.getBlock()->getOps<linalg::IndexOp>().empty();
}

/// True for `out[r] = combine over c of f(in[r, c], row[r])`, all of the tile.
static bool isRowReduction(linalg::LinalgOp op) {
  MLIRContext *context = op.getContext();
  AffineMap ofRow =
      AffineMap::get(2, 0, {getAffineDimExpr(0, context)}, context);
  Operation *combiner = matchCombiner(op);
  if (!combiner || !combiner->getResult(0).getType().isF32() ||
      !arith::getNeutralElement(combiner) || op.getNumLoops() != 2 ||
      op.getIteratorTypesArray().front() != utils::IteratorType::parallel ||
      op.getNumDpsInits() != 1 || hasIndices(op) ||
      op.getMatchingIndexingMap(op.getDpsInitOperand(0)) != ofRow ||
      !isOfTile(op.getDpsInits().front()))
    return false;
  return llvm::all_of(op.getDpsInputOperands(), [&](OpOperand *input) {
    AffineMap map = op.getMatchingIndexingMap(input);
    return !isa<MemRefType>(input->get().getType()) ||
           (isOfTile(input->get()) && (map.isIdentity() || map == ofRow));
  });
}

/// True for `out[r, c] = f(...)`, with operands in memory, or of the tile if
/// they have its rows.
static bool isElementwiseOnRows(linalg::LinalgOp op) {
  bool contiguous = true;
  if (op.getNumLoops() != 2 || op.getNumParallelLoops() != 2 ||
      op.getNumDpsInits() != 1 || hasIndices(op) ||
      failed(classifyOperands(op, contiguous)) ||
      !op.getMatchingIndexingMap(op.getDpsInitOperand(0)).isIdentity())
    return false;
  return llvm::all_of(op->getOpOperands(), [&](OpOperand &operand) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    return !isOfTile(operand.get()) || map.isIdentity() ||
           (map.getNumResults() == 1 &&
            map.getResult(0) == getAffineDimExpr(0, op.getContext()));
  });
}

bool TileEpilogue::isOfRows(Operation *op, const DenseSet<Value> &results) {
  if (isa<linalg::FillOp, memref::CopyOp>(op))
    return llvm::all_of(op->getOperands(), [&](Value operand) {
      auto type = dyn_cast<MemRefType>(operand.getType());
      bool isHeld = isOfTile(operand) || results.contains(operand);
      return !type || (isHeld && type.getElementType().isF32() &&
                       type.getRank() >= 1 && type.getRank() <= 2);
    });
  auto linalgOp = dyn_cast<linalg::LinalgOp>(op);
  return linalgOp && !matchMatrixProduct(op) &&
         (linalgOp.getNumReductionLoops() ? isRowReduction(linalgOp)
                                          : isElementwiseOnRows(linalgOp));
}

void TileEpilogue::emitRowReduction(linalg::LinalgOp op) {
  Operation *combiner = matchCombiner(op);
  auto combine = [&](Value left, Value right) {
    IRMapping mapping;
    mapping.map(combiner->getOperand(0), left);
    mapping.map(combiner->getOperand(1), right);
    return k.clone(*combiner, mapping)->getResult(0);
  };
  int64_t width = multiplier.getFragmentWidth();
  // Columns that the matrix does not have take no part.
  Value columns;
  for (Value input : op.getDpsInputs())
    if (auto type = dyn_cast<MemRefType>(input.getType());
        type && type.getRank() == 2 &&
        type.getDimSize(1) != numSums() * multiplier.getLanesOfRow())
      columns = k.index(type.getDimSize(1));

  Block *payload = op.getBlock();
  Value value =
      arith::ConstantOp::create(k, *arith::getNeutralElement(combiner));
  for (int64_t at = 0; at < numSums(); ++at) {
    IRMapping mapping;
    for (auto [argument, input] :
         llvm::zip(payload->getArguments(), op.getDpsInputs()))
      mapping.map(argument, sums.contains(input)   ? sums[input][at]
                            : rows.contains(input) ? rows[input]
                                                   : input);
    mapping.map(payload->getArguments().back(), value);
    Value next = clonePayload(k, op, mapping, /*ivs=*/{}).front();
    if (columns)
      next = k.choose(k.compare(arith::CmpIPredicate::ult,
                                k.add(fragments[at / width].column, at % width),
                                columns),
                      next, value);
    value = next;
  }
  for (int64_t distance = 1; distance < multiplier.getLanesOfRow();
       distance *= 2)
    value = combine(value, gpu::ShuffleOp::create(k, value, distance, kWarp,
                                                  gpu::ShuffleMode::XOR)
                               .getShuffleResult());
  Value &out = rows[op.getDpsInits().front()];
  out = combine(out, value);
}
