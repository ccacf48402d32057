//===- SumsToExperts.cpp - Gradients of expert vectors --------------------===//
//
// Two orders of work:
//
//   expert by expert  a dispatch has brought the pairs of each expert together.
//                     A row is summed up in registers, a block of columns at a
//                     time, and written once; threads own rows.
//   pair by pair      every pair adds its token's vector to a row in memory;
//                     threads own columns.
//
// Either way pairs add up in the order of the tokens, so sums have the same
// bits for any number of threads.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "Utils/ExpertVectors.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Vectors of a row that are summed up at a time: enough chains of additions to
/// hide their latency, few enough for half of the smallest register file.
static constexpr int64_t kVectors = 8;

namespace {
struct CombineByExpert : OpRewritePattern<CombineOp> {
  CombineByExpert(MLIRContext *context, int64_t vectorBits)
      : OpRewritePattern(context), lanes(vectorBits / 32) {}

  LogicalResult matchAndRewrite(CombineOp op,
                                PatternRewriter &rewriter) const override {
    if (op->getNumResults() != 0 || !op.goesByExpert() ||
        !getElementTypeOrSelf(op.getOut().getType()).isF32())
      return failure();
    KernelBuilder k(op.getLoc(), rewriter);
    int64_t width = op.getExpertWidth();
    Value offsets = op.getDispatch()[0], starts = op.getDispatch()[2];
    Value numExperts = memref::DimOp::create(k, op.getOut(), 0);
    auto firstPair = [&](Value expert) {
      Value slot = k.toIndex(k.load(offsets, {expert}));
      return k.toIndex(k.load(starts, {slot}));
    };
    Rows rows{collapseExperts(k, op.getOut()),
              collapsePairs(k, op.getCoefficients()),
              op.getVectors(),
              op.getDispatch()[3],
              op.getTopK(),
              width};
    k.loop(k.index(0), numExperts, 1, [&](Value expert) {
      Value first = firstPair(expert), end = firstPair(k.add(expert, 1));
      // Most experts of a large grid have no pair.
      Value any = k.compare(arith::CmpIPredicate::slt, first, end);
      k.when(any, [&] {
        k.loop(k.index(0), k.index(width), 1, [&](Value part) {
          addToRow(k, rows, expert, part, first, end, op.getHiddenSize());
        });
      });
    });
    rewriter.eraseOp(op);
    return success();
  }

private:
  struct Rows {
    Value out, coefficients, x, pairs;
    int64_t topK, width;
  };

  /// Adds the pairs [first, end) to row `expert * width + part`.
  void addToRow(KernelBuilder &k, const Rows &rows, Value expert, Value part,
                Value first, Value end, int64_t hiddenSize) const {
    int64_t block = kVectors * lanes, whole = hiddenSize / block * block;
    Value row = k.add(k.mul(expert, rows.width), part);
    auto addBlock = [&](Value d, int64_t columns) {
      addColumns(k, rows, row, part, first, end, d, columns);
    };
    if (whole)
      k.loop(k.index(0), k.index(whole), block,
             [&](Value d) { addBlock(d, block); });
    if (whole != hiddenSize)
      addBlock(k.index(whole), hiddenSize - whole);
  }

  /// The same for `columns` columns from `d`; the last vector may be partial.
  void addColumns(KernelBuilder &k, const Rows &rows, Value row, Value part,
                  Value first, Value end, Value d, int64_t columns) const {
    auto type = VectorType::get({lanes}, k.getF32Type());
    SmallVector<Value> starts, masks, sums;
    for (int64_t column = 0; column < columns; column += lanes) {
      int64_t rest = columns - column;
      starts.push_back(k.add(d, column));
      masks.push_back(rest < lanes ? k.prefixMask(lanes, rest) : Value());
      sums.push_back(
          loadWide(k, type, rows.out, {row, starts.back()}, masks.back()));
    }
    ResultRange totals =
        k.loop(first, end, 1, sums, [&](Value position, ValueRange carried) {
          Value pair = k.toIndex(k.load(rows.pairs, {position}));
          Value numChoices = k.index(rows.topK);
          Value token = arith::DivUIOp::create(k, pair, numChoices);
          Value choice = arith::RemUIOp::create(k, pair, numChoices);
          Value column = k.add(k.mul(choice, rows.width), part);
          Value factor =
              k.broadcast(type, k.load(rows.coefficients, {token, column}));
          SmallVector<Value> next;
          for (auto [start, mask, sum] : llvm::zip(starts, masks, carried))
            next.push_back(vector::FMAOp::create(
                k, factor, loadWide(k, type, rows.x, {token, start}, mask),
                sum));
          return next;
        });
    for (auto [start, mask, total] : llvm::zip(starts, masks, totals)) {
      if (mask)
        vector::MaskedStoreOp::create(k, rows.out, ValueRange{row, start}, mask,
                                      total);
      else
        k.storeVector(total, rows.out, {row, start});
    }
  }

  int64_t lanes;
};

/// Pairs in the order of a dispatch, or of the tokens without one.
struct CombineInPairOrder : OpRewritePattern<CombineOp> {
  CombineInPairOrder(MLIRContext *context, int64_t vectorBits)
      : OpRewritePattern(context), lanes(vectorBits / 32) {}

  LogicalResult matchAndRewrite(CombineOp op,
                                PatternRewriter &rewriter) const override {
    if (op->getNumResults() != 0 || op.isToTokens() ||
        !getElementTypeOrSelf(op.getOut().getType()).isF32() ||
        op.goesByExpert())
      return failure();
    KernelBuilder k(op.getLoc(), rewriter);
    int64_t width = op.getExpertWidth(), topK = op.getTopK();
    Value experts = op.getExperts(), x = op.getVectors();
    Value out = collapseExperts(k, op.getOut());
    Value coefficients = collapsePairs(k, op.getCoefficients());
    auto type = VectorType::get({lanes}, k.getF32Type());
    Value columns = memref::DimOp::create(k, out, 1);

    auto addPair = [&](Value token, Value choice) {
      k.loop(k.index(0), k.index(width), 1, [&](Value part) {
        Value column = k.add(k.mul(choice, width), part);
        ExpertRow row =
            loadExpertRow(k, experts, token, column, op.getNumExperts(), width);
        k.when(row.valid, [&] {
          Value factor =
              k.broadcast(type, k.load(coefficients, {token, column}));
          k.loop(k.index(0), columns, lanes, [&](Value d) {
            Value mask = vector::CreateMaskOp::create(
                k, VectorType::get({lanes}, k.getI1Type()),
                ValueRange{k.sub(columns, d)});
            Value sum = vector::FMAOp::create(
                k, factor, loadWide(k, type, x, {token, d}, mask),
                loadWide(k, type, out, {row.row, d}, mask));
            vector::MaskedStoreOp::create(k, out, ValueRange{row.row, d}, mask,
                                          sum);
          });
        });
      });
    };
    if (op.isDispatched()) {
      Value offsets = op.getDispatch()[0], starts = op.getDispatch()[2];
      Value pairs = op.getDispatch()[3];
      Value groups = k.sub(memref::DimOp::create(k, offsets, 0).getResult(), 1);
      Value slots = k.toIndex(k.load(offsets, {groups}));
      Value end = k.toIndex(k.load(starts, {slots}));
      k.loop(k.index(0), end, 1, [&](Value position) {
        Value pair = k.toIndex(k.load(pairs, {position}));
        addPair(arith::DivUIOp::create(k, pair, k.index(topK)),
                arith::RemUIOp::create(k, pair, k.index(topK)));
      });
    } else {
      Value tokens = memref::DimOp::create(k, experts, 0);
      k.loop(k.index(0), tokens, 1, [&](Value token) {
        k.loop(k.index(0), k.index(topK), 1,
               [&](Value choice) { addPair(token, choice); });
      });
    }
    rewriter.eraseOp(op);
    return success();
  }

  int64_t lanes;
};
} // namespace

void mlir::omnimoe::populateSumsToExpertsPatterns(RewritePatternSet &patterns,
                                                  int64_t vectorBits) {
  patterns.add<CombineByExpert, CombineInPairOrder>(patterns.getContext(),
                                                    vectorBits);
}
