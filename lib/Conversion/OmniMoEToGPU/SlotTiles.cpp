//===- SlotTiles.cpp - Tiles of slots of a group --------------------------===//
//
// Two kernels:
//
//  tiles  One block counts the tiles of each group, adds the counts up, and
//         lists the tiles group by group.
//  cells  A block takes a tile and finds for each of its pairs the row, by
//         binary search in the starts of the tile's slots, and the column.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "BlockKernel.h"
#include "ExpertBlock.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kTilesThreads = 1024, kCellsThreads = 256;
/// Blocks that find cells, for each unit of the chip.
static constexpr int64_t kBlocksPerUnit = 8;

namespace {
class SlotTileEmitter {
public:
  SlotTileEmitter(KernelBuilder &k, ExpertBlock block, StringRef prefix)
      : k(k), block(block), prefix(prefix) {}

  SlotTiles emit(TargetAttr target) {
    constexpr int64_t dynamic = ShapedType::kDynamic;
    Type i32 = k.getI32Type();
    int64_t topK = block.products.getTopK();
    Value pairs = k.mul(
        k.createOrFold<memref::DimOp>(block.products.getExperts(), 0), topK);
    // Every group may have one tile that is not full.
    result.bound = k.add(
        arith::DivUIOp::create(k, pairs, k.index(kSlotTileRows)).getResult(),
        block.getNumGroups());
    result.tiles = memref::AllocOp::create(
        k, MemRefType::get({dynamic, 3}, i32), result.bound);
    result.count = memref::AllocOp::create(k, MemRefType::get({1}, i32));
    result.taken = memref::AllocOp::create(k, MemRefType::get({1}, i32));
    result.cells =
        memref::AllocOp::create(k, MemRefType::get({dynamic}, i32), pairs);
    emitTiles();
    emitCells(k.min(result.bound, k.index(kBlocksPerUnit * target.getUnits())));
    return result;
  }

private:
  void storeTile(Value index, ValueRange fields) {
    for (auto [i, field] : llvm::enumerate(fields))
      k.store(field, result.tiles, {k.toIndex(index), k.index(i)});
  }

  void emitTiles() {
    BlockKernel kernel(k, (prefix + "_tiles").str(), k.index(1), kTilesThreads);
    Value groups = k.index(block.getNumGroups()), zero = k.i32(0);
    Value count =
        k.loop(k.index(0), groups, kTilesThreads, {zero},
               [&](Value base, ValueRange carried) -> SmallVector<Value> {
                 Value group = k.add(base, kernel.thread);
                 Value exists = k.compare(CmpIPredicate::ult, group, groups);
                 Value known = k.choose(exists, group, k.index(0));
                 Value from = k.load(block.getOffsets(), known);
                 Value to = k.load(block.getOffsets(), k.add(known, 1));
                 to = k.choose(exists, to, from);
                 Value own = arith::CeilDivUIOp::create(k, k.sub(to, from),
                                                        k.i32(kSlotTileRows));
                 BlockKernel::Scan scan = kernel.scan(own);
                 Value first = k.add(carried[0], scan.before);
                 k.loop(zero, own, k.i32(1), [&](Value i) {
                   Value slot = k.add(from, k.mul(i, kSlotTileRows));
                   storeTile(k.add(first, i),
                             {k.toI32(group), slot,
                              k.min(k.add(slot, kSlotTileRows), to)});
                 });
                 return {k.add(carried[0], scan.total)};
               })
            .front();
    k.when(k.compare(CmpIPredicate::eq, kernel.thread, k.index(0)), [&] {
      k.store(count, result.count, k.index(0));
      k.store(k.i32(0), result.taken, k.index(0));
    });
  }

  void emitCells(Value blocks) {
    // No pairs, no blocks: then there is nothing to find.
    Value any = k.compare(CmpIPredicate::ugt, blocks, k.index(0));
    k.when(any, [&] {
      BlockKernel kernel(k, (prefix + "_cells").str(), blocks, kCellsThreads);
      Value starts = kernel.shared(k.getI32Type(), {kSlotTileRows + 1});
      Value count = k.toIndex(k.load(result.count, k.index(0)));
      k.loop(kernel.block, count, blocks, [&](Value tile) {
        auto field = [&](int64_t i) {
          return k.load(result.tiles, {tile, k.index(i)});
        };
        Value firstSlot = field(1), rows = k.sub(field(2), firstSlot);
        Value firstColumn = k.mul(field(0), block.getGroupSize());
        Value ownRow = k.toI32(kernel.thread);
        k.when(k.compare(CmpIPredicate::ule, ownRow, rows), [&] {
          k.store(
              k.load(block.getStarts(), k.toIndex(k.add(firstSlot, ownRow))),
              starts, kernel.thread);
        });
        kernel.barrier();
        Value from = k.load(starts, k.index(0));
        Value to = k.load(starts, k.toIndex(rows));
        k.loop(k.add(from, ownRow), to, k.i32(kCellsThreads), [&](Value at) {
          k.store(getCell(at, starts, rows, firstColumn), result.cells,
                  k.toIndex(at));
        });
        kernel.barrier();
      });
    });
  }

  /// The cell of the sorted pair `at`, whose row is the last that starts
  /// before.
  Value getCell(Value at, Value starts, Value rows, Value firstColumn) {
    Value row = k.i32(0);
    for (int64_t step = kSlotTileRows / 2; step > 0; step /= 2) {
      Value later = k.add(row, step);
      Value inside = k.compare(CmpIPredicate::ult, later, rows);
      Value start =
          k.load(starts, k.toIndex(k.choose(inside, later, k.i32(0))));
      row = k.choose(k.both(inside, k.compare(CmpIPredicate::ule, start, at)),
                     later, row);
    }
    Value pair = k.load(block.getPairs(), k.toIndex(at));
    Value topK = k.i32(block.products.getTopK());
    Value token = arith::DivUIOp::create(k, pair, topK);
    Value choice = k.sub(pair, k.mul(token, topK));
    Value expert = k.load(block.products.getExperts(),
                          {k.toIndex(token), k.toIndex(choice)});
    return k.either(arith::ShLIOp::create(k, row, k.i32(16)).getResult(),
                    k.sub(expert, firstColumn));
  }

  KernelBuilder &k;
  ExpertBlock block;
  StringRef prefix;
  SlotTiles result;
};
} // namespace

SlotTiles mlir::omnimoe::emitSlotTiles(KernelBuilder &k, ExpertBlock block,
                                       TargetAttr target, StringRef prefix) {
  return SlotTileEmitter(k, block, prefix).emit(target);
}
