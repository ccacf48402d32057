//===- MatmulToVector.cpp - Register-blocked matrix products --------------===//
//
// c[m, n] += a[m, k] * b[k, n], with b and c contiguous along n.
//
// 1. Blocks of `rows` rows of a (static, so that the accumulators are
//    registers) and of two vectors of columns; the tail of n is masked.
// 2. Along k, two vectors of b are loaded and `rows` scalars of a broadcast:
//    rows * 2 multiply-adds for rows + 2 loads, more than the load ports need
//    to keep up with, and neither side is packed.
// 3. Rows of a that are not f32 are widened once into scratch, since a scalar
//    conversion in the innermost loop would cost more than the product.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "Utils/KernelBuilder.h"

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Vectors of columns that a block holds.
static constexpr int64_t kColumnVectors = 2;
/// Longest row of scratch that the stack may hold, in elements.
static constexpr int64_t kMaxScratchRow = 16384;

/// Rows of a block: as many as the register file holds beside two vectors of b
/// and a broadcast, a divisor of `m` if one is near. With AVX-512, 10 to 14
/// rows run within 1 % of each other and 8 rows 6 % slower.
static int64_t chooseRows(int64_t m, int64_t vectorBits) {
  bool manyRegisters = vectorBits >= 512;
  int64_t most = manyRegisters ? 14 : 6, least = manyRegisters ? 10 : 4;
  if (ShapedType::isDynamic(m))
    return manyRegisters ? 8 : 4;
  if (m <= most)
    return std::max<int64_t>(m, 1);
  for (int64_t rows = most; rows >= least; --rows)
    if (m % rows == 0)
      return rows;
  return (most + least) / 2;
}

namespace {
/// The operands of one product and how to load them.
struct Product {
  Value a, b, c;
  bool aTransposed; // a is [k, m]
  int64_t lanes;
  Value numRows, numColumns, depth;
  Type f32;

  VectorType vectorType() const { return VectorType::get({lanes}, f32); }
  Value loadScalarA(KernelBuilder &k, Value row, Value depth) const {
    return k.load(a, aTransposed ? ValueRange{depth, row}
                                 : ValueRange{row, depth});
  }
};
} // namespace

static Value extend(KernelBuilder &k, Value value, Type elementType) {
  if (getElementTypeOrSelf(value.getType()) == elementType)
    return value;
  Type type = elementType;
  if (auto vector = dyn_cast<VectorType>(value.getType()))
    type = vector.clone(elementType);
  return arith::ExtFOp::create(k, type, value);
}

static Value maskedLoad(KernelBuilder &k, VectorType type, Value memref,
                        ValueRange indices, Value mask) {
  auto elementType = cast<MemRefType>(memref.getType()).getElementType();
  VectorType loaded = type.clone(elementType);
  Value zero = k.real(loaded, 0.0);
  Value vector =
      vector::MaskedLoadOp::create(k, loaded, memref, indices, mask, zero);
  return extend(k, vector, type.getElementType());
}

/// One block: `rows` rows from `row`, the columns from `column`. `a` is indexed
/// from `aRow`, which differs from `row` where a was widened into scratch.
static void emitBlock(KernelBuilder &k, const Product &p, int64_t rows,
                      Value row, Value aRow, Value column) {
  VectorType type = p.vectorType();
  Value rest = k.sub(p.numColumns, column);
  SmallVector<Value> masks, columns;
  for (int64_t v = 0; v < kColumnVectors; ++v) {
    Value active = k.sub(rest, v * p.lanes);
    masks.push_back(vector::CreateMaskOp::create(
        k, VectorType::get({p.lanes}, k.getI1Type()), ValueRange{active}));
    columns.push_back(k.add(column, v * p.lanes));
  }
  SmallVector<Value> accumulators;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < kColumnVectors; ++v)
      accumulators.push_back(
          maskedLoad(k, type, p.c, {k.add(row, r), columns[v]}, masks[v]));
  ResultRange sums = k.loop(
      k.index(0), p.depth, 1, accumulators,
      [&](Value depth, ValueRange carried) -> SmallVector<Value> {
        SmallVector<Value> right;
        for (int64_t v = 0; v < kColumnVectors; ++v)
          right.push_back(
              maskedLoad(k, type, p.b, {depth, columns[v]}, masks[v]));
        SmallVector<Value> next;
        for (int64_t r = 0; r < rows; ++r) {
          Value left = k.broadcast(
              type, extend(k, p.loadScalarA(k, k.add(aRow, r), depth), p.f32));
          for (int64_t v = 0; v < kColumnVectors; ++v)
            next.push_back(vector::FMAOp::create(
                k, left, right[v], carried[r * kColumnVectors + v]));
        }
        return next;
      });
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < kColumnVectors; ++v)
      vector::MaskedStoreOp::create(k, p.c,
                                    ValueRange{k.add(row, r), columns[v]},
                                    masks[v], sums[r * kColumnVectors + v]);
}

/// Copies `rows` rows of a, widened, to `scratch`.
static void widenRows(KernelBuilder &k, const Product &p, int64_t rows,
                      Value row, Value scratch) {
  VectorType type = p.vectorType();
  k.loop(k.index(0), p.depth, p.lanes, [&](Value depth) {
    Value mask = vector::CreateMaskOp::create(
        k, VectorType::get({p.lanes}, k.getI1Type()),
        ValueRange{k.sub(p.depth, depth)});
    for (int64_t r = 0; r < rows; ++r) {
      Value vector = maskedLoad(k, type, p.a, {k.add(row, r), depth}, mask);
      vector::MaskedStoreOp::create(k, scratch, ValueRange{k.index(r), depth},
                                    mask, vector);
    }
  });
}

/// Rows [from, to), a multiple of `rows`, against all columns.
static void emitRows(KernelBuilder &k, Product p, int64_t rows, Value from,
                     Value to, Value scratch) {
  k.loop(from, to, rows, [&](Value row) {
    Product block = p;
    Value aRow = row;
    if (scratch) {
      widenRows(k, p, rows, row, scratch);
      block.a = scratch;
      aRow = k.index(0);
    }
    k.loop(k.index(0), p.numColumns, kColumnVectors * p.lanes,
           [&](Value column) { emitBlock(k, block, rows, row, aRow, column); });
  });
}

namespace {
struct MatmulToVector : OpRewritePattern<linalg::MatmulOp> {
  MatmulToVector(MLIRContext *context, int64_t vectorBits)
      : OpRewritePattern(context), vectorBits(vectorBits) {}

  LogicalResult matchAndRewrite(linalg::MatmulOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.hasPureBufferSemantics())
      return rewriter.notifyMatchFailure(op, "not on memrefs");
    MLIRContext *context = op.getContext();
    AffineExpr m, n, d;
    bindDims(context, m, n, d);
    auto map = [&](AffineExpr x, AffineExpr y) {
      return AffineMap::get(3, 0, {x, y}, context);
    };
    SmallVector<AffineMap> maps = op.getIndexingMapsArray();
    bool aTransposed = maps[0] == map(d, m);
    if ((maps[0] != map(m, d) && !aTransposed) || maps[1] != map(d, n) ||
        maps[2] != map(m, n))
      return rewriter.notifyMatchFailure(op, "right side not [k, n]");
    Value a = op.getInputs()[0], b = op.getInputs()[1], c = op.getOutputs()[0];
    auto aType = cast<MemRefType>(a.getType());
    auto bType = cast<MemRefType>(b.getType());
    auto cType = cast<MemRefType>(c.getType());
    auto isWidened = [](MemRefType type) {
      Type element = type.getElementType();
      return isa<FloatType>(element) && element.getIntOrFloatBitWidth() <= 32;
    };
    if (!bType.isLastDimUnitStride() || !cType.isLastDimUnitStride() ||
        !cType.getElementType().isF32() || !isWidened(aType) ||
        !isWidened(bType))
      return rewriter.notifyMatchFailure(op, "layout or type not handled");

    KernelBuilder k(op.getLoc(), rewriter);
    Product p{a,  b,  c,  aTransposed,   vectorBits / 32,
              {}, {}, {}, k.getF32Type()};
    p.numRows = memref::DimOp::create(k, c, 0);
    p.numColumns = memref::DimOp::create(k, c, 1);
    p.depth = memref::DimOp::create(k, b, 0);

    int64_t staticRows = cType.getDimSize(0);
    int64_t rows = chooseRows(staticRows, vectorBits);
    int64_t staticDepth = aType.getDimSize(aTransposed ? 0 : 1);
    Value scratch;
    bool widen = !aType.getElementType().isF32() && !aTransposed &&
                 !ShapedType::isDynamic(staticDepth) &&
                 staticDepth <= kMaxScratchRow && aType.isLastDimUnitStride();
    if (widen)
      scratch = memref::AllocOp::create(
          k, MemRefType::get({rows, staticDepth}, k.getF32Type()),
          k.getI64IntegerAttr(64));

    Value zero = k.index(0);
    if (ShapedType::isDynamic(staticRows)) {
      Value whole =
          k.mul(arith::DivSIOp::create(k, p.numRows, k.index(rows)), rows);
      emitRows(k, p, rows, zero, whole, scratch);
      emitRows(k, p, 1, whole, p.numRows, scratch);
    } else {
      int64_t whole = staticRows / rows * rows;
      emitRows(k, p, rows, zero, k.index(whole), scratch);
      if (whole != staticRows)
        emitRows(k, p, staticRows - whole, k.index(whole), p.numRows, scratch);
    }
    if (widen)
      memref::DeallocOp::create(k, scratch);
    rewriter.eraseOp(op);
    return success();
  }

  int64_t vectorBits;
};
} // namespace

void mlir::omnimoe::populateMatmulToVectorPatterns(RewritePatternSet &patterns,
                                                   int64_t vectorBits) {
  patterns.add<MatmulToVector>(patterns.getContext(), vectorBits);
}
