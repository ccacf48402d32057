//===- PairRows.cpp - Coefficients of rows that are pairs -----------------===//

#include "PairRows.h"

#include "WarpgroupMatrix.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

/// Columns of a product of which a thread holds two neighbours in each of its
/// two rows: its smallest piece.
static constexpr int64_t kPieceColumns = 8, kPieceValues = 4;
/// Rows of a product that a warp has.
static constexpr int64_t kRowsOfWarp = kWarpgroupRows / 4;
/// Products of a table that become coefficients together.
static constexpr int64_t kValuesAtOnce = 2 * kPieceValues;

PairRows::PairRows(KernelBuilder &k, FusedBlock block, Value warp, Value lane,
                   bool endInside)
    : k(k), block(block), warp(warp), lane(lane), endInside(endInside) {}

void PairRows::begin(const RowTile &tile, ValueRange) {
  rows = getOwnRows(k, warp, lane);
  for (Value &row : rows)
    row = k.min(k.add(tile.first, row), k.sub(tile.last, 1));
  exist = k.compare(CmpIPredicate::ult,
                    k.add(tile.first, k.mul(warp, kRowsOfWarp)), tile.last);
  ownVector = k.add(tile.firstVector, k.mul(k.both(lane, k.i32(3)), 2));
}

void PairRows::loadPairs() {
  Value topK = k.i32(block.products.getTopK());
  for (int64_t half : {0, 1}) {
    Value pair = k.load(block.getPairs(), k.toIndex(rows[half]));
    tokens[half] = arith::DivUIOp::create(k, pair, topK);
    choices[half] = k.sub(pair, k.mul(tokens[half], topK));
  }
}

/// The payload's operand for a pair and, where it depends on that, for one of
/// its expert's vectors.
Value PairRows::loadOperand(OpOperand *input, int64_t half, Value number) {
  Value value = input->get();
  if (!isa<MemRefType>(value.getType()))
    return value;
  Value ivs[] = {tokens[half], choices[half], number};
  SmallVector<Value> indices;
  for (AffineExpr dim :
       block.payload.getMatchingIndexingMap(input).getResults())
    indices.push_back(k.toIndex(ivs[cast<AffineDimExpr>(dim).getPosition()]));
  return k.load(value, indices);
}

static bool dependsOnVector(linalg::GenericOp payload, OpOperand *input) {
  return payload.getMatchingIndexingMap(input).isFunctionOfDim(2);
}

void PairRows::loadOperands() {
  if (!block.payload)
    return;
  for (OpOperand *input : block.payload.getDpsInputOperands())
    if (!dependsOnVector(block.payload, input))
      for (int64_t half : {0, 1})
        operands[half].map(block.payload.getMatchingBlockArgument(input),
                           loadOperand(input, half, Value()));
}

/// The coefficient of a vector of the pair, of its product with each table.
Value PairRows::computeOne(ArrayRef<Value> products, int64_t half,
                           Value number) {
  linalg::GenericOp payload = block.payload;
  if (!payload)
    return products.front();
  IRMapping mapping = operands[half];
  Value known;
  for (OpOperand *input : payload.getDpsInputOperands()) {
    if (!dependsOnVector(payload, input))
      continue;
    Value value;
    for (auto [matmul, product] : llvm::zip_equal(block.matmuls, products))
      if (matmul.getProducts() == input->get())
        value = product;
    if (!value) {
      if (!known)
        known = endInside
                    ? number
                    : k.min(number, k.i32(block.products.getExpertWidth() - 1));
      value = loadOperand(input, half, known);
    }
    mapping.map(payload.getMatchingBlockArgument(input), value);
  }
  for (Operation &op : payload.getBody()->without_terminator())
    k.clone(op, mapping);
  return mapping.lookupOrDefault(
      payload.getBody()->getTerminator()->getOperand(0));
}

/// Two coefficients of neighbouring columns in each i32, of products whose
/// first column has the vector `number`.
SmallVector<Value> PairRows::computeColumns(ArrayRef<Value> products,
                                            Value number) {
  Type elementType = getElementTypeOrSelf(block.products.getX().getType());
  auto wordType = VectorType::get({1}, k.getI32Type());
  int64_t tables = block.matmuls.size(), values = products.size() / tables;
  Value width = k.i32(block.products.getExpertWidth());
  SmallVector<Value> words;
  for (int64_t i = 0; i < values; i += 2) {
    int64_t column = i / kPieceValues * kPieceColumns;
    int64_t half = i % kPieceValues / 2;
    SmallVector<Value> two;
    for (int64_t e : {0, 1}) {
      SmallVector<Value> own;
      for (int64_t table = 0; table < tables; ++table)
        own.push_back(products[table * values + i + e]);
      Value ownNumber = k.add(number, column + e);
      Value value = computeOne(own, half, ownNumber);
      // What the payload makes of vectors past the expert, which are zeros, may
      // be no number.
      if (!endInside)
        value = k.choose(k.compare(CmpIPredicate::ult, ownNumber, width), value,
                         k.real(k.getF32Type(), 0.0));
      two.push_back(value);
    }
    Value packed = vector::FromElementsOp::create(
        k, VectorType::get({2}, k.getF32Type()), two);
    packed =
        arith::TruncFOp::create(k, VectorType::get({2}, elementType), packed);
    packed = vector::BitCastOp::create(k, wordType, packed);
    words.push_back(vector::ExtractOp::create(k, packed, 0));
  }
  return words;
}

SmallVector<Value> PairRows::compute(ArrayRef<Value> products,
                                     ArrayRef<Value>) {
  int64_t tables = block.matmuls.size(), values = products.size() / tables;
  SmallVector<Value> words;
  // A few columns at a time, behind a branch each: the assembler would spread
  // the payload of all of them, and over what follows, for which there are not
  // enough registers.
  Value zero = k.i32(0), any = arith::ExtUIOp::create(k, k.getI32Type(), exist);
  for (int64_t first = 0; first < values; first += kValuesAtOnce) {
    int64_t count = std::min(kValuesAtOnce, values - first);
    SmallVector<Value> own;
    for (int64_t table = 0; table < tables; ++table)
      llvm::append_range(own, products.slice(table * values + first, count));
    Value number = k.add(ownVector, first / kPieceValues * kPieceColumns);
    // Each looks like another condition, or branches become one.
    any = holdInPlace(k, any).front();
    llvm::append_range(
        words, k.branch(
                   SmallVector<Type>(count / 2, k.getI32Type()),
                   k.compare(CmpIPredicate::ne, any, zero),
                   [&] { return computeColumns(own, number); },
                   [&] { return SmallVector<Value>(count / 2, zero); }));
  }
  ownVector = k.add(ownVector, values / kPieceValues * kPieceColumns);
  return words;
}
