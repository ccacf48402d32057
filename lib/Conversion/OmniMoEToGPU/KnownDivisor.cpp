//===- KnownDivisor.cpp - What sizes and offsets are multiples of ---------===//

#include "KnownDivisor.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include <numeric>

using namespace mlir;
using namespace mlir::omnimoe;

/// The divisor of `expr`, whose dimensions and symbols are multiples of
/// `operands`.
static int64_t getDivisor(AffineExpr expr, unsigned numDims,
                          ArrayRef<int64_t> operands) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return std::abs(constant.getValue());
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return operands[dim.getPosition()];
  if (auto symbol = dyn_cast<AffineSymbolExpr>(expr))
    return operands[numDims + symbol.getPosition()];
  auto binary = cast<AffineBinaryOpExpr>(expr);
  int64_t left = getDivisor(binary.getLHS(), numDims, operands);
  int64_t right = getDivisor(binary.getRHS(), numDims, operands);
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return std::gcd(left, right);
  case AffineExprKind::Mul:
    return left * right;
  default:
    return 1;
  }
}

template <typename AffineOp> static int64_t getDivisorOfResults(AffineOp op) {
  AffineMap map = op.getMap();
  SmallVector<int64_t> operands;
  for (Value operand : op->getOperands())
    operands.push_back(getKnownDivisor(operand));
  int64_t divisor = 0;
  for (AffineExpr expr : map.getResults())
    divisor = std::gcd(divisor, getDivisor(expr, map.getNumDims(), operands));
  return divisor;
}

/// The size of dimension `dim` of `memref`.
static OpFoldResult getSize(Value memref, int64_t dim) {
  auto type = cast<MemRefType>(memref.getType());
  if (!type.isDynamicDim(dim))
    return IntegerAttr::get(IndexType::get(memref.getContext()),
                            type.getDimSize(dim));
  auto subview = memref.getDefiningOp<memref::SubViewOp>();
  if (subview && subview.getSourceType().getRank() == type.getRank())
    return subview.getMixedSizes()[dim];
  return {};
}

int64_t mlir::omnimoe::getKnownDivisor(OpFoldResult value) {
  if (!value)
    return 1;
  if (std::optional<int64_t> constant = getConstantIntValue(value))
    return std::abs(*constant);
  auto dynamic = dyn_cast<Value>(value);
  if (!dynamic)
    return 1;
  if (auto forall = scf::getForallOpThreadIndexOwner(dynamic)) {
    for (auto [iv, from, step] :
         llvm::zip(forall.getInductionVars(), forall.getMixedLowerBound(),
                   forall.getMixedStep()))
      if (iv == dynamic)
        return std::gcd(getKnownDivisor(from), getKnownDivisor(step));
    return 1;
  }
  Operation *op = dynamic.getDefiningOp();
  if (!op)
    return 1;
  if (auto add = dyn_cast<arith::AddIOp>(op))
    return std::gcd(getKnownDivisor(add.getLhs()),
                    getKnownDivisor(add.getRhs()));
  if (auto mul = dyn_cast<arith::MulIOp>(op))
    return getKnownDivisor(mul.getLhs()) * getKnownDivisor(mul.getRhs());
  if (auto cast = dyn_cast<arith::IndexCastOp>(op))
    return getKnownDivisor(cast.getIn());
  if (auto min = dyn_cast<affine::AffineMinOp>(op))
    return getDivisorOfResults(min);
  if (auto max = dyn_cast<affine::AffineMaxOp>(op))
    return getDivisorOfResults(max);
  if (auto apply = dyn_cast<affine::AffineApplyOp>(op))
    return getDivisorOfResults(apply);
  return 1;
}

/// What the offset of `memref`, in elements, is a multiple of.
static int64_t getOffsetDivisor(Value memref) {
  auto type = cast<MemRefType>(memref.getType());
  auto [strides, offset] = type.getStridesAndOffset();
  if (!ShapedType::isDynamic(offset))
    return offset;
  auto subview = memref.getDefiningOp<memref::SubViewOp>();
  if (!subview)
    return 1;
  auto [sourceStrides, sourceOffset] =
      subview.getSourceType().getStridesAndOffset();
  int64_t divisor = getOffsetDivisor(subview.getSource());
  for (auto [position, stride] :
       llvm::zip(subview.getMixedOffsets(), sourceStrides))
    divisor =
        std::gcd(divisor, getKnownDivisor(position) *
                              (ShapedType::isDynamic(stride) ? 1 : stride));
  return divisor;
}

int64_t mlir::omnimoe::getAlignedElements(Value memref, int64_t limit) {
  auto type = cast<MemRefType>(memref.getType());
  auto [strides, offset] = type.getStridesAndOffset();
  if (type.getRank() == 0 || strides.back() != 1)
    return 1;
  int64_t divisor = std::gcd(limit, getOffsetDivisor(memref));
  divisor =
      std::gcd(divisor, getKnownDivisor(getSize(memref, type.getRank() - 1)));
  for (int64_t stride : ArrayRef(strides).drop_back())
    divisor = std::gcd(divisor, ShapedType::isDynamic(stride) ? 1 : stride);
  return divisor;
}
