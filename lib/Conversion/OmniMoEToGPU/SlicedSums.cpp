//===- SlicedSums.cpp - Sums over a slice of the vectors, by a block ------===//
//
// A tile of a sum to tokens that has few columns and several tokens: all tokens
// meet one slice of the expert vectors, which the second-level cache holds,
// before the next. A warp owns a token; its lanes are teams that take turns at
// the token's pairs, each lane of a team with 16 bytes of the row. The teams'
// sums are added at the end.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"

#include "Utils/ExpertVectors.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Vectors that a team has in flight.
static constexpr int64_t kVectorsPerTeam = 8;

void BlockEmitter::emitSlicedCombine(CombineOp op, int64_t lanesOfTeam) {
  int64_t teams = kWarp / lanesOfTeam;
  int64_t columns = op.getTopK() * op.getExpertWidth();
  int64_t count = op.getHiddenSize() / lanesOfTeam;
  auto type = VectorType::get({count}, k.getF32Type());
  auto alignment = llvm::MaybeAlign(4 * std::min<int64_t>(count, 4));
  Value coefficients = collapsePairs(k, op.getCoefficients());
  Value zero = k.real(k.getF32Type(), 0.0);
  Value warp = arith::DivUIOp::create(k, threadId, k.index(kWarp));
  Value lane = arith::RemUIOp::create(k, threadId, k.index(kWarp));
  Value team = arith::DivUIOp::create(k, lane, k.index(lanesOfTeam));
  Value column =
      k.mul(arith::RemUIOp::create(k, lane, k.index(lanesOfTeam)), count);
  int64_t turn = teams * kVectorsPerTeam;

  auto add = [&](Value token, Value at, Value before) {
    SmallVector<Value> factors, pieces;
    for (int64_t i = 0; i < kVectorsPerTeam; ++i) {
      Value position = k.add(k.add(at, i * teams), team);
      Value inside;
      if (columns % turn != 0) {
        inside =
            k.compare(arith::CmpIPredicate::ult, position, k.index(columns));
        position = k.min(position, k.index(columns - 1));
      }
      LoadedRow row = loadRow(op, token, position, column);
      if (inside)
        row.valid = k.both(inside, row.valid);
      factors.push_back(k.broadcast(
          type,
          k.choose(row.valid, k.load(coefficients, {token, position}), zero)));
      pieces.push_back(row.widen(k));
    }
    for (auto [factor, piece] : llvm::zip(factors, pieces))
      before = vector::FMAOp::create(k, factor, piece, before);
    return before;
  };
  Value tokens = memref::DimOp::create(k, op.getExperts(), 0);
  k.loop(warp, tokens, threads / kWarp, [&](Value token) {
    Value sum = k.loop(k.index(0), k.index(columns), turn, {k.real(type, 0.0)},
                       [&](Value at, ValueRange carried) -> SmallVector<Value> {
                         keepRegisters(k);
                         return {add(token, at, carried.front())};
                       })
                    .front();
    SmallVector<Value> elements;
    for (int64_t i = 0; i < count; ++i) {
      Value element = vector::ExtractOp::create(k, sum, i);
      for (int64_t distance = lanesOfTeam; distance < kWarp; distance *= 2)
        element = arith::AddFOp::create(
            k, element,
            gpu::ShuffleOp::create(k, element, distance, kWarp,
                                   gpu::ShuffleMode::XOR)
                .getShuffleResult());
      elements.push_back(element);
    }
    k.when(k.compare(arith::CmpIPredicate::eq, team, k.index(0)), [&] {
      Value total = vector::FromElementsOp::create(k, type, elements);
      if (!startsAtZero.contains(op))
        total = arith::AddFOp::create(
            k, total,
            vector::LoadOp::create(k, type, op.getOut(),
                                   ValueRange{token, column},
                                   /*nontemporal=*/false, alignment));
      vector::StoreOp::create(k, total, op.getOut(), ValueRange{token, column},
                              /*nontemporal=*/false, alignment);
    });
  });
}
