//===- PairSort.cpp - Pairs in the order of their groups ------------------===//
//
// A radix sort of the pairs by group, least significant digit first, which
// keeps the order of pairs that a digit does not tell apart. One pass for each
// digit of at most kMaxDigitBits bits: up to 1,023 groups take one, a million
// two. A pass is three kernels:
//
//  count    Each block counts its pairs by digit.
//  scan     A block for each digit adds the counts of the blocks before.
//  scatter  Each block knows from that where its pairs of each digit start. It
//           sorts a tile of pairs at a time in shared memory: lanes of the same
//           digit find each other and their rank, then the counts of the warps
//           are added up. Pairs of a digit leave the block side by side.
//
// Counts are integers and every place follows from them, so nothing depends on
// which thread comes first. Between passes a pair travels with its key.
//
//===----------------------------------------------------------------------===//

#include "PairSort.h"
#include "BlockEmitter.h"
#include "LineDispatch.h"
#include "ThreadTeam.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Bits of a digit: a tile, and a counter for each digit and warp, must fit
/// into the 48 KB of shared memory that every kernel has.
static constexpr int64_t kMaxDigitBits = 10;
/// Blocks that share out the pairs at most, for each unit of the chip.
static constexpr int64_t kBlocksPerUnit = 4;

PairChunks mlir::omnimoe::getPairChunks(KernelBuilder &k, DispatchOp op,
                                        int64_t units) {
  Value tokens = k.createOrFold<memref::DimOp>(op.getExperts(), 0);
  Value pairs = k.mul(tokens, op.getTopK());
  int64_t maxBlocks = kBlocksPerUnit * units;
  Value tiles =
      arith::CeilDivUIOp::create(k, pairs, k.index(maxBlocks * kTilePairs));
  Value one = k.index(1);
  Value chunk = k.mul(arith::MaxUIOp::create(k, tiles, one), kTilePairs);
  Value blocks = arith::MaxUIOp::create(
      k, arith::CeilDivUIOp::create(k, pairs, chunk), one);
  return {pairs, chunk, blocks, maxBlocks, op.getTopK()};
}

SmallVector<Value> mlir::omnimoe::forEachTile(
    KernelBuilder &k, BlockKernel &kernel, const PairChunks &chunks,
    ValueRange inits,
    llvm::function_ref<SmallVector<Value>(const TilePositions &tile,
                                          ValueRange carried)>
        body) {
  Value from = k.mul(kernel.block, chunks.chunk);
  Value to = k.min(k.add(from, chunks.chunk), chunks.pairs);
  auto emitTile = [&](Value base, ValueRange carried) {
    TilePositions tile;
    tile.tile = k.toI32(base);
    tile.end = k.toI32(k.min(k.add(base, kTilePairs), to));
    Value inTile = k.add(k.mul(kernel.warp, kWarp * kTurns), kernel.lane);
    Value first = k.add(tile.tile, k.toI32(inTile));
    for (int64_t turn = 0; turn < kTurns; ++turn) {
      tile.positions.push_back(k.add(first, turn * kWarp));
      tile.exist.push_back(k.compare(arith::CmpIPredicate::ult,
                                     tile.positions.back(), tile.end));
    }
    return body(tile, carried);
  };
  if (inits.empty()) {
    k.loop(from, to, kTilePairs, [&](Value base) { emitTile(base, {}); });
    return {};
  }
  return llvm::to_vector_of<Value>(
      k.loop(from, to, kTilePairs, inits, emitTile));
}

namespace {
class PairSort {
public:
  PairSort(KernelBuilder &k, DispatchOp op, const PairChunks &chunks,
           Value keys, StringRef prefix)
      : k(k), op(op), chunks(chunks), keys(keys), prefix(prefix) {
    // Keys go up to the number of groups.
    int64_t keyBits = llvm::Log2_64(op.getNumGroups()) + 1;
    passes = llvm::divideCeil(keyBits, kMaxDigitBits);
    digitBits = llvm::divideCeil(keyBits, passes);
  }

  void emit() {
    Type i32 = k.getI32Type();
    constexpr int64_t dynamic = ShapedType::kDynamic;
    counts = memref::AllocOp::create(
        k, MemRefType::get({countDigits(0), chunks.maxBlocks}, i32));
    totals = memref::AllocOp::create(k, MemRefType::get({countDigits(0)}, i32));
    // What one pass writes the next one reads: two buffers take turns.
    Value between[2];
    for (int64_t i = 0; i < std::min<int64_t>(passes - 1, 2); ++i)
      between[i] = memref::AllocOp::create(
          k, MemRefType::get({dynamic, 2}, i32), chunks.pairs);
    ids = op.getExperts();
    if (op.getLayout().isByLines()) {
      groups = memref::AllocOp::create(k, MemRefType::get({dynamic}, i32),
                                       chunks.pairs);
      emitLineGroups(k, op, groups, /*counts=*/Value(),
                     (prefix + "_lines").str());
    } else if (cast<MemRefType>(ids.getType()).getLayout().isIdentity()) {
      flatIds = memref::CollapseShapeOp::create(
          k, ids, ArrayRef<ReassociationIndices>{{0, 1}});
    }
    for (pass = 0; pass < passes; ++pass) {
      digits = countDigits(pass);
      source = pass ? between[(pass - 1) % 2] : Value();
      target = pass + 1 < passes ? between[pass % 2] : Value();
      emitCount();
      emitScan();
      emitScatter();
    }
  }

private:
  /// How many digits a pass tells apart; the last one has what is left.
  int64_t countDigits(int64_t pass) {
    return pass + 1 < passes ? int64_t(1) << digitBits
                             : (op.getNumGroups() >> (pass * digitBits)) + 1;
  }

  std::string getName(StringRef kernel) {
    return (prefix + "_" + kernel + Twine(pass)).str();
  }

  /// The key and the number of the pair at `position` of this pass's input.
  SmallVector<Value> loadPair(Value position) {
    if (source)
      return loadBoth(source, position);
    // 32-bit arithmetic: there are less than 2^31 pairs.
    Value number = k.toI32(position), topK = k.i32(chunks.topK);
    if (groups)
      return {k.load(groups, position), number};
    Value id;
    if (flatIds) {
      id = k.load(flatIds, position);
    } else {
      Value token = arith::DivUIOp::create(k, number, topK);
      Value choice = k.sub(number, k.mul(token, topK));
      id = k.load(ids, {k.toIndex(token), k.toIndex(choice)});
    }
    // Unsigned, so that negative ids are none too; an i32 names no more than
    // 2^31 experts.
    int64_t known = std::min<int64_t>(op.getNumExperts(), int64_t(1) << 31);
    Value valid = k.compare(arith::CmpIPredicate::ult, id,
                            k.i32(static_cast<int32_t>(known)));
    int64_t size = std::min<int64_t>(op.getGroupSize(), INT32_MAX);
    Value group = arith::DivUIOp::create(k, id, k.i32(size));
    return {
        k.choose(valid, group, k.i32(static_cast<int32_t>(op.getNumGroups()))),
        number};
  }

  Value getDigit(Value key) {
    Value digit = arith::ShRUIOp::create(k, key, k.i32(pass * digitBits));
    return pass + 1 < passes ? k.both(digit, k.i32(digits - 1)) : digit;
  }

  /// Calls `body` with each digit that is this thread's.
  void forEachDigit(BlockKernel &kernel,
                    llvm::function_ref<void(Value digit)> body) {
    k.loop(kernel.thread, k.index(digits), kernel.numThreads, body);
  }

  void emitCount() {
    BlockKernel kernel(k, getName("count"), chunks.blocks, kDispatchThreads);
    Value counters = kernel.shared(k.getI32Type(), {digits});
    forEachDigit(kernel,
                 [&](Value digit) { k.store(k.i32(0), counters, digit); });
    kernel.barrier();
    forEachTile(
        k, kernel, chunks, {},
        [&](const TilePositions &tile, ValueRange) -> SmallVector<Value> {
          SmallVector<Value> keys;
          for (int64_t turn = 0; turn < kTurns; ++turn)
            keys.push_back(loadPair(tile.readable(k, turn))[0]);
          for (int64_t turn = 0; turn < kTurns; ++turn)
            k.when(tile.exist[turn], [&] {
              memref::AtomicRMWOp::create(
                  k, arith::AtomicRMWKind::addi, k.i32(1), counters,
                  ValueRange{k.toIndex(getDigit(keys[turn]))});
            });
          return {};
        });
    kernel.barrier();
    forEachDigit(kernel, [&](Value digit) {
      k.store(k.load(counters, digit), counts, {digit, kernel.block});
    });
  }

  void emitScan() {
    BlockKernel kernel(k, getName("scan"), k.index(digits), kDispatchThreads);
    Value digit = kernel.block;
    Value total = kernel.scanAll(
        chunks.blocks,
        [&](Value other) { return k.load(counts, {digit, other}); },
        [&](Value other, Value, Value before) {
          k.store(before, counts, {digit, other});
        });
    k.when(k.compare(arith::CmpIPredicate::eq, kernel.thread, k.index(0)),
           [&] { k.store(total, totals, digit); });
  }

  void emitScatter() {
    BlockKernel kernel(k, getName("scatter"), chunks.blocks, kDispatchThreads);
    Type i32 = k.getI32Type();
    ScatterBuffers shared = {
        kernel.shared(i32, {kTilePairs, 2}),
        kernel.shared(k.getI16Type(), {kernel.numWarps, digits}),
        kernel.shared(i32, {digits}), kernel.shared(i32, {digits}),
        kernel.shared(i32, {digits})};
    kernel.scanAll(
        k.index(digits), [&](Value digit) { return k.load(totals, digit); },
        [&](Value digit, Value, Value before) {
          k.store(k.add(before, k.load(counts, {digit, kernel.block})),
                  shared.next, digit);
        });
    forEachTile(
        k, kernel, chunks, {},
        [&](const TilePositions &tile, ValueRange) -> SmallVector<Value> {
          emitTile(kernel, shared, tile);
          return {};
        });
  }

  struct ScatterBuffers {
    Value pairs; ///< the tile's pairs, sorted
    Value
        counters; ///< pairs of each warp and digit, then those of warps before
    Value starts; ///< first of `pairs` with each digit
    Value shift;  ///< from a place in `pairs` to one in the result
    Value next;   ///< next place in the result for each digit
  };

  void emitTile(BlockKernel &kernel, const ScatterBuffers &shared,
                const TilePositions &tile) {
    auto loadCounter = [&](Value warp, Value digit) -> Value {
      return arith::ExtUIOp::create(k, k.getI32Type(),
                                    k.load(shared.counters, {warp, digit}));
    };
    auto storeCounter = [&](Value value, Value warp, Value digit) {
      k.store(arith::TruncIOp::create(k, k.getI16Type(), value),
              shared.counters, {warp, digit});
    };
    forEachDigit(kernel, [&](Value digit) {
      for (int64_t warp = 0; warp < kernel.numWarps; ++warp)
        storeCounter(k.i32(0), k.index(warp), digit);
    });
    SmallVector<SmallVector<Value>> pairs;
    for (int64_t turn = 0; turn < kTurns; ++turn)
      pairs.push_back(loadPair(tile.readable(k, turn)));
    kernel.barrier();

    // The rank of each pair among those of its warp and digit.
    SmallVector<Value> ranks, digitOf;
    for (int64_t turn = 0; turn < kTurns; ++turn) {
      Value digit = getDigit(pairs[turn][0]);
      Value lanes = kernel.match(digit, llvm::Log2_64_Ceil(digits),
                                 ballot(k, tile.exist[turn]));
      Value rank = kernel.countBefore(lanes);
      digitOf.push_back(k.toIndex(digit));
      Value before = loadCounter(kernel.warp, digitOf[turn]);
      ranks.push_back(k.add(before, rank));
      kernel.syncWarp();
      Value isFirst = k.compare(arith::CmpIPredicate::eq, rank, k.i32(0));
      k.when(k.both(tile.exist[turn], isFirst), [&] {
        storeCounter(k.add(before, countBits(k, lanes)), kernel.warp,
                     digitOf[turn]);
      });
      kernel.syncWarp();
    }
    kernel.barrier();

    // Where the pairs of each warp and digit start.
    kernel.scanAll(
        k.index(digits),
        [&](Value digit) {
          Value sum = k.i32(0);
          for (int64_t warp = 0; warp < kernel.numWarps; ++warp)
            sum = k.add(sum, loadCounter(k.index(warp), digit));
          return sum;
        },
        [&](Value digit, Value own, Value before) {
          Value sum = k.i32(0);
          for (int64_t warp = 0; warp < kernel.numWarps; ++warp) {
            Value count = loadCounter(k.index(warp), digit);
            storeCounter(sum, k.index(warp), digit);
            sum = k.add(sum, count);
          }
          Value next = k.load(shared.next, digit);
          k.store(before, shared.starts, digit);
          k.store(k.sub(next, before), shared.shift, digit);
          k.store(k.add(next, own), shared.next, digit);
        });
    kernel.barrier();
    for (int64_t turn = 0; turn < kTurns; ++turn)
      k.when(tile.exist[turn], [&] {
        Value start = k.add(k.load(shared.starts, digitOf[turn]),
                            loadCounter(kernel.warp, digitOf[turn]));
        storeBoth(shared.pairs, k.toIndex(k.add(start, ranks[turn])),
                  pairs[turn][0], pairs[turn][1]);
      });
    kernel.barrier();

    Value count = k.sub(tile.end, tile.tile);
    for (int64_t turn = 0; turn < kTurns; ++turn) {
      Value place = k.add(kernel.thread, turn * kernel.numThreads);
      Value number = k.toI32(place);
      k.when(k.compare(arith::CmpIPredicate::ult, number, count), [&] {
        SmallVector<Value> pair = loadBoth(shared.pairs, place);
        Value shift = k.load(shared.shift, k.toIndex(getDigit(pair[0])));
        storePair(pair[0], pair[1], k.toIndex(k.add(number, shift)));
      });
    }
    // The next tile writes the buffers from its start on.
    kernel.barrier();
  }

  /// A pair beside its key, in 8 bytes.
  SmallVector<Value> loadBoth(Value buffer, Value at) {
    auto type = VectorType::get({2}, k.getI32Type());
    Value both =
        vector::LoadOp::create(k, type, buffer, ValueRange{at, k.index(0)},
                               /*nontemporal=*/false, llvm::MaybeAlign(8));
    return {vector::ExtractOp::create(k, both, 0),
            vector::ExtractOp::create(k, both, 1)};
  }

  void storeBoth(Value buffer, Value at, Value key, Value number) {
    auto type = VectorType::get({2}, k.getI32Type());
    Value both =
        vector::FromElementsOp::create(k, type, ValueRange{key, number});
    vector::StoreOp::create(k, both, buffer, ValueRange{at, k.index(0)},
                            /*nontemporal=*/false, llvm::MaybeAlign(8));
  }

  void storePair(Value key, Value number, Value at) {
    if (target)
      return storeBoth(target, at, key, number);
    k.store(key, keys, at);
    k.store(number, op.getPairs(), at);
  }

  KernelBuilder &k;
  DispatchOp op;
  PairChunks chunks;
  Value keys;
  StringRef prefix;
  int64_t passes, digitBits, digits, pass = 0;
  Value ids, flatIds; // the latter if rows follow each other in memory
  Value groups;       // of pairs, where they do not follow from ids
  Value counts, totals, source, target;
};
} // namespace

void mlir::omnimoe::emitPairSort(KernelBuilder &k, DispatchOp op,
                                 const PairChunks &chunks, Value keys,
                                 StringRef prefix) {
  PairSort(k, op, chunks, keys, prefix).emit();
}

void mlir::omnimoe::emitCarried(KernelBuilder &k, DispatchOp op,
                                const PairChunks &chunks, Value keys,
                                StringRef prefix) {
  if (op.getCarried().empty())
    return;
  BlockKernel kernel(k, (prefix + "_carried").str(), chunks.blocks,
                     kDispatchThreads);
  forEachTile(
      k, kernel, chunks, {},
      [&](const TilePositions &tile, ValueRange) -> SmallVector<Value> {
        for (int64_t turn = 0; turn < kTurns; ++turn) {
          Value at = tile.readable(k, turn);
          // Pairs without a group come last, and are those of nobody.
          Value exists =
              k.both(tile.exist[turn],
                     k.compare(arith::CmpIPredicate::ult, k.load(keys, at),
                               k.i32(static_cast<int32_t>(op.getNumGroups()))));
          Value number = k.load(op.getPairs(), at), topK = k.i32(chunks.topK);
          Value token = arith::DivUIOp::create(k, number, topK);
          Value choice = k.sub(number, k.mul(token, topK));
          k.when(exists, [&] {
            for (auto [carried, sorted] :
                 llvm::zip_equal(op.getCarried(), op.getSorted()))
              k.store(k.load(carried, {k.toIndex(token), k.toIndex(choice)}),
                      sorted, at);
          });
        }
        return {};
      });
}
