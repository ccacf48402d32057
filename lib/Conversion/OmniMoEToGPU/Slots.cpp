//===- Slots.cpp - Slots of sorted pairs ----------------------------------===//
//
// In sorted pairs a slot starts wherever group or token changes. Three kernels:
//
//  heads    Each block counts the slots that start among its pairs.
//  slots    Each block adds the counts of the blocks before it, counts again,
//           and writes token and first pair of its slots, and the offsets of
//           the groups that have any.
//  offsets  An empty group starts where the next one that is not empty does:
//           a binary search in the keys finds that, however many are empty.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "PairSort.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
class Slots {
public:
  Slots(KernelBuilder &k, DispatchOp op, const PairChunks &chunks, Value keys,
        StringRef prefix)
      : k(k), op(op), chunks(chunks), keys(keys), prefix(prefix),
        groups(op.getNumGroups()) {}

  void emit() {
    heads = memref::AllocOp::create(
        k, MemRefType::get({chunks.maxBlocks}, k.getI32Type()));
    emitHeads();
    emitSlots();
    emitOffsets();
  }

private:
  /// Key and token of the pair at `position` and key and token of the one
  /// before.
  SmallVector<Value> loadPairs(Value position) {
    Value isFirst = k.compare(arith::CmpIPredicate::eq, position, k.index(0));
    Value before = k.choose(isFirst, k.index(0), k.sub(position, 1));
    SmallVector<Value> loaded;
    for (Value at : {position, before}) {
      loaded.push_back(k.load(keys, at));
      loaded.push_back(arith::DivUIOp::create(k, k.load(op.getPairs(), at),
                                              k.i32(chunks.topK)));
    }
    return loaded;
  }

  /// Whether a group, and whether a slot, starts at a position.
  std::pair<Value, Value> startsAt(Value position, Value exists,
                                   ValueRange loaded) {
    using arith::CmpIPredicate;
    Value isFirst = k.compare(CmpIPredicate::eq, position, k.index(0));
    Value isPair =
        k.both(exists, k.compare(CmpIPredicate::ult, loaded[0],
                                 k.i32(static_cast<int32_t>(groups))));
    Value newGroup =
        k.either(isFirst, k.compare(CmpIPredicate::ne, loaded[0], loaded[2]));
    Value newToken = k.compare(CmpIPredicate::ne, loaded[1], loaded[3]);
    return {k.both(isPair, newGroup),
            k.both(isPair, k.either(newGroup, newToken))};
  }

  /// The slots that start at the positions of this thread.
  Value countOwn(BlockKernel &kernel) {
    SmallVector<Value> sum = forEachPosition(
        k, kernel, chunks, ValueRange{k.i32(0)},
        [&](Value position) { return loadPairs(position); },
        [&](Value position, Value exists, ValueRange loaded,
            ValueRange carried) -> SmallVector<Value> {
          Value isHead = startsAt(position, exists, loaded).second;
          return {k.add(carried[0],
                        arith::ExtUIOp::create(k, k.getI32Type(), isHead))};
        });
    return sum.front();
  }

  Value isThread(BlockKernel &kernel, int64_t number) {
    return k.compare(arith::CmpIPredicate::eq, kernel.thread, k.index(number));
  }

  void emitHeads() {
    BlockKernel kernel(k, (prefix + "_heads").str(), chunks.blocks,
                       kDispatchThreads);
    Value total = kernel.scan(countOwn(kernel)).total;
    k.when(isThread(kernel, 0), [&] { k.store(total, heads, kernel.block); });
  }

  void emitSlots() {
    BlockKernel kernel(k, (prefix + "_slots").str(), chunks.blocks,
                       kDispatchThreads);
    ResultRange earlier = k.loop(
        kernel.thread, kernel.block, kernel.numThreads, ValueRange{k.i32(0)},
        [&](Value other, ValueRange carried) -> SmallVector<Value> {
          return {k.add(carried[0], k.load(heads, other))};
        });
    Value before = kernel.scan(earlier[0]).total;
    BlockKernel::Scan own = kernel.scan(countOwn(kernel));
    Value warpStart = k.add(before, kernel.broadcast(own.before, 0));
    forEachPosition(
        k, kernel, chunks, ValueRange{warpStart},
        [&](Value position) { return loadPairs(position); },
        [&](Value position, Value exists, ValueRange loaded,
            ValueRange carried) -> SmallVector<Value> {
          auto [newGroup, isHead] = startsAt(position, exists, loaded);
          Value lanes = kernel.ballot(isHead);
          Value slot = k.add(carried[0], kernel.countBefore(lanes));
          k.when(isHead, [&] {
            Value at = k.toIndex(slot);
            k.store(loaded[1], op.getTokens(), at);
            k.store(k.toI32(position), op.getStarts(), at);
          });
          k.when(newGroup,
                 [&] { k.store(slot, op.getOffsets(), k.toIndex(loaded[0])); });
          return {k.add(carried[0], kernel.count(lanes))};
        });
    Value isLast = k.compare(arith::CmpIPredicate::eq, k.add(kernel.block, 1),
                             chunks.blocks);
    k.when(k.both(isLast, isThread(kernel, 0)), [&] {
      k.store(k.add(before, own.total), op.getOffsets(), k.index(groups));
    });
  }

  void emitOffsets() {
    int64_t blocks = llvm::divideCeil(groups + 1, kDispatchThreads);
    BlockKernel kernel(k, (prefix + "_offsets").str(), k.index(blocks),
                       kDispatchThreads);
    Value group = k.add(k.mul(kernel.block, kDispatchThreads), kernel.thread);
    using arith::CmpIPredicate;
    k.when(k.compare(CmpIPredicate::ule, group, k.index(groups)), [&] {
      Value key = k.toI32(group);
      ResultRange bounds = k.loopWhile(
          ValueRange{k.index(0), chunks.pairs},
          [&](ValueRange range) {
            return k.compare(CmpIPredicate::ult, range[0], range[1]);
          },
          [&](ValueRange range) -> SmallVector<Value> {
            Value middle = arith::ShRUIOp::create(k, k.add(range[0], range[1]),
                                                  k.index(1));
            Value isBelow =
                k.compare(CmpIPredicate::ult, k.load(keys, middle), key);
            return {k.choose(isBelow, k.add(middle, 1), range[0]),
                    k.choose(isBelow, range[1], middle)};
          });
      Value first = bounds[0];
      Value isLast = k.compare(CmpIPredicate::eq, group, k.index(groups));
      k.when(
          isLast,
          [&] {
            Value slots = k.load(op.getOffsets(), k.index(groups));
            k.store(k.toI32(first), op.getStarts(), k.toIndex(slots));
          },
          [&] { emitEmptyGroup(group, key, first); });
    });
  }

  /// `first` is the first pair of `group` or of the next that is not empty.
  void emitEmptyGroup(Value group, Value key, Value first) {
    using arith::CmpIPredicate;
    Value exists = k.compare(CmpIPredicate::ult, first, chunks.pairs);
    k.when(
        exists,
        [&] {
          Value next = k.load(keys, first);
          k.when(k.compare(CmpIPredicate::ne, next, key), [&] {
            k.store(k.load(op.getOffsets(), k.toIndex(next)), op.getOffsets(),
                    group);
          });
        },
        [&] {
          k.store(k.load(op.getOffsets(), k.index(groups)), op.getOffsets(),
                  group);
        });
  }

  KernelBuilder &k;
  DispatchOp op;
  PairChunks chunks;
  Value keys;
  StringRef prefix;
  int64_t groups;
  Value heads;
};
} // namespace

void mlir::omnimoe::emitSlots(KernelBuilder &k, DispatchOp op,
                              const PairChunks &chunks, Value keys,
                              StringRef prefix) {
  Slots(k, op, chunks, keys, prefix).emit();
}
