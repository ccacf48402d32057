//===- SlotTiles.cpp - Tiles of slots of a group --------------------------===//
//
// A chunk is a range of tokens whose sums the second-level cache holds; a tile
// has slots of one group and of tokens of one chunk, and all tiles of a chunk
// come before those of the next. Two kernels:
//
//  tiles  One block counts the tiles of each chunk's groups, and adds up.
//  cells  A block takes a tile, finds for each of its pairs the row, by binary
//         search in the starts of the tile's slots, and the column, and sorts
//         the pairs by blocks of columns: counts, their sums, places.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "BlockKernel.h"
#include "ExpertBlock.h"
#include "SampledRows.h"
#include "Utils/GroupLines.h"
#include "WarpgroupMatrix.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kTilesThreads = 1024, kCellsThreads = 256;
/// Blocks that find cells, for each unit of the chip.
static constexpr int64_t kBlocksPerUnit = 8;
/// A tile of so many pairs is sorted in shared memory.
static constexpr int64_t kNearPairs = 7168;
/// Slots with so many pairs each, on average, are shared out evenly: tiles that
/// are full have more pairs than they ask for ahead. With fewer, tiles of
/// different sizes are better, as blocks then add to tokens at different times.
static constexpr int64_t kCrowdedPairs = 16;
/// Pairs that a thread looks at together: each is a chain of accesses to
/// memory.
static constexpr int64_t kPairsTogether = 4;
/// Counters of a block of columns: lanes take turns, so that fewer of them meet
/// at one.
static constexpr int64_t kCounters = 4;

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
      unsigned bits = getElementTypeOrSelf(block.products.getX().getType())
                          .getIntOrFloatBitWidth();
      share =
          getLinesChunkShare(block.getLayout(), block.products.getTopK(),
                             double(block.products.getHiddenSize()) * bits / 8,
                             sumBytes, block.matmuls.size() + 1, target);
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
    inputs = block.getPairInputs();
    if (block.keepsProducts())
      result.pairs = allocate({dynamic}, pairs);
    for (OpOperand *input : inputs)
      result.operands.push_back(
          allocate({dynamic}, pairs, getElementTypeOrSelf(input->get())));
    result.blocks = allocate({dynamic, 2 * columnBlocks + 1}, result.bound);
    unsorted = allocate({dynamic}, pairs, i16);
    emitTiles();
    emitCells(k.min(result.bound, k.index(kBlocksPerUnit * target.getUnits())));
    return result;
  }

private:
  /// A tile that a block looks at: its slots, and their pairs.
  struct Tile {
    Value number;                 ///< index
    Value group, firstSlot, rows; ///< i32
    Value firstPair, end;         ///< i32
  };

  /// Where a tile's pairs are sorted, the first pair of lists is number `base`:
  /// cells in the order that they come in, then cells, and where their pairs
  /// came in, or null if these go to the result.
  struct Lists {
    Value unsorted, cells, sources;
    Value base; ///< i32
  };

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
    BlockKernel kernel(k, (prefix + "_tiles").str(), k.index(1), kTilesThreads);
    Value zero = k.i32(0), groups = k.index(block.getNumGroups());
    Value count =
        k.loop(k.index(0), bins, kTilesThreads, {zero},
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

  void emitCells(Value blocks) {
    // No pairs, no blocks: then there is nothing to find.
    Value any = k.compare(CmpIPredicate::ugt, blocks, k.index(0));
    k.when(any, [&] {
      BlockKernel kernel(k, (prefix + "_cells").str(), blocks, kCellsThreads);
      Type i32 = k.getI32Type();
      Value starts = kernel.shared(i32, {kSlotTileRows + 1});
      Value places = kernel.shared(i32, {2 * columnBlocks * kCounters});
      Value found = kernel.shared(i32, {3});
      Type i16 = k.getIntegerType(16);
      Lists near{kernel.shared(i16, {kNearPairs}),
                 kernel.shared(i16, {kNearPairs}),
                 kernel.shared(i16, {kNearPairs})};
      Value count = k.toIndex(k.load(result.count, k.index(0)));
      k.loop(kernel.block, count, blocks, [&](Value number) {
        Tile tile = findTile(kernel, number, found);
        loadStarts(kernel, tile, starts);
        forEachPlace(kernel,
                     [&](Value place) { k.store(k.i32(0), places, place); });
        kernel.barrier();
        tile.firstPair = k.load(starts, k.index(0));
        tile.end = k.load(starts, k.toIndex(tile.rows));
        Value isNear =
            k.compare(CmpIPredicate::ule, k.sub(tile.end, tile.firstPair),
                      k.i32(kNearPairs));
        k.when(
            isNear,
            [&] {
              near.base = tile.firstPair;
              sortPairs(kernel, tile, starts, places, near);
              kernel.barrier();
              forPairs(kernel, tile, [&](ArrayRef<Position> positions) {
                SmallVector<Value> cells, sources, places;
                for (const Position &position : positions) {
                  Value place = k.toIndex(k.sub(position.readable, near.base));
                  cells.push_back(k.load(near.cells, place));
                  Value source = arith::ExtUIOp::create(
                      k, i32, k.load(near.sources, place));
                  sources.push_back(k.add(source, near.base));
                  places.push_back(position.readable);
                }
                storePairs(positions, cells, sources, places);
              });
            },
            [&] {
              Lists far{unsorted, Value(), Value(), k.i32(0)};
              sortPairs(kernel, tile, starts, places, far);
            });
        kernel.barrier();
      });
    });
  }

  /// All threads look for the bin of a tile, and the one that finds it writes
  /// the tile.
  Tile findTile(BlockKernel &kernel, Value number, Value found) {
    Value wanted = k.toI32(number);
    k.loop(kernel.thread, bins, kCellsThreads, [&](Value bin) {
      Value first = k.load(binTiles, bin);
      Value end = k.load(binTiles, k.add(bin, 1));
      Value isHere = k.both(k.compare(CmpIPredicate::ule, first, wanted),
                            k.compare(CmpIPredicate::ult, wanted, end));
      k.when(isHere, [&] {
        Value binStart = k.load(binSlots, {bin, k.index(0)});
        Value binEnd = k.load(binSlots, {bin, k.index(1)});
        Value slots = k.sub(binEnd, binStart);
        Value pairs = k.sub(k.load(block.getStarts(), k.toIndex(binEnd)),
                            k.load(block.getStarts(), k.toIndex(binStart)));
        Value isCrowded =
            k.compare(CmpIPredicate::ugt, pairs, k.mul(slots, kCrowdedPairs));
        if (block.getClusterBlocks() > 1)
          isCrowded = k.integer(k.getI1Type(), 1);
        Value rows = k.choose(isCrowded, ceilDiv(slots, k.sub(end, first)),
                              k.i32(kSlotTileRows));
        Value slot =
            k.min(k.add(binStart, k.mul(k.sub(wanted, first), rows)), binEnd);
        Value last = k.min(k.add(slot, rows), binEnd);
        Value group = k.toI32(
            arith::RemUIOp::create(k, bin, k.index(block.getNumGroups())));
        for (auto [i, value] : llvm::enumerate(std::array{group, slot, last})) {
          k.store(value, found, k.index(i));
          k.store(value, result.tiles, {number, k.index(i)});
        }
      });
    });
    kernel.barrier();
    auto field = [&](int64_t i) { return k.load(found, k.index(i)); };
    return {number, field(0), field(1), k.sub(field(2), field(1))};
  }

  void loadStarts(BlockKernel &kernel, const Tile &tile, Value starts) {
    Value row = k.toI32(kernel.thread);
    k.when(k.compare(CmpIPredicate::ule, row, tile.rows), [&] {
      Value slot = k.toIndex(k.add(tile.firstSlot, row));
      k.store(k.load(block.getStarts(), slot), starts, kernel.thread);
    });
  }

  void forEachPlace(BlockKernel &kernel, llvm::function_ref<void(Value)> body) {
    static_assert(2 * 320 / kSampledColumns * kCounters <= kCellsThreads);
    Value exists = k.compare(CmpIPredicate::ult, kernel.thread,
                             k.index(2 * columnBlocks * kCounters));
    k.when(exists, [&] { body(kernel.thread); });
  }

  /// Where a pair of a tile is, if it exists, and a place that can be read.
  struct Position {
    Value exists, readable;
  };

  /// Calls `body` with the positions that a thread looks at together.
  void forPairs(BlockKernel &kernel, const Tile &tile,
                llvm::function_ref<void(ArrayRef<Position>)> body) {
    Value last = k.sub(tile.end, 1);
    k.loop(k.add(tile.firstPair, k.toI32(kernel.thread)), tile.end,
           k.i32(kPairsTogether * kCellsThreads), [&](Value first) {
             SmallVector<Position> positions;
             for (int64_t i = 0; i < kPairsTogether; ++i) {
               Value at = k.add(first, i * kCellsThreads);
               positions.push_back({k.compare(CmpIPredicate::slt, at, tile.end),
                                    k.min(at, last)});
             }
             body(positions);
           });
  }

  /// The counter of a cell: by warpgroup, block of columns, and lane.
  Value getPlace(BlockKernel &kernel, Value cell) {
    auto shift = [&](Value value, int64_t bits) -> Value {
      return arith::ShRUIOp::create(k, value, k.i32(bits));
    };
    static_assert(kWarpgroupRows == 64 && kSampledColumns == 16);
    Value column = shift(k.both(cell, k.i32((1 << kColumnBits) - 1)), 4);
    Value block =
        k.add(k.mul(shift(cell, kColumnBits + 6), columnBlocks), column);
    Value lane = k.both(k.toI32(kernel.thread), k.i32(kCounters - 1));
    return k.toIndex(k.add(k.mul(block, kCounters), lane));
  }

  /// What the counter of a cell has counted before.
  Value countOne(BlockKernel &kernel, Value places, Value cell) {
    return memref::AtomicRMWOp::create(k, arith::AtomicRMWKind::addi, k.i32(1),
                                       places, getPlace(kernel, cell));
  }

  void countCells(BlockKernel &kernel, const Tile &tile, Value starts,
                  Value places, const Lists &lists) {
    GroupLine line(k, block.getLayout(), tile.group);
    forPairs(kernel, tile, [&](ArrayRef<Position> positions) {
      SmallVector<Value> sources;
      for (const Position &position : positions)
        sources.push_back(position.readable);
      SmallVector<Value> experts = loadExperts(sources);
      for (auto [position, expert] : llvm::zip_equal(positions, experts)) {
        Value at = position.readable;
        Value cell =
            k.either(arith::ShLIOp::create(k, getRow(at, starts, tile.rows),
                                           k.i32(kColumnBits))
                         .getResult(),
                     line.getColumn(k, expert));
        k.when(position.exists, [&] {
          k.store(arith::TruncIOp::create(k, k.getIntegerType(16), cell),
                  lists.unsorted, k.toIndex(k.sub(at, lists.base)));
          countOne(kernel, places, cell);
        });
      }
    });
  }

  /// Counts become the places where the pairs of a counter begin.
  void placeBlocks(BlockKernel &kernel, const Tile &tile, Value places) {
    Value exists = k.compare(CmpIPredicate::ult, kernel.thread,
                             k.index(2 * columnBlocks * kCounters));
    Value known = k.choose(exists, kernel.thread, k.index(0));
    Value own = k.choose(exists, k.load(places, known), k.i32(0));
    Value begin = k.add(tile.firstPair, kernel.scan(own).before);
    forEachPlace(kernel, [&](Value place) {
      k.store(begin, places, place);
      Value block = arith::DivUIOp::create(k, place, k.index(kCounters));
      Value isFirst =
          k.compare(CmpIPredicate::eq, k.mul(block, kCounters), place);
      k.when(isFirst,
             [&] { k.store(begin, result.blocks, {tile.number, block}); });
    });
    k.when(k.compare(CmpIPredicate::eq, kernel.thread, k.index(0)), [&] {
      k.store(tile.end, result.blocks,
              {tile.number, k.index(2 * columnBlocks)});
    });
  }

  /// A thread takes the pairs that it has counted.
  void placePairs(BlockKernel &kernel, const Tile &tile, Value places,
                  const Lists &lists) {
    forPairs(kernel, tile, [&](ArrayRef<Position> positions) {
      SmallVector<Value> cells, found, sources;
      for (const Position &position : positions) {
        Value source = k.sub(position.readable, lists.base);
        Value stored = k.load(lists.unsorted, k.toIndex(source));
        Value cell = arith::ExtUIOp::create(k, k.getI32Type(), stored);
        cells.push_back(stored);
        sources.push_back(position.readable);
        found.push_back(k.branch(
                             k.getI32Type(), position.exists,
                             [&]() -> SmallVector<Value> {
                               Value place = countOne(kernel, places, cell);
                               if (lists.cells) {
                                 Value at = k.toIndex(k.sub(place, lists.base));
                                 k.store(stored, lists.cells, at);
                                 k.store(arith::TruncIOp::create(
                                             k, k.getIntegerType(16), source),
                                         lists.sources, at);
                               }
                               return {place};
                             },
                             [&]() -> SmallVector<Value> { return {k.i32(0)}; })
                            .front());
      }
      if (!lists.cells)
        storePairs(positions, cells, sources, found);
    });
  }

  /// Stores pairs that exist, from where they stand among sorted pairs to
  /// `places`, and what their coefficients take: the kernel that computes these
  /// would wait for memory twice, once for the number and once by the number.
  void storePairs(ArrayRef<Position> positions, ArrayRef<Value> cells,
                  ArrayRef<Value> sources, ArrayRef<Value> places) {
    SmallVector<SmallVector<Value>> operands(sources.size());
    SmallVector<Value> numbers;
    if (result.pairs || (!carried.experts && !inputs.empty()))
      numbers = loadNumbers(sources);
    for (auto [i, source] : llvm::enumerate(sources)) {
      if (carried.experts) {
        for (Value values : carried.operands)
          operands[i].push_back(k.load(values, k.toIndex(source)));
        continue;
      }
      for (OpOperand *input : inputs)
        operands[i].push_back(loadPairInput(
            k, block, *input, getTokenAndChoice(k, block, numbers[i])));
    }
    for (auto [i, place] : llvm::enumerate(places))
      k.when(positions[i].exists, [&] {
        Value at = k.toIndex(place);
        k.store(cells[i], result.cells, at);
        if (result.pairs)
          k.store(numbers[i], result.pairs, at);
        for (auto [value, values] :
             llvm::zip_equal(operands[i], result.operands))
          k.store(value, values, at);
      });
  }

  void sortPairs(BlockKernel &kernel, const Tile &tile, Value starts,
                 Value places, const Lists &lists) {
    countCells(kernel, tile, starts, places, lists);
    kernel.barrier();
    placeBlocks(kernel, tile, places);
    kernel.barrier();
    placePairs(kernel, tile, places, lists);
  }

  /// The row of the sorted pair `at`: the last that starts before.
  Value getRow(Value at, Value starts, Value rows) {
    Value row = k.i32(0);
    for (int64_t step = kSlotTileRows / 2; step > 0; step /= 2) {
      Value later = k.add(row, step);
      Value inside = k.compare(CmpIPredicate::ult, later, rows);
      Value start =
          k.load(starts, k.toIndex(k.choose(inside, later, k.i32(0))));
      row = k.choose(k.both(inside, k.compare(CmpIPredicate::ule, start, at)),
                     later, row);
    }
    if (block.getClusterBlocks() > 1) {
      Value split = getEvenSplit(k, rows);
      row = k.choose(k.compare(CmpIPredicate::ult, row, split), row,
                     k.add(k.sub(row, split), kWarpgroupRows));
    }
    return row;
  }

  /// What `values` has of sorted pairs, all asked for before one is used.
  SmallVector<Value> loadAll(Value values, ArrayRef<Value> sources) {
    SmallVector<Value> loaded;
    for (Value source : sources)
      loaded.push_back(k.load(values, k.toIndex(source)));
    return holdInPlace(k, loaded);
  }

  SmallVector<Value> loadNumbers(ArrayRef<Value> sources) {
    return loadAll(block.getPairs(), sources);
  }

  SmallVector<Value> loadExperts(ArrayRef<Value> sources) {
    if (carried.experts)
      return loadAll(carried.experts, sources);
    SmallVector<Value> experts;
    for (Value number : loadNumbers(sources))
      experts.push_back(k.load(block.products.getExperts(),
                               getTokenAndChoice(k, block, number)));
    return holdInPlace(k, experts);
  }

  KernelBuilder &k;
  FusedBlock block;
  CarriedPairs carried;
  StringRef prefix;
  int64_t columnBlocks;
  SmallVector<OpOperand *> inputs;
  SlotTiles result;
  /// On the host: chunks, tokens of each, and bins, which are the groups of
  /// each chunk.
  Value chunks, tokensOfChunk, bins;
  Value binSlots; ///< i32 [bins, 2]: first slot, past the last slot
  Value binTiles; ///< i32 [bins + 1]: the tiles before
  Value unsorted; ///< i16 [P]: cells in the order of sorted pairs
};
} // namespace

SlotTiles mlir::omnimoe::emitSlotTiles(KernelBuilder &k, FusedBlock block,
                                       const CarriedPairs &carried,
                                       TargetAttr target, StringRef prefix) {
  return SlotTileEmitter(k, block, carried, prefix).emit(target);
}
