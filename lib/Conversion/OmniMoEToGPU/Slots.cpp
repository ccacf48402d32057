//===- Slots.cpp - Slots of sorted pairs ----------------------------------===//
//
// In sorted pairs a slot starts wherever group or token changes. Three kernels:
//
//  heads    Each block counts the slots that start among its pairs. All groups
//           are marked as empty.
//  slots    Each block adds the counts of the blocks before it and writes token
//           and first pair of its slots, and the offsets of the groups that
//           have any.
//  offsets  An empty group starts where the next one that is not empty does:
//           a binary search in the keys finds that, however many are empty.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "PairSort.h"
#include "ThreadTeam.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Offset of a group that no pair has been found of.
static constexpr int64_t kEmpty = -1;

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
  /// What starts at a thread's positions in a tile.
  struct Heads {
    SmallVector<Value> keys, tokens, newGroups, newSlots;
    SmallVector<Value>
        ends; ///< whether the first pair without a group is there
    SmallVector<Value> lanes; ///< the lanes at whose positions slots start
    Value count;              ///< how many start at the warp's positions
  };

  Value hasGroup(Value key) {
    return k.compare(arith::CmpIPredicate::ult, key,
                     k.i32(static_cast<int32_t>(groups)));
  }

  Heads getHeads(BlockKernel &kernel, const TilePositions &tile) {
    using arith::CmpIPredicate;
    Heads heads;
    auto loadPair = [&](Value at) -> std::pair<Value, Value> {
      return {k.load(keys, at),
              arith::DivUIOp::create(k, k.load(op.getPairs(), at),
                                     k.i32(chunks.topK))};
    };
    // The one before the warp's first; the very first has none.
    Value warpFirst = kernel.broadcast(k.toI32(tile.readable(k, 0)), 0);
    Value earlier = k.toIndex(k.sub(
        warpFirst, k.choose(k.compare(CmpIPredicate::eq, warpFirst, k.i32(0)),
                            k.i32(0), k.i32(1))));
    auto [keyBefore, tokenBefore] = loadPair(earlier);
    for (int64_t turn = 0; turn < kTurns; ++turn) {
      auto [key, token] = loadPair(tile.readable(k, turn));
      heads.keys.push_back(key);
      heads.tokens.push_back(token);
    }
    heads.count = k.i32(0);
    for (int64_t turn = 0; turn < kTurns; ++turn) {
      Value key = heads.keys[turn], token = heads.tokens[turn];
      Value previousKey = kernel.laneBefore(key, keyBefore);
      Value previousToken = kernel.laneBefore(token, tokenBefore);
      keyBefore = kernel.broadcast(key, kWarp - 1);
      tokenBefore = kernel.broadcast(token, kWarp - 1);
      Value isFirst =
          k.compare(CmpIPredicate::eq, tile.positions[turn], k.i32(0));
      Value isPair = k.both(tile.exist[turn], hasGroup(key));
      Value newGroup =
          k.either(isFirst, k.compare(CmpIPredicate::ne, key, previousKey));
      Value newToken = k.compare(CmpIPredicate::ne, token, previousToken);
      heads.newGroups.push_back(k.both(isPair, newGroup));
      heads.ends.push_back(
          k.both(k.both(tile.exist[turn], newGroup),
                 k.compare(CmpIPredicate::uge, key,
                           k.i32(static_cast<int32_t>(groups)))));
      heads.newSlots.push_back(k.both(isPair, k.either(newGroup, newToken)));
      heads.lanes.push_back(ballot(k, heads.newSlots.back()));
      heads.count = k.add(heads.count, countBits(k, heads.lanes.back()));
    }
    return heads;
  }

  /// The count of a warp, once.
  Value onFirstLane(BlockKernel &kernel, Value count) {
    Value isFirst =
        k.compare(arith::CmpIPredicate::eq, kernel.lane, k.index(0));
    return k.choose(isFirst, count, k.i32(0));
  }

  Value isThread(BlockKernel &kernel, int64_t number) {
    return k.compare(arith::CmpIPredicate::eq, kernel.thread, k.index(number));
  }

  void emitHeads() {
    BlockKernel kernel(k, (prefix + "_heads").str(), chunks.blocks,
                       kDispatchThreads);
    SmallVector<Value> count =
        forEachTile(k, kernel, chunks, ValueRange{k.i32(0)},
                    [&](const TilePositions &tile,
                        ValueRange carried) -> SmallVector<Value> {
                      return {k.add(carried[0], getHeads(kernel, tile).count)};
                    });
    Value total = kernel.scan(onFirstLane(kernel, count[0])).total;
    k.when(isThread(kernel, 0), [&] { k.store(total, heads, kernel.block); });
    Value first = k.add(k.mul(kernel.block, kernel.numThreads), kernel.thread);
    k.loop(
        first, k.index(groups), k.mul(chunks.blocks, kernel.numThreads),
        [&](Value group) { k.store(k.i32(kEmpty), op.getOffsets(), group); });
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
    SmallVector<Value> end = forEachTile(
        k, kernel, chunks, ValueRange{before},
        [&](const TilePositions &tile,
            ValueRange carried) -> SmallVector<Value> {
          Heads tileHeads = getHeads(kernel, tile);
          BlockKernel::Scan scan =
              kernel.scan(onFirstLane(kernel, tileHeads.count));
          Value next = k.add(carried[0], kernel.broadcast(scan.before, 0));
          for (int64_t turn = 0; turn < kTurns; ++turn) {
            Value lanes = tileHeads.lanes[turn];
            Value slot = k.add(next, kernel.countBefore(lanes));
            next = k.add(next, countBits(k, lanes));
            Value at = k.toIndex(slot);
            k.when(tileHeads.newSlots[turn], [&] {
              k.store(tileHeads.tokens[turn], op.getTokens(), at);
            });
            k.when(k.either(tileHeads.newSlots[turn], tileHeads.ends[turn]),
                   [&] { k.store(tile.positions[turn], op.getStarts(), at); });
            k.when(tileHeads.newGroups[turn], [&] {
              k.store(slot, op.getOffsets(), k.toIndex(tileHeads.keys[turn]));
            });
          }
          return {k.add(carried[0], scan.total)};
        });
    Value isLast = k.compare(arith::CmpIPredicate::eq, k.add(kernel.block, 1),
                             chunks.blocks);
    k.when(k.both(isLast, isThread(kernel, 0)), [&] {
      k.store(end[0], op.getOffsets(), k.index(groups));
      // The slots end where the pairs do, unless some have no group.
      Value none =
          k.compare(arith::CmpIPredicate::eq, chunks.pairs, k.index(0));
      Value allInGroups = k.branch(
          k.getI1Type(), none, [&]() -> SmallVector<Value> { return {none}; },
          [&]() -> SmallVector<Value> {
            return {hasGroup(k.load(keys, k.sub(chunks.pairs, 1)))};
          })[0];
      k.when(allInGroups, [&] {
        k.store(k.toI32(chunks.pairs), op.getStarts(), k.toIndex(end[0]));
      });
    });
  }

  void emitOffsets() {
    int64_t blocks = llvm::divideCeil(groups, kDispatchThreads);
    BlockKernel kernel(k, (prefix + "_offsets").str(), k.index(blocks),
                       kDispatchThreads);
    Value group = k.add(k.mul(kernel.block, kDispatchThreads), kernel.thread);
    using arith::CmpIPredicate;
    Value exists = k.compare(CmpIPredicate::ult, group, k.index(groups));
    Value readable = k.min(group, k.index(groups - 1));
    Value isEmpty = k.compare(CmpIPredicate::eq,
                              k.load(op.getOffsets(), readable), k.i32(kEmpty));
    k.when(k.both(exists, isEmpty), [&] {
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
      emitEmptyGroup(group, bounds[0]);
    });
  }

  /// `first` is the first pair of the next group that is not empty, if any.
  void emitEmptyGroup(Value group, Value first) {
    Value exists = k.compare(arith::CmpIPredicate::ult, first, chunks.pairs);
    // Pairs without an expert have the number of groups as key.
    Value next = k.branch(
        k.getI32Type(), exists,
        [&]() -> SmallVector<Value> { return {k.load(keys, first)}; },
        [&]() -> SmallVector<Value> {
          return {k.i32(static_cast<int32_t>(groups))};
        })[0];
    k.store(k.load(op.getOffsets(), k.toIndex(next)), op.getOffsets(), group);
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
