//===- ElementwiseToVector.cpp - Element-wise operations and row sums -----===//
//
// A linalg operation whose loops are all parallel, or parallel with one
// reduction innermost, becomes loops whose innermost one runs over vectors:
//
// 1. Each operand is a vector (its last dimension is the last loop), a scalar
//    to broadcast (it does not depend on the last loop), or unsupported.
// 2. The payload is cloned with every float and integer type turned into a
//    vector of it: scalar operations on elements are vector operations on
//    vectors of elements.
// 3. A reduction keeps a vector of partial results, whose lanes past the end
//    stay at the neutral element, and folds it into the result at the end.
//
// The tail of the last loop is masked.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "Utils/KernelBuilder.h"
#include "Utils/VectorPayload.h"

#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
/// A reduction's payload: the one operation that joins the carried value.
struct Reduction {
  Operation *combiner;
  vector::CombiningKind kind;
  TypedAttr neutral;
};
} // namespace

static std::optional<Reduction> getReduction(linalg::LinalgOp op) {
  SmallVector<Operation *> combiners;
  if (!matchReduction(op.getRegionOutputArgs(), 0, combiners) ||
      combiners.size() != 1)
    return std::nullopt;
  Operation *combiner = combiners.front();
  std::optional<vector::CombiningKind> kind =
      linalg::getCombinerOpKind(combiner);
  std::optional<TypedAttr> neutral = arith::getNeutralElement(combiner);
  if (!kind || !neutral)
    return std::nullopt;
  return Reduction{combiner, *kind, *neutral};
}

namespace {
/// Emits the loops of one operation.
class Emitter {
public:
  Emitter(linalg::LinalgOp op, KernelBuilder &k,
          SmallVector<VectorOperand> operands,
          std::optional<Reduction> reduction, int64_t lanes)
      : op(op), k(k), operands(std::move(operands)), reduction(reduction),
        lanes(lanes) {}

  void emit() {
    bounds = getLoopLengths(k, op, operands);
    emitOuterLoop(0);
  }

private:
  void emitOuterLoop(unsigned depth) {
    if (depth + 1 == op.getNumLoops())
      return reduction ? emitReduction() : emitElementwise();
    k.loop(k.index(0), bounds[depth], 1, [&](Value iv) {
      ivs.push_back(iv);
      emitOuterLoop(depth + 1);
      ivs.pop_back();
    });
  }

  SmallVector<Value> indices(const VectorOperand &operand, Value last) {
    SmallVector<Value> iteration = ivs;
    iteration.push_back(last);
    return getIndices(k, operand, iteration);
  }

  VectorType vectorOf(Type type) { return VectorType::get({lanes}, type); }

  Value load(const VectorOperand &operand, Value last, Value mask) {
    auto type = dyn_cast<MemRefType>(operand.memref.getType());
    if (!type)
      return k.broadcast(vectorOf(operand.memref.getType()), operand.memref);
    VectorType vector = vectorOf(type.getElementType());
    if (operand.access == Access::Broadcast)
      return k.broadcast(vector,
                         k.load(operand.memref, indices(operand, last)));
    Value zero = arith::ConstantOp::create(k, k.getZeroAttr(vector));
    return vector::MaskedLoadOp::create(k, vector, operand.memref,
                                        indices(operand, last), mask, zero);
  }

  Value maskFrom(Value last) {
    return vector::CreateMaskOp::create(k,
                                        VectorType::get({lanes}, k.getI1Type()),
                                        ValueRange{k.sub(bounds.back(), last)});
  }

  void emitElementwise() {
    k.loop(k.index(0), bounds.back(), lanes, [&](Value last) {
      Value mask = maskFrom(last);
      IRMapping mapping;
      for (auto [argument, operand] :
           llvm::zip(op.getBlock()->getArguments(), operands))
        if (!argument.use_empty())
          mapping.map(argument, load(operand, last, mask));
      SmallVector<Value> results =
          clonePayloadOnVectors(k, op.getBlock(), mapping, lanes);
      unsigned firstInit = op.getNumDpsInputs();
      for (auto [index, result] : llvm::enumerate(results)) {
        const VectorOperand &out = operands[firstInit + index];
        vector::MaskedStoreOp::create(k, out.memref, indices(out, last), mask,
                                      result);
      }
    });
  }

  void emitReduction() {
    const VectorOperand &out = operands.back();
    Value carriedArgument = op.getRegionOutputArgs().front();
    VectorType type = vectorOf(carriedArgument.getType());
    Value neutral = arith::ConstantOp::create(
        k, DenseElementsAttr::get(type, Attribute(reduction->neutral)));
    ResultRange partial = k.loop(
        k.index(0), bounds.back(), lanes, {neutral},
        [&](Value last, ValueRange carried) -> SmallVector<Value> {
          Value mask = maskFrom(last);
          IRMapping mapping;
          mapping.map(carriedArgument, carried.front());
          for (auto [argument, operand] :
               llvm::zip(op.getRegionInputArgs(), operands))
            mapping.map(argument, load(operand, last, mask));
          Value next =
              clonePayloadOnVectors(k, op.getBlock(), mapping, lanes).front();
          return {k.choose(mask, next, carried.front())};
        });
    SmallVector<Value> position = indices(out, Value());
    Value start = k.load(out.memref, position);
    Value result =
        vector::ReductionOp::create(k, reduction->kind, partial.front(), start);
    k.store(result, out.memref, position);
  }

  linalg::LinalgOp op;
  KernelBuilder &k;
  SmallVector<VectorOperand> operands;
  std::optional<Reduction> reduction;
  int64_t lanes;
  SmallVector<Value> bounds, ivs;
};

struct ElementwiseToVector : OpInterfaceRewritePattern<linalg::LinalgOp> {
  ElementwiseToVector(MLIRContext *context, int64_t vectorBits)
      : OpInterfaceRewritePattern(context), vectorBits(vectorBits) {}

  LogicalResult matchAndRewrite(linalg::LinalgOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.hasPureBufferSemantics() || op.getNumLoops() == 0 ||
        !hasVectorPayload(op))
      return rewriter.notifyMatchFailure(op, "payload cannot be vectorized");
    SmallVector<utils::IteratorType> loops = op.getIteratorTypesArray();
    bool reduces = loops.back() == utils::IteratorType::reduction;
    if (op.getNumReductionLoops() != (reduces ? 1 : 0))
      return rewriter.notifyMatchFailure(op, "reduces other loops");
    std::optional<Reduction> reduction;
    if (reduces) {
      reduction = getReduction(op);
      if (!reduction || op.getNumDpsInits() != 1)
        return rewriter.notifyMatchFailure(op, "not a simple reduction");
    }
    SmallVector<VectorOperand> operands;
    for (OpOperand &operand : op->getOpOperands()) {
      FailureOr<VectorOperand> classified = classifyOperand(op, operand);
      if (failed(classified))
        return rewriter.notifyMatchFailure(op, "operand not contiguous");
      bool isOutput = op.isDpsInit(&operand);
      if (isOutput && !reduces && classified->access != Access::Vector)
        return rewriter.notifyMatchFailure(op, "result not along last loop");
      operands.push_back(*classified);
    }
    KernelBuilder k(op.getLoc(), rewriter);
    Emitter(op, k, std::move(operands), reduction, vectorBits / 32).emit();
    rewriter.eraseOp(op);
    return success();
  }

  int64_t vectorBits;
};
} // namespace

void mlir::omnimoe::populateElementwiseToVectorPatterns(
    RewritePatternSet &patterns, int64_t vectorBits) {
  patterns.add<ElementwiseToVector>(patterns.getContext(), vectorBits);
}
