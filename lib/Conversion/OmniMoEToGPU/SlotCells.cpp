//===- SlotCells.cpp - The pairs of a tile by rows and columns ------------===//
//
// A block takes a tile, finds for each of its pairs the row, by binary search
// in the starts of the tile's slots, and the column, and sorts the pairs by
// blocks of columns: counts, their sums, places.
//
//===----------------------------------------------------------------------===//

#include "SlotCells.h"

#include "BlockKernel.h"
#include "LoadTogether.h"
#include "SampledRows.h"
#include "Utils/GroupLines.h"
#include "WarpgroupMatrix.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

static constexpr int64_t kThreads = 256;
/// A tile of so many pairs is sorted in shared memory.
static constexpr int64_t kNearPairs = 7168;
/// Slots with so many pairs each, on average, are shared out evenly: tiles that
/// are full have more pairs than they ask for ahead. With fewer, tiles of
/// different sizes are better, as blocks then add to tokens at different times.
/// The blocks of a cluster always share evenly.
static constexpr int64_t kCrowdedPairs = 16;
/// Pairs that a thread looks at together.
static constexpr int64_t kPairsTogether = 4;
/// Counters of a block of columns: lanes take turns, so that fewer of them meet
/// at one.
static constexpr int64_t kCounters = 4;

static Value ceilDiv(KernelBuilder &k, Value a, Value b) {
  return arith::CeilDivUIOp::create(k, a, b);
}

namespace {
class SlotCells {
public:
  SlotCells(KernelBuilder &k, FusedBlock block, const CarriedPairs &carried,
            const SlotBins &bins)
      : k(k), block(block), carried(carried), bins(bins), result(bins.tiles),
        columnBlocks(block.getColumnBlocks()), inputs(block.getPairInputs()) {}

  void emit(Value blocks, StringRef name) {
    // No pairs, no blocks: then there is nothing to find.
    Value any = k.compare(CmpIPredicate::ugt, blocks, k.index(0));
    k.when(any, [&] {
      BlockKernel kernel(k, name, blocks, kThreads);
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
              Lists far{bins.unsorted, Value(), Value(), k.i32(0)};
              sortPairs(kernel, tile, starts, places, far);
            });
        kernel.barrier();
      });
    });
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

  /// All threads look for the bin of a tile, and the one that finds it writes
  /// the tile.
  Tile findTile(BlockKernel &kernel, Value number, Value found) {
    Value wanted = k.toI32(number);
    k.loop(kernel.thread, bins.count, kThreads, [&](Value bin) {
      Value first = k.load(bins.before, bin);
      Value end = k.load(bins.before, k.add(bin, 1));
      Value isHere = k.both(k.compare(CmpIPredicate::ule, first, wanted),
                            k.compare(CmpIPredicate::ult, wanted, end));
      k.when(isHere, [&] {
        Value binStart = k.load(bins.slots, {bin, k.index(0)});
        Value binEnd = k.load(bins.slots, {bin, k.index(1)});
        Value slots = k.sub(binEnd, binStart);
        Value rows = ceilDiv(k, slots, k.sub(end, first));
        if (block.getClusterBlocks() == 1)
          rows = k.choose(isCrowded(slots, binStart, binEnd), rows,
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

  Value isCrowded(Value slots, Value begin, Value end) {
    Value pairs = k.sub(k.load(block.getStarts(), k.toIndex(end)),
                        k.load(block.getStarts(), k.toIndex(begin)));
    return k.compare(CmpIPredicate::ugt, pairs, k.mul(slots, kCrowdedPairs));
  }

  void loadStarts(BlockKernel &kernel, const Tile &tile, Value starts) {
    Value row = k.toI32(kernel.thread);
    k.when(k.compare(CmpIPredicate::ule, row, tile.rows), [&] {
      Value slot = k.toIndex(k.add(tile.firstSlot, row));
      k.store(k.load(block.getStarts(), slot), starts, kernel.thread);
    });
  }

  void forEachPlace(BlockKernel &kernel, llvm::function_ref<void(Value)> body) {
    static_assert(2 * 320 / kSampledColumns * kCounters <= kThreads);
    Value exists = k.compare(CmpIPredicate::ult, kernel.thread,
                             k.index(2 * columnBlocks * kCounters));
    k.when(exists, [&] { body(kernel.thread); });
  }

  /// Calls `body` with the positions that a thread looks at together.
  void forPairs(BlockKernel &kernel, const Tile &tile,
                llvm::function_ref<void(ArrayRef<Position>)> body) {
    k.loop(k.add(tile.firstPair, k.toI32(kernel.thread)), tile.end,
           k.i32(kPairsTogether * kThreads), [&](Value first) {
             body(getPositions(k, first, tile.end, kThreads, kPairsTogether));
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

  /// What `values` has of sorted pairs.
  SmallVector<Value> loadAll(Value values, ArrayRef<Value> sources) {
    return loadTogether(k, sources, [&](Value source) {
      return k.load(values, k.toIndex(source));
    });
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
  SlotBins bins;
  SlotTiles result;
  int64_t columnBlocks;
  SmallVector<OpOperand *> inputs;
};
} // namespace

void mlir::omnimoe::emitSlotCells(KernelBuilder &k, FusedBlock block,
                                  const CarriedPairs &carried,
                                  const SlotBins &bins, Value blocks,
                                  StringRef name) {
  SlotCells(k, block, carried, bins).emit(blocks, name);
}
