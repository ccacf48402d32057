//===- PairTiles.cpp - Tiles of sorted pairs of a wide expert -------------===//

#include "BlockKernel.h"
#include "ExpertBlock.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kThreads = 1024;

/// One block counts the tiles of experts, adds up, and writes them; tokens do
/// not come in chunks, as each would read the tables of its experts again.
SlotTiles mlir::omnimoe::emitPairTiles(KernelBuilder &k, FusedBlock block,
                                       StringRef prefix) {
  constexpr int64_t dynamic = ShapedType::kDynamic;
  Type i32 = k.getI32Type();
  Value rows = k.i32(kSlotTileRows), zero = k.i32(0);
  Value experts = k.index(block.getNumGroups());
  Value pairs =
      k.mul(k.createOrFold<memref::DimOp>(block.products.getExperts(), 0),
            block.products.getTopK());
  SlotTiles result;
  // Every expert may have one tile that is not full.
  result.bound = k.add(
      arith::DivUIOp::create(k, pairs, k.index(kSlotTileRows)).getResult(),
      experts);
  result.tiles = memref::AllocOp::create(k, MemRefType::get({dynamic, 3}, i32),
                                         result.bound);
  result.count = memref::AllocOp::create(k, MemRefType::get({1}, i32));
  result.taken = memref::AllocOp::create(k, MemRefType::get({1}, i32));

  auto emitTiles = [&](BlockKernel &kernel) {
    auto loadFirstPair = [&](Value expert) {
      Value slot = k.load(block.getOffsets(), expert);
      return k.load(block.getStarts(), k.toIndex(slot));
    };
    auto writeTiles = [&](Value base,
                          ValueRange carried) -> SmallVector<Value> {
      Value expert = k.add(base, kernel.thread);
      Value exists = k.compare(CmpIPredicate::ult, expert, experts);
      Value known = k.choose(exists, expert, k.index(0));
      Value from = loadFirstPair(known), to = loadFirstPair(k.add(known, 1));
      to = k.choose(exists, to, from);
      Value count = arith::CeilDivUIOp::create(k, k.sub(to, from), rows);
      BlockKernel::Scan scan = kernel.scan(count);
      Value firstTile = k.add(carried[0], scan.before);
      k.loop(zero, count, k.i32(1), [&](Value i) {
        Value row = k.add(from, k.mul(i, kSlotTileRows));
        Value fields[] = {k.toI32(expert), row, k.min(k.add(row, rows), to)};
        Value tile = k.toIndex(k.add(firstTile, i));
        for (auto [number, field] : llvm::enumerate(fields))
          k.store(field, result.tiles, {tile, k.index(number)});
      });
      return {k.add(carried[0], scan.total)};
    };
    Value total =
        k.loop(k.index(0), experts, kThreads, {zero}, writeTiles).front();
    k.when(k.compare(CmpIPredicate::eq, kernel.thread, k.index(0)), [&] {
      k.store(total, result.count, k.index(0));
      k.store(zero, result.taken, k.index(0));
    });
  };
  emitBesideClearing(k, block, (prefix + "_tiles").str(), kThreads, emitTiles);
  return result;
}
