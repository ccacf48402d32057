//===- TransposeToVector.cpp - Two-dimensional transposes in registers ----===//
//
// out[j, i] = in[i, j] in blocks of lanes x lanes: rows of the block are loaded
// as vectors, transposed in registers and stored as vectors. At the edges, rows
// past the end repeat the last one (their lanes are never stored) and columns
// are masked.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "Utils/KernelBuilder.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Transposes a square block given by its rows: for each power of two, the
/// off-diagonal squares of that size change places. Two-source shuffles are
/// emitted here, since canonicalization takes a vector.transpose apart lane by
/// lane.
static void transposeBlock(KernelBuilder &k, MutableArrayRef<Value> rows) {
  int64_t lanes = rows.size();
  for (int64_t half = 1; half < lanes; half *= 2) {
    SmallVector<int64_t> upper, lower;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      upper.push_back(lane & half ? lanes + lane - half : lane);
      lower.push_back(lane & half ? lanes + lane : lane + half);
    }
    for (int64_t row = 0; row < lanes; ++row) {
      if (row & half)
        continue;
      Value a = rows[row], b = rows[row + half];
      rows[row] = vector::ShuffleOp::create(k, a, b, upper);
      rows[row + half] = vector::ShuffleOp::create(k, a, b, lower);
    }
  }
}

namespace {
struct TransposeToVector : OpRewritePattern<linalg::TransposeOp> {
  TransposeToVector(MLIRContext *context, int64_t vectorBits)
      : OpRewritePattern(context), vectorBits(vectorBits) {}

  LogicalResult matchAndRewrite(linalg::TransposeOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.hasPureBufferSemantics() ||
        op.getPermutation() != ArrayRef<int64_t>({1, 0}))
      return rewriter.notifyMatchFailure(op, "not a swap on memrefs");
    auto contiguous = [](Value value) {
      return cast<MemRefType>(value.getType()).isLastDimUnitStride();
    };
    Value in = op.getInput(), out = op.getInit();
    Type elementType = getElementTypeOrSelf(in.getType());
    if (!contiguous(in) || !contiguous(out) || !isa<FloatType>(elementType))
      return rewriter.notifyMatchFailure(op, "layout or type not handled");

    KernelBuilder k(op.getLoc(), rewriter);
    int64_t lanes = vectorBits / 32;
    // Narrow floats go through f32, whose shuffles are single instructions;
    // widening and narrowing again is exact.
    Type wide = k.getF32Type();
    bool narrow = elementType.getIntOrFloatBitWidth() < 32;
    auto vectorType = VectorType::get({lanes}, elementType);
    auto wideType = VectorType::get({lanes}, wide);
    auto maskType = VectorType::get({lanes}, k.getI1Type());
    Value rows = memref::DimOp::create(k, in, 0);
    Value columns = memref::DimOp::create(k, in, 1);
    Value lastRow = k.sub(rows, 1), lastColumn = k.sub(columns, 1);
    Value padding = k.real(vectorType, 0.0);

    k.loop(k.index(0), rows, lanes, [&](Value row) {
      Value rowMask = vector::CreateMaskOp::create(
          k, maskType, ValueRange{k.sub(rows, row)});
      k.loop(k.index(0), columns, lanes, [&](Value column) {
        Value columnMask = vector::CreateMaskOp::create(
            k, maskType, ValueRange{k.sub(columns, column)});
        SmallVector<Value> block;
        for (int64_t i = 0; i < lanes; ++i) {
          Value source = k.min(k.add(row, i), lastRow);
          Value vector = vector::MaskedLoadOp::create(
              k, vectorType, in, ValueRange{source, column}, columnMask,
              padding);
          if (narrow)
            vector = arith::ExtFOp::create(k, wideType, vector);
          block.push_back(vector);
        }
        transposeBlock(k, block);
        for (int64_t j = 0; j < lanes; ++j) {
          Value vector = block[j];
          if (narrow)
            vector = arith::TruncFOp::create(k, vectorType, vector);
          // A column past the end would be stored outside: its mask is empty.
          Value target = k.add(column, j);
          Value inside =
              k.compare(arith::CmpIPredicate::sle, target, lastColumn);
          Value mask = k.both(rowMask, k.broadcast(maskType, inside));
          vector::MaskedStoreOp::create(
              k, out, ValueRange{k.min(target, lastColumn), row}, mask, vector);
        }
      });
    });
    rewriter.eraseOp(op);
    return success();
  }

  int64_t vectorBits;
};
} // namespace

void mlir::omnimoe::populateTransposeToVectorPatterns(
    RewritePatternSet &patterns, int64_t vectorBits) {
  patterns.add<TransposeToVector>(patterns.getContext(), vectorBits);
}
