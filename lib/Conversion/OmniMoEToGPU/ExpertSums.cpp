//===- ExpertSums.cpp - Gradients of expert vectors, by a block -----------===//
//
// A block owns an expert; the dispatch of the batch says which pairs are its
// own. A thread owns columns of the row and walks the pairs, a few at a time in
// flight, in the order of the tokens: no atomics, and the same bits every time.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"

#include "Utils/ExpertVectors.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Pairs of an expert in flight: most experts have few.
static constexpr int64_t kPairsInFlight = 4;

void BlockEmitter::emitCombineToExperts(CombineOp op) {
  Value x = op.getVectors(), pairs = op.getDispatch()[3];
  Value out = collapseExperts(k, op.getOut());
  Value coefficients = collapsePairs(k, op.getCoefficients());
  Type elementType = getElementTypeOrSelf(x.getType());
  int64_t width = op.getExpertWidth(), hiddenSize = op.getHiddenSize();
  int64_t count = getAccessElements(hiddenSize, elementType);
  auto type = VectorType::get({count}, k.getF32Type());
  auto outAlignment = llvm::MaybeAlign(4 * std::min<int64_t>(count, 4));
  auto xAlignment =
      llvm::MaybeAlign(count * elementType.getIntOrFloatBitWidth() / 8);
  Value zero = k.real(k.getF32Type(), 0.0), topK = k.index(op.getTopK());
  auto firstPair = [&](Value expert) {
    Value slot = k.toIndex(k.load(op.getDispatch()[0], {expert}));
    return k.toIndex(k.load(op.getDispatch()[2], {slot}));
  };
  /// The pair at `position` of the order, or of weight 0 if it is past `end`.
  auto addPair = [&](Value position, Value end, Value part, Value column,
                     Value sum) {
    Value valid = k.compare(arith::CmpIPredicate::ult, position, end);
    Value last = k.min(position, k.sub(end, 1));
    Value pair = k.toIndex(k.load(pairs, {last}));
    Value token = arith::DivUIOp::create(k, pair, topK);
    Value choice = arith::RemUIOp::create(k, pair, topK);
    Value factor = k.load(coefficients,
                          ValueRange{token, k.add(k.mul(choice, width), part)});
    Value piece = vector::LoadOp::create(k, type.clone(elementType), x,
                                         ValueRange{token, column},
                                         /*nontemporal=*/false, xAlignment);
    if (!elementType.isF32())
      piece = arith::ExtFOp::create(k, type, piece);
    return vector::FMAOp::create(
        k, k.broadcast(type, k.choose(valid, factor, zero)), piece, sum);
  };

  Value numExperts = memref::DimOp::create(k, op.getOut(), 0);
  Value firstColumn = k.mul(threadId, count);
  k.loop(k.index(0), numExperts, 1, [&](Value expert) {
    Value first = firstPair(expert), end = firstPair(k.add(expert, 1));
    k.loop(k.index(0), k.index(width), 1, [&](Value part) {
      Value row = k.add(k.mul(expert, width), part);
      k.loop(
          firstColumn, k.index(hiddenSize), threads * count, [&](Value column) {
            Value sum = k.real(type, 0.0);
            if (!startsAtZero.contains(op))
              sum =
                  vector::LoadOp::create(k, type, out, ValueRange{row, column},
                                         /*nontemporal=*/false, outAlignment);
            sum = k.loop(first, end, kPairsInFlight, {sum},
                         [&](Value position,
                             ValueRange carried) -> SmallVector<Value> {
                           Value next = carried.front();
                           for (int64_t i = 0; i < kPairsInFlight; ++i)
                             next = addPair(k.add(position, i), end, part,
                                            column, next);
                           return {next};
                         })
                      .front();
            vector::StoreOp::create(k, sum, out, ValueRange{row, column},
                                    /*nontemporal=*/false, outAlignment);
          });
    });
  });
}
