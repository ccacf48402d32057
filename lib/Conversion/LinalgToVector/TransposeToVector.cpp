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
    auto blockType = VectorType::get({lanes, lanes}, wide);
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
        Value block = k.real(blockType, 0.0);
        for (int64_t i = 0; i < lanes; ++i) {
          Value source = k.min(k.add(row, i), lastRow);
          Value vector = vector::MaskedLoadOp::create(
              k, vectorType, in, ValueRange{source, column}, columnMask,
              padding);
          if (narrow)
            vector = arith::ExtFOp::create(k, wideType, vector);
          block =
              vector::InsertOp::create(k, vector, block, ArrayRef<int64_t>{i});
        }
        block = vector::TransposeOp::create(k, block, ArrayRef<int64_t>{1, 0});
        for (int64_t j = 0; j < lanes; ++j) {
          Value vector =
              vector::ExtractOp::create(k, block, ArrayRef<int64_t>{j});
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
