//===- TokenCentric.cpp - Each token streams its own expert vectors -------===//
//
// The tables of expert vectors are the only large thing read, each row once,
// and nothing is kept of them. Several rows are in flight at a time: a row is
// too short for the hardware to get ahead in it, so the loads of its
// neighbours hide the wait. The token itself stays in the first-level cache.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "Utils/ExpertVectors.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Rows of expert vectors in flight.
static constexpr int64_t kRows = 4;

static bool isTokenCentric(std::optional<ScheduleAttr> schedule,
                           bool dispatched) {
  return !dispatched && (!schedule || !*schedule ||
                         schedule->getKind() == ScheduleKind::TokenCentric);
}

/// Calls `body(column, count)` for the columns of a token, `kRows` at a time
/// and then the rest; `count` is static.
static void forEachColumns(KernelBuilder &k, int64_t columns,
                           llvm::function_ref<void(Value, int64_t)> body) {
  int64_t whole = columns / kRows * kRows;
  if (whole)
    k.loop(k.index(0), k.index(whole), kRows,
           [&](Value column) { body(column, kRows); });
  if (whole != columns)
    body(k.index(whole), columns - whole);
}

namespace {
struct GroupedMatmulTokenCentric : OpRewritePattern<GroupedMatmulOp> {
  GroupedMatmulTokenCentric(MLIRContext *context, int64_t vectorBits)
      : OpRewritePattern(context), lanes(vectorBits / 32) {}

  LogicalResult matchAndRewrite(GroupedMatmulOp op,
                                PatternRewriter &rewriter) const override {
    if (op->getNumResults() != 0 ||
        !isTokenCentric(op.getSchedule(), op.isDispatched()))
      return failure();
    KernelBuilder k(op.getLoc(), rewriter);
    int64_t width = op.getExpertWidth(), hiddenSize = op.getHiddenSize();
    Value x = op.getX(), experts = op.getExperts();
    Value weights = collapseExperts(k, op.getWeights());
    Value products = collapsePairs(k, op.getProducts());
    auto type = VectorType::get({lanes}, k.getF32Type());
    Value zero = k.real(k.getF32Type(), 0.0), zeros = k.real(type, 0.0);

    Value tokens = memref::DimOp::create(k, experts, 0);
    k.loop(k.index(0), tokens, 1, [&](Value token) {
      forEachColumns(k, op.getTopK() * width, [&](Value column, int64_t count) {
        SmallVector<ExpertRow> rows;
        for (int64_t i = 0; i < count; ++i)
          rows.push_back(loadExpertRow(k, experts, token, k.add(column, i),
                                       op.getNumExperts(), width));
        SmallVector<Value> inits(count, zeros);
        SmallVector<Value> sums = forEachVector(
            k, hiddenSize, lanes, inits,
            [&](Value d, Value mask, ValueRange carried) {
              Value left = loadWide(k, type, x, {token, d}, mask);
              SmallVector<Value> next;
              for (auto [row, sum] : llvm::zip(rows, carried))
                next.push_back(vector::FMAOp::create(
                    k, left, loadWide(k, type, weights, {row.row, d}, mask),
                    sum));
              return next;
            });
        for (int64_t i = 0; i < count; ++i) {
          // Lanes may be added in any order: a tree, not a chain.
          Value sum = vector::ReductionOp::create(
              k, vector::CombiningKind::ADD, sums[i],
              arith::FastMathFlags::reassoc);
          k.store(k.choose(rows[i].valid, sum, zero), products,
                  {token, k.add(column, i)});
        }
      });
    });
    rewriter.eraseOp(op);
    return success();
  }

  int64_t lanes;
};

struct CombineToTokens : OpRewritePattern<CombineOp> {
  CombineToTokens(MLIRContext *context, int64_t vectorBits)
      : OpRewritePattern(context), lanes(vectorBits / 32) {}

  LogicalResult matchAndRewrite(CombineOp op,
                                PatternRewriter &rewriter) const override {
    if (op->getNumResults() != 0 || !op.isToTokens() ||
        !getElementTypeOrSelf(op.getOut().getType()).isF32() ||
        !isTokenCentric(op.getSchedule(), op.isDispatched()))
      return failure();
    KernelBuilder k(op.getLoc(), rewriter);
    int64_t width = op.getExpertWidth();
    Value experts = op.getExperts(), out = op.getOut();
    Value vectors = collapseExperts(k, op.getVectors());
    Value coefficients = collapsePairs(k, op.getCoefficients());
    auto type = VectorType::get({lanes}, k.getF32Type());
    auto maskType = VectorType::get({lanes}, k.getI1Type());
    Value zero = k.real(k.getF32Type(), 0.0);

    Value tokens = memref::DimOp::create(k, experts, 0);
    k.loop(k.index(0), tokens, 1, [&](Value token) {
      forEachColumns(k, op.getTopK() * width, [&](Value column, int64_t count) {
        SmallVector<Value> rows, factors, valid;
        for (int64_t i = 0; i < count; ++i) {
          Value at = k.add(column, i);
          ExpertRow row =
              loadExpertRow(k, experts, token, at, op.getNumExperts(), width);
          rows.push_back(row.row);
          // A pair without an expert must not even multiply: 0 * inf is NaN.
          valid.push_back(k.broadcast(maskType, row.valid));
          factors.push_back(k.broadcast(
              type,
              k.choose(row.valid, k.load(coefficients, {token, at}), zero)));
        }
        forEachVector(k, op.getHiddenSize(), lanes, [&](Value d, Value mask) {
          Value sum = loadWide(k, type, out, {token, d}, mask);
          for (auto [row, factor, some] : llvm::zip(rows, factors, valid)) {
            Value lanesOfRow = mask ? k.both(mask, some) : some;
            sum = vector::FMAOp::create(
                k, factor, loadWide(k, type, vectors, {row, d}, lanesOfRow),
                sum);
          }
          if (mask)
            vector::MaskedStoreOp::create(k, out, ValueRange{token, d}, mask,
                                          sum);
          else
            k.storeVector(sum, out, {token, d});
        });
      });
    });
    rewriter.eraseOp(op);
    return success();
  }

  int64_t lanes;
};
} // namespace

void mlir::omnimoe::populateTokenCentricPatterns(RewritePatternSet &patterns,
                                                 int64_t vectorBits) {
  patterns.add<GroupedMatmulTokenCentric, CombineToTokens>(
      patterns.getContext(), vectorBits);
}
