//===- SlotTiles.cpp - Tiles of slots of a group --------------------------===//
//
// A chunk is a range of tokens whose sums the second-level cache holds; a tile
// has slots of one group and of tokens of one chunk, and all tiles of a chunk
// come before those of the next. One block counts the tiles of each chunk's
// groups, and adds up; `SlotCells` does the rest.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "BlockKernel.h"
#include "ExpertBlock.h"
#include "SlotCells.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kThreads = 1024;
/// Blocks that find cells, for each unit of the chip.
static constexpr int64_t kBlocksPerUnit = 8;

Value mlir::omnimoe::getEvenSplit(KernelBuilder &k, Value rows) {
  return arith::ShRUIOp::create(k, k.add(rows, 1), k.i32(1));
}

namespace {
class SlotTileEmitter {
public:
  SlotTileEmitter(KernelBuilder &k, FusedBlock block,
                  const CarriedPairs &carried, StringRef prefix)
      : k(k), block(block), carried(carried), prefix(prefix),
        columnBlocks(block.getColumnBlocks()) {}

  SlotTiles emit(TargetAttr target) {
    constexpr int64_t dynamic = ShapedType::kDynamic;
    Type i32 = k.getI32Type();
    Value tokens =
        k.createOrFold<memref::DimOp>(block.products.getExperts(), 0);
    Value pairs = k.mul(tokens, block.products.getTopK());
    int64_t sumBytes = block.sum.getHiddenSize() * sizeof(float);
    double share = kChunkShare;
    if (block.getLayout().isByLines()) {
      auto table = cast<MemRefType>(block.sum.getVectors().getType());
      double tableBytes =
          table.getNumElements() * table.getElementTypeBitWidth() / 8.0;
      share = getLinesChunkShare(
          estimateLines(block.getLayout(), block.products.getTopK()),
          (block.matmuls.size() + 1) * tableBytes, sumBytes, target);
    }
    auto chunkTokens = static_cast<int64_t>(share * target.getL2Bytes());
    chunkTokens = std::max(kSlotTileRows, chunkTokens / sumBytes);
    chunks = k.max(ceilDiv(tokens, k.index(chunkTokens)), k.index(1));
    tokensOfChunk = ceilDiv(tokens, chunks);
    bins = k.mul(chunks, block.getNumGroups());
    // Every bin may have one tile, or as many as a cluster takes, that are not
    // full.
    int64_t together = block.getClusterBlocks();
    result.bound = k.mul(k.add(arith::DivUIOp::create(
                                   k, pairs, k.index(together * kSlotTileRows))
                                   .getResult(),
                               bins),
                         together);
    auto allocate = [&](ArrayRef<int64_t> shape, ValueRange sizes,
                        Type type = {}) -> Value {
      return memref::AllocOp::create(
          k, MemRefType::get(shape, type ? type : i32), sizes);
    };
    Type i16 = k.getIntegerType(16);
    binSlots = allocate({dynamic, 2}, bins);
    binTiles = allocate({dynamic}, k.add(bins, 1));
    result.tiles = allocate({dynamic, 3}, result.bound);
    result.count = allocate({1}, {});
    result.taken = allocate({1}, {});
    result.cells = allocate({dynamic}, pairs, i16);
    if (block.keepsProducts())
      result.pairs = allocate({dynamic}, pairs);
    for (OpOperand *input : block.getPairInputs())
      result.operands.push_back(
          allocate({dynamic}, pairs, getElementTypeOrSelf(input->get())));
    result.blocks = allocate({dynamic, 2 * columnBlocks + 1}, result.bound);
    emitTiles();
    emitSlotCells(
        k, block, carried,
        {result, binSlots, binTiles, bins, allocate({dynamic}, pairs, i16)},
        k.min(result.bound, k.index(kBlocksPerUnit * target.getUnits())),
        (prefix + "_cells").str());
    return result;
  }

private:
  Value ceilDiv(Value a, Value b) {
    return arith::CeilDivUIOp::create(k, a, b);
  }

  /// The first slot of `group`, whose slots are from `from` to `to`, that
  /// belongs to `chunk` or a later one.
  Value getChunkStart(Value chunk, Value from, Value to) {
    Value token = k.toI32(k.mul(chunk, tokensOfChunk));
    // Nothing to search for at either end.
    Value isLast = k.compare(CmpIPredicate::uge, chunk, chunks);
    Value low = k.choose(isLast, to, from);
    Value isFirst = k.compare(CmpIPredicate::eq, chunk, k.index(0));
    Value high = k.choose(isFirst, from, to);
    return k
        .loopWhile(
            {low, high},
            [&](ValueRange range) {
              return k.compare(CmpIPredicate::ult, range[0], range[1]);
            },
            [&](ValueRange range) -> SmallVector<Value> {
              Value middle = arith::ShRUIOp::create(
                  k, k.add(range[0], range[1]), k.i32(1));
              Value found = k.load(block.getTokens(), k.toIndex(middle));
              Value before = k.compare(CmpIPredicate::slt, found, token);
              return {k.choose(before, k.add(middle, 1), range[0]),
                      k.choose(before, range[1], middle)};
            })
        .front();
  }

  void emitTiles() {
    emitBesideClearing(k, block, (prefix + "_tiles").str(), kThreads,
                       [&](BlockKernel &kernel) { emitTiles(kernel); });
  }

  void emitTiles(BlockKernel &kernel) {
    Value zero = k.i32(0), groups = k.index(block.getNumGroups());
    Value count =
        k.loop(k.index(0), bins, kThreads, {zero},
               [&](Value base, ValueRange carried) -> SmallVector<Value> {
                 Value bin = k.add(base, kernel.thread);
                 Value exists = k.compare(CmpIPredicate::ult, bin, bins);
                 Value own =
                     k.branch(
                          k.getI32Type(), exists,
                          [&]() -> SmallVector<Value> {
                            return {emitBin(bin, groups)};
                          },
                          [&]() -> SmallVector<Value> { return {zero}; })
                         .front();
                 BlockKernel::Scan scan = kernel.scan(own);
                 k.when(exists, [&] {
                   k.store(k.add(carried[0], scan.before), binTiles, bin);
                 });
                 return {k.add(carried[0], scan.total)};
               })
            .front();
    k.when(k.compare(CmpIPredicate::eq, kernel.thread, k.index(0)), [&] {
      k.store(count, binTiles, bins);
      k.store(count, result.count, k.index(0));
      k.store(zero, result.taken, k.index(0));
    });
  }

  /// Stores the slots of a bin and returns the number of its tiles.
  Value emitBin(Value bin, Value groups) {
    Value chunk = arith::DivUIOp::create(k, bin, groups);
    Value group = k.sub(bin, k.mul(chunk, groups));
    Value from = k.load(block.getOffsets(), group);
    Value to = k.load(block.getOffsets(), k.add(group, 1));
    Value first = getChunkStart(chunk, from, to);
    Value end = getChunkStart(k.add(chunk, 1), from, to);
    k.store(first, binSlots, {bin, k.index(0)});
    k.store(end, binSlots, {bin, k.index(1)});
    // The blocks of a cluster have a tile each, be it empty.
    int64_t together = block.getClusterBlocks();
    return k.mul(ceilDiv(k.sub(end, first), k.i32(together * kSlotTileRows)),
                 together);
  }

  KernelBuilder &k;
  FusedBlock block;
  CarriedPairs carried;
  StringRef prefix;
  int64_t columnBlocks;
  SlotTiles result;
  /// On the host: chunks, tokens of each, and bins, which are the groups of
  /// each chunk.
  Value chunks, tokensOfChunk, bins;
  Value binSlots; ///< i32 [bins, 2]: first slot, past the last slot
  Value binTiles; ///< i32 [bins + 1]: the tiles before
};
} // namespace

SlotTiles mlir::omnimoe::emitSlotTiles(KernelBuilder &k, FusedBlock block,
                                       const CarriedPairs &carried,
                                       TargetAttr target, StringRef prefix) {
  return SlotTileEmitter(k, block, carried, prefix).emit(target);
}
