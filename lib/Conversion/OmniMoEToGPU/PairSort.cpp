//===- PairSort.cpp - Pairs in the order of their groups ------------------===//
//
// A radix sort of the pairs by group, least significant digit first, which
// keeps the order of pairs that a digit does not tell apart. One pass for each
// digit of at most kMaxDigitBits bits: up to 1,023 groups take one, a million
// three. A pass is three kernels:
//
//  count    Each block counts its pairs by digit.
//  scan     A block for each digit adds the counts of the blocks before.
//  scatter  Each block knows from that where its pairs of each digit start. Its
//           warps count again, each for itself, then write their pairs, 32 at a
//           time: lanes of the same digit find each other and their rank.
//
// Nothing depends on which thread comes first. Between passes a pair travels
// with its key.
//
//===----------------------------------------------------------------------===//

#include "PairSort.h"
#include "BlockEmitter.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Bits of a digit: a counter for each digit and warp must fit into shared
/// memory.
static constexpr int64_t kMaxDigitBits = 10;
/// Blocks that share out the pairs, for each unit of the chip, and the fewest
/// pairs worth a block.
static constexpr int64_t kBlocksPerUnit = 4;
static constexpr int64_t kMinChunk = 2048;
/// Positions of a lane that are loaded together.
static constexpr int64_t kPositionsAhead = 4;

PairChunks mlir::omnimoe::getPairChunks(KernelBuilder &k, DispatchOp op,
                                        int64_t units) {
  Value tokens = k.createOrFold<memref::DimOp>(op.getExperts(), 0);
  Value pairs = k.mul(tokens, op.getTopK());
  int64_t maxBlocks = kBlocksPerUnit * units;
  Value share = arith::CeilDivUIOp::create(
      k, pairs, k.index(maxBlocks * kDispatchThreads));
  Value chunk = arith::MaxUIOp::create(k, k.mul(share, kDispatchThreads),
                                       k.index(kMinChunk));
  Value blocks = arith::MaxUIOp::create(
      k, arith::CeilDivUIOp::create(k, pairs, chunk), k.index(1));
  return {pairs, chunk, blocks, maxBlocks, op.getTopK()};
}

SmallVector<Value> mlir::omnimoe::forEachPosition(
    KernelBuilder &k, BlockKernel &kernel, const PairChunks &chunks,
    ValueRange inits,
    llvm::function_ref<SmallVector<Value>(Value position)> load,
    llvm::function_ref<SmallVector<Value>(
        Value position, Value exists, ValueRange loaded, ValueRange carried)>
        body) {
  Value part =
      arith::DivUIOp::create(k, chunks.chunk, k.index(kernel.numWarps));
  Value from =
      k.add(k.mul(kernel.block, chunks.chunk), k.mul(kernel.warp, part));
  Value to = k.min(k.add(from, part), chunks.pairs);
  auto emitTurns = [&](Value base, ValueRange carried) {
    SmallVector<Value> positions, exist;
    SmallVector<SmallVector<Value>> loaded;
    for (int64_t turn = 0; turn < kPositionsAhead; ++turn) {
      Value position = k.add(k.add(base, turn * kWarp), kernel.lane);
      positions.push_back(position);
      exist.push_back(k.compare(arith::CmpIPredicate::ult, position, to));
      // The loop runs, so there is a pair at its base.
      loaded.push_back(load(k.choose(exist.back(), position, base)));
    }
    SmallVector<Value> values(carried);
    for (int64_t turn = 0; turn < kPositionsAhead; ++turn)
      values = body(positions[turn], exist[turn], loaded[turn], values);
    return values;
  };
  int64_t step = kWarp * kPositionsAhead;
  if (inits.empty()) {
    k.loop(from, to, step, [&](Value base) { emitTurns(base, {}); });
    return {};
  }
  return llvm::to_vector_of<Value>(k.loop(from, to, step, inits, emitTurns));
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
    digits = int64_t(1) << digitBits;
  }

  void emit() {
    Type i32 = k.getI32Type();
    constexpr int64_t dynamic = ShapedType::kDynamic;
    counts = memref::AllocOp::create(
        k, MemRefType::get({digits, chunks.maxBlocks}, i32));
    totals = memref::AllocOp::create(k, MemRefType::get({digits}, i32));
    // What one pass writes the next one reads: two buffers take turns.
    Value between[2];
    for (int64_t i = 0; i < std::min<int64_t>(passes - 1, 2); ++i)
      between[i] = memref::AllocOp::create(
          k, MemRefType::get({dynamic, 2}, i32), chunks.pairs);
    ids = op.getExperts();
    for (pass = 0; pass < passes; ++pass) {
      source = pass ? between[(pass - 1) % 2] : Value();
      target = pass + 1 < passes ? between[pass % 2] : Value();
      emitCount();
      emitScan();
      emitScatter();
    }
  }

private:
  std::string getName(StringRef kernel) {
    return (prefix + "_" + kernel + Twine(pass)).str();
  }

  /// The key and the number of the pair at `position` of this pass's input.
  SmallVector<Value> loadPair(Value position) {
    if (source) {
      auto type = VectorType::get({2}, k.getI32Type());
      Value both = vector::LoadOp::create(
          k, type, source, ValueRange{position, k.index(0)},
          /*nontemporal=*/false, llvm::MaybeAlign(8));
      return {vector::ExtractOp::create(k, both, 0),
              vector::ExtractOp::create(k, both, 1)};
    }
    // 32-bit arithmetic: there are less than 2^31 pairs.
    Value number = k.toI32(position), topK = k.i32(chunks.topK);
    Value token = arith::DivUIOp::create(k, number, topK);
    Value choice = k.sub(number, k.mul(token, topK));
    Value id = k.load(ids, {k.toIndex(token), k.toIndex(choice)});
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
    Value shifted = arith::ShRUIOp::create(k, key, k.i32(pass * digitBits));
    return k.both(shifted, k.i32(digits - 1));
  }

  /// Counters of each warp and digit, all zero.
  Value makeCounters(BlockKernel &kernel) {
    Value counters = kernel.shared(k.getI32Type(), {kernel.numWarps, digits});
    k.loop(kernel.thread, k.index(digits), kernel.numThreads, [&](Value digit) {
      for (int64_t warp = 0; warp < kernel.numWarps; ++warp)
        k.store(k.i32(0), counters, {k.index(warp), digit});
    });
    kernel.barrier();
    return counters;
  }

  /// For each of the warp's pairs in order: `body` gets its key, its number and
  /// the value of the counter of its digit at its turn, which then grows by
  /// one.
  void countPairs(
      BlockKernel &kernel, Value counters,
      llvm::function_ref<void(Value exists, Value key, Value number, Value at)>
          body) {
    forEachPosition(
        k, kernel, chunks, {},
        [&](Value position) { return loadPair(position); },
        [&](Value, Value exists, ValueRange pair,
            ValueRange) -> SmallVector<Value> {
          Value digit = getDigit(pair[0]);
          // Lanes without a pair keep to themselves.
          Value lanes = kernel.matchAny(k.choose(exists, digit, k.i32(-1)));
          Value rank = kernel.countBefore(lanes);
          Value index = k.toIndex(digit);
          Value before = k.load(counters, {kernel.warp, index});
          kernel.syncWarp();
          Value isFirst = k.compare(arith::CmpIPredicate::eq, rank, k.i32(0));
          k.when(k.both(exists, isFirst), [&] {
            k.store(k.add(before, kernel.count(lanes)), counters,
                    {kernel.warp, index});
          });
          kernel.syncWarp();
          body(exists, pair[0], pair[1], k.add(before, rank));
          return {};
        });
  }

  void emitCount() {
    BlockKernel kernel(k, getName("count"), chunks.blocks, kDispatchThreads);
    Value counters = makeCounters(kernel);
    countPairs(kernel, counters, [](Value, Value, Value, Value) {});
    kernel.barrier();
    k.loop(kernel.thread, k.index(digits), kernel.numThreads, [&](Value digit) {
      Value sum = k.i32(0);
      for (int64_t warp = 0; warp < kernel.numWarps; ++warp)
        sum = k.add(sum, k.load(counters, {k.index(warp), digit}));
      k.store(sum, counts, {digit, kernel.block});
    });
  }

  void emitScan() {
    BlockKernel kernel(k, getName("scan"), k.index(digits), kDispatchThreads);
    Value digit = kernel.block;
    ResultRange total = k.loop(
        k.index(0), chunks.blocks, kernel.numThreads, ValueRange{k.i32(0)},
        [&](Value base, ValueRange carried) -> SmallVector<Value> {
          Value other = k.add(base, kernel.thread);
          Value exists =
              k.compare(arith::CmpIPredicate::ult, other, chunks.blocks);
          Value count =
              k.load(counts, {digit, k.choose(exists, other, k.index(0))});
          BlockKernel::Scan scan =
              kernel.scan(k.choose(exists, count, k.i32(0)));
          k.when(exists, [&] {
            k.store(k.add(carried[0], scan.before), counts, {digit, other});
          });
          return {k.add(carried[0], scan.total)};
        });
    k.when(k.compare(arith::CmpIPredicate::eq, kernel.thread, k.index(0)),
           [&] { k.store(total[0], totals, digit); });
  }

  void emitScatter() {
    BlockKernel kernel(k, getName("scatter"), chunks.blocks, kDispatchThreads);
    Value counters = makeCounters(kernel);
    countPairs(kernel, counters, [](Value, Value, Value, Value) {});
    kernel.barrier();
    // The counters become the places of each warp's first pairs.
    Value zero = k.i32(0);
    k.loop(k.index(0), k.index(digits), kernel.numThreads, ValueRange{zero},
           [&](Value base, ValueRange carried) -> SmallVector<Value> {
             Value digit = k.add(base, kernel.thread);
             Value exists =
                 k.compare(arith::CmpIPredicate::ult, digit, k.index(digits));
             Value readable = k.choose(exists, digit, k.index(0));
             Value total = k.load(totals, readable);
             BlockKernel::Scan scan =
                 kernel.scan(k.choose(exists, total, zero));
             k.when(exists, [&] {
               Value next = k.add(k.add(carried[0], scan.before),
                                  k.load(counts, {digit, kernel.block}));
               for (int64_t warp = 0; warp < kernel.numWarps; ++warp) {
                 Value count = k.load(counters, {k.index(warp), digit});
                 k.store(next, counters, {k.index(warp), digit});
                 next = k.add(next, count);
               }
             });
             return {k.add(carried[0], scan.total)};
           });
    kernel.barrier();
    countPairs(kernel, counters,
               [&](Value exists, Value key, Value number, Value at) {
                 k.when(exists, [&] { storePair(key, number, k.toIndex(at)); });
               });
  }

  void storePair(Value key, Value number, Value at) {
    if (!target) {
      k.store(key, keys, at);
      k.store(number, op.getPairs(), at);
      return;
    }
    auto type = VectorType::get({2}, k.getI32Type());
    Value both =
        vector::FromElementsOp::create(k, type, ValueRange{key, number});
    vector::StoreOp::create(k, both, target, ValueRange{at, k.index(0)},
                            /*nontemporal=*/false, llvm::MaybeAlign(8));
  }

  KernelBuilder &k;
  DispatchOp op;
  PairChunks chunks;
  Value keys;
  StringRef prefix;
  int64_t passes, digitBits, digits, pass = 0;
  Value ids, counts, totals, source, target;
};
} // namespace

void mlir::omnimoe::emitPairSort(KernelBuilder &k, DispatchOp op,
                                 const PairChunks &chunks, Value keys,
                                 StringRef prefix) {
  PairSort(k, op, chunks, keys, prefix).emit();
}
