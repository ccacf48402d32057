//===- LineDispatch.cpp - Dispatch by lines of a grid ---------------------===//
//
// A token has pairs in few lines, and many in each: a table of the pairs that
// each token has in each group is small, and what is to be sorted are slots,
// not pairs. Kernels, with tokens in chunks:
//
//  lines    A block for each token finds the groups of its pairs, and counts.
//  sums     A thread for each chunk and group adds up slots and pairs.
//  scan     A block for each group adds up the chunks before.
//  offsets  A block adds up the groups before.
//  slots    The threads of `sums` write their slots, and where the pairs of
//  each
//           begin, in the table too.
//  place    A block for each token puts its pairs there, in no fixed order;
//  many
//           of them by way of shared memory, so that they are written side by
//           side.
//
// Everything but that order follows from counts.
//
//===----------------------------------------------------------------------===//

#include "LineDispatch.h"
#include "LoadTogether.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

/// Choices that the counts of a table have room for.
static constexpr int64_t kMostChoices = 32767;
/// Tokens of a chunk.
static constexpr int64_t kChunkTokens = 32;
/// Tokens of a chunk, and pairs of a token, that a thread asks for together.
static constexpr int64_t kTokensTogether = 8, kPairsTogether = 4;
static constexpr int64_t kThreads = 128, kOffsetsThreads = 1024;
/// Choices from which on a token's pairs are sorted in shared memory first, and
/// bytes that this may take: for pairs, and two numbers of each group.
static constexpr int64_t kSortedFrom = 256, kSortedBytes = 47 * 1024,
                         kGroupBytes = 8;
/// Bits that hold a group, or a choice.
static constexpr int64_t kGroupBits = 16;

bool mlir::omnimoe::suitsLineDispatch(DispatchOp op) {
  return op.getNumGroups() <= kMostTableGroups && op.getTopK() <= kMostChoices;
}

namespace {
/// Slots and pairs.
struct Both {
  Value slots, pairs;
};

class LineDispatch {
public:
  LineDispatch(KernelBuilder &k, DispatchOp op, StringRef prefix)
      : k(k), op(op), prefix(prefix), groups(op.getNumGroups()),
        needsPairs(isNeeded(op.getPairs())) {}

  void emit() {
    tokens = k.createOrFold<memref::DimOp>(op.getExperts(), 0);
    Value pairs = k.mul(tokens, op.getTopK());
    chunks = k.max(arith::CeilDivUIOp::create(k, tokens, k.index(kChunkTokens)),
                   k.index(1));
    Type i16 = k.getIntegerType(16);
    constexpr int64_t dynamic = ShapedType::kDynamic;
    groupOfPair = allocate({dynamic}, pairs, i16);
    counts = allocate({dynamic, groups}, tokens, i16);
    begins = allocate({dynamic, groups}, tokens);
    ofChunk = {allocate({groups, dynamic}, chunks),
               allocate({groups, dynamic}, chunks)};
    ofGroup = {allocate({groups}, {}), allocate({groups}, {})};
    firstPairs = allocate({groups}, {});
    emitLineGroups(k, op, groupOfPair, counts, getName("lines"));
    emitSums();
    emitScan();
    emitOffsets();
    emitSlots();
    emitPlace();
  }

private:
  /// True unless `memref` is the dispatch's alone: with what it carries, a
  /// block of experts may need no numbers of pairs.
  bool isNeeded(Value memref) {
    return !memref.getDefiningOp<memref::AllocOp>() ||
           llvm::any_of(memref.getUsers(), [&](Operation *user) {
             return user != op && !isa<memref::DeallocOp>(user);
           });
  }

  Value allocate(ArrayRef<int64_t> shape, ValueRange sizes, Type type = {}) {
    return memref::AllocOp::create(
        k, MemRefType::get(shape, type ? type : k.getI32Type()), sizes);
  }

  std::string getName(StringRef kernel) {
    return (prefix + "_" + kernel).str();
  }

  /// Lets a thread for each chunk and group do `begin`, which says what it
  /// carries along, then `body` with each token of the chunk that has pairs in
  /// the group and their number, and then `end`.
  void forChunks(
      StringRef name,
      llvm::function_ref<SmallVector<Value>(Value chunk, Value group)> begin,
      llvm::function_ref<void(Value token, Value group, ValueRange carried)>
          body,
      llvm::function_ref<void(Value chunk, Value group, ValueRange carried)>
          end) {
    int64_t parts = llvm::divideCeil(groups, kThreads);
    BlockKernel kernel(k, getName(name), k.mul(chunks, parts), kThreads);
    Value chunk = arith::DivUIOp::create(k, kernel.block, k.index(parts));
    Value part = k.sub(kernel.block, k.mul(chunk, parts));
    Value group = k.add(k.mul(part, kThreads), kernel.thread);
    k.when(k.compare(CmpIPredicate::ult, group, k.index(groups)), [&] {
      Value first = k.mul(chunk, kChunkTokens);
      Value last = k.min(k.add(first, kChunkTokens), tokens);
      ValueRange carried = k.loop(
          first, last, kTokensTogether, begin(chunk, group),
          [&](Value from, ValueRange before) -> SmallVector<Value> {
            SmallVector<Value> next(before);
            SmallVector<Position> positions =
                getPositions(k, from, last, 1, kTokensTogether);
            SmallVector<Value> found =
                loadTogether(k, positions, [&](Value token) {
                  return k.load(counts, {token, group});
                });
            for (auto [position, value] : llvm::zip_equal(positions, found)) {
              Value count = k.choose(position.exists, value, k.i32(0));
              Value any = k.compare(CmpIPredicate::ne, count, k.i32(0));
              if (body)
                k.when(any, [&] { body(position.readable, group, next); });
              next[0] = k.add(next[0],
                              arith::ExtUIOp::create(k, k.getI32Type(), any));
              next[1] = k.add(next[1], count);
            }
            return next;
          });
      if (end)
        end(chunk, group, carried);
    });
  }

  void emitSums() {
    forChunks(
        "sums",
        [&](Value, Value) { return SmallVector<Value>{k.i32(0), k.i32(0)}; },
        nullptr,
        [&](Value chunk, Value group, ValueRange sums) {
          k.store(sums[0], ofChunk.slots, {group, chunk});
          k.store(sums[1], ofChunk.pairs, {group, chunk});
        });
  }

  void emitScan() {
    BlockKernel kernel(k, getName("scan"), k.index(groups), kThreads);
    Value group = kernel.block;
    for (auto [values, totals] : {std::pair{ofChunk.slots, ofGroup.slots},
                                  std::pair{ofChunk.pairs, ofGroup.pairs}}) {
      Value total = kernel.scanAll(
          chunks,
          [&, values = values](Value chunk) {
            return k.load(values, {group, chunk});
          },
          [&, values = values](Value chunk, Value, Value before) {
            k.store(before, values, {group, chunk});
          });
      onFirstThread(kernel,
                    [&, totals = totals] { k.store(total, totals, group); });
    }
  }

  void onFirstThread(BlockKernel &kernel, llvm::function_ref<void()> body) {
    k.when(k.compare(CmpIPredicate::eq, kernel.thread, k.index(0)), body);
  }

  void emitOffsets() {
    BlockKernel kernel(k, getName("offsets"), k.index(1), kOffsetsThreads);
    Value end = k.index(groups);
    auto addUp = [&](Value values, Value before) {
      return kernel.scanAll(
          end, [&](Value group) { return k.load(values, group); },
          [&](Value group, Value, Value sum) { k.store(sum, before, group); });
    };
    Value slots = addUp(ofGroup.slots, op.getOffsets());
    Value pairs = addUp(ofGroup.pairs, firstPairs);
    onFirstThread(kernel, [&] {
      k.store(slots, op.getOffsets(), end);
      k.store(pairs, op.getStarts(), k.toIndex(slots));
    });
  }

  void emitSlots() {
    forChunks(
        "slots",
        [&](Value chunk, Value group) {
          return SmallVector<Value>{
              k.add(k.load(op.getOffsets(), group),
                    k.load(ofChunk.slots, {group, chunk})),
              k.add(k.load(firstPairs, group),
                    k.load(ofChunk.pairs, {group, chunk}))};
        },
        [&](Value token, Value group, ValueRange next) {
          Value slot = k.toIndex(next[0]);
          k.store(k.toI32(token), op.getTokens(), slot);
          k.store(next[1], op.getStarts(), slot);
          k.store(next[1], begins, {token, group});
        },
        nullptr);
  }

  void emitPlace() {
    int64_t topK = op.getTopK(), threads = getTokenThreads(topK);
    k.when(k.compare(CmpIPredicate::ugt, tokens, k.index(0)), [&] {
      BlockKernel kernel(k, getName("place"), tokens, threads);
      Value token = kernel.block;
      Value next = kernel.shared(k.getI32Type(), {groups});
      if (topK >= kSortedFrom &&
          topK * getSortedBytes() + groups * kGroupBytes <= kSortedBytes)
        return placeSorted(kernel, token, next);
      // Groups that the token has no pairs in have anything here.
      k.loop(kernel.thread, k.index(groups), threads, [&](Value group) {
        k.store(k.load(begins, {token, group}), next, group);
      });
      kernel.barrier();
      Value first = k.mul(token, topK);
      forEachPair(
          kernel, token, next,
          [&](Value choice, Value, ArrayRef<Value> carried, Value place) {
            storePair(carried, k.toI32(k.add(first, choice)), place);
          });
    });
  }

  /// What travels with pairs of a token: for each of them, all there is.
  SmallVector<SmallVector<Value>> loadCarried(Value token,
                                              ArrayRef<Position> choices) {
    SmallVector<SmallVector<Value>> ofChoices(choices.size());
    for (Value carried : op.getCarried()) {
      SmallVector<Value> loaded;
      for (const Position &choice : choices)
        loaded.push_back(k.load(carried, {token, choice.readable}));
      for (auto [own, value] :
           llvm::zip_equal(ofChoices, holdLoaded(k, loaded)))
        own.push_back(value);
    }
    return ofChoices;
  }

  void storePair(ArrayRef<Value> carried, Value number, Value place) {
    if (needsPairs)
      k.store(number, op.getPairs(), place);
    for (auto [value, sorted] : llvm::zip_equal(carried, op.getSorted()))
      k.store(value, sorted, place);
  }

  /// Takes a place from the counter of its group in `next` for each pair of the
  /// token that has a group.
  void
  forEachPair(BlockKernel &kernel, Value token, Value next,
              llvm::function_ref<void(Value choice, Value group,
                                      ArrayRef<Value> carried, Value place)>
                  body) {
    Value first = k.mul(token, op.getTopK()), end = k.index(op.getTopK());
    int64_t together = std::min<int64_t>(
        kPairsTogether, llvm::divideCeil(op.getTopK(), kernel.numThreads));
    k.loop(kernel.thread, end, together * kernel.numThreads, [&](Value from) {
      SmallVector<Position> positions =
          getPositions(k, from, end, kernel.numThreads, together);
      SmallVector<Value> found = loadTogether(k, positions, [&](Value choice) {
        return k.load(groupOfPair, k.add(first, choice));
      });
      SmallVector<SmallVector<Value>> carried = loadCarried(token, positions);
      for (auto [position, group, values] :
           llvm::zip_equal(positions, found, carried)) {
        Value inGroup = k.compare(CmpIPredicate::ult, group, k.i32(groups));
        k.when(k.both(position.exists, inGroup), [&] {
          Value place = memref::AtomicRMWOp::create(
              k, arith::AtomicRMWKind::addi, k.i32(1), next,
              ValueRange{k.toIndex(group)});
          body(position.readable, group, values, k.toIndex(place));
        });
      }
    });
  }

  /// Bytes of shared memory for a pair that is sorted there: its group, what it
  /// carries, and its choice if that is needed.
  int64_t getSortedBytes() {
    int64_t bits = kGroupBits + needsPairs * kGroupBits;
    for (Value carried : op.getCarried())
      bits += getElementTypeOrSelf(carried.getType()).getIntOrFloatBitWidth();
    return llvm::divideCeil(bits, 8);
  }

  /// The token's pairs in the order of their groups, with all that travels with
  /// them; then to where each group is in memory.
  void placeSorted(BlockKernel &kernel, Value token, Value next) {
    int64_t topK = op.getTopK();
    Type i32 = k.getI32Type(), i16 = k.getIntegerType(kGroupBits);
    Value shifts = kernel.shared(i32, {groups});
    Value sortedGroups = kernel.shared(i16, {topK}), sortedChoices;
    if (needsPairs)
      sortedChoices = kernel.shared(i16, {topK});
    SmallVector<Value> sorted;
    for (Value carried : op.getCarried())
      sorted.push_back(
          kernel.shared(getElementTypeOrSelf(carried.getType()), {topK}));
    auto narrow = [&](Value value) -> Value {
      return arith::TruncIOp::create(k, i16, value);
    };
    auto widen = [&](Value value) -> Value {
      return arith::ExtUIOp::create(k, i32, value);
    };
    SmallVector<Value> firsts;
    Value total = kernel.scanAll(
        k.index(groups),
        [&](Value group) -> Value {
          firsts.push_back(k.load(begins, {token, group}));
          return widen(k.load(counts, {token, group}));
        },
        [&, number = 0](Value group, Value, Value before) mutable {
          k.store(before, next, group);
          k.store(k.sub(firsts[number++], before), shifts, group);
        });
    kernel.barrier();
    forEachPair(
        kernel, token, next,
        [&](Value choice, Value group, ArrayRef<Value> carried, Value place) {
          k.store(narrow(group), sortedGroups, place);
          if (needsPairs)
            k.store(narrow(k.toI32(choice)), sortedChoices, place);
          for (auto [value, values] : llvm::zip_equal(carried, sorted))
            k.store(value, values, place);
        });
    kernel.barrier();
    Value first = k.toI32(k.mul(token, topK));
    k.loop(kernel.thread, k.toIndex(total), kernel.numThreads, [&](Value at) {
      Value group = widen(k.load(sortedGroups, at));
      Value place = k.add(k.toI32(at), k.load(shifts, k.toIndex(group)));
      SmallVector<Value> values;
      for (Value value : sorted)
        values.push_back(k.load(value, at));
      Value number;
      if (needsPairs)
        number = k.add(first, widen(k.load(sortedChoices, at)));
      storePair(values, number, k.toIndex(place));
    });
  }

  KernelBuilder &k;
  DispatchOp op;
  StringRef prefix;
  int64_t groups;
  bool needsPairs;      ///< whether anybody reads the numbers of sorted pairs
  Value tokens, chunks; ///< on the host
  Value groupOfPair;    ///< i16 [P]
  Value counts;         ///< i16 [T, G]: pairs
  Value begins;         ///< i32 [T, G]: the first of them, if there are any
  Both ofChunk;         ///< i32 [G, chunks], then those of the chunks before
  Both ofGroup;         ///< i32 [G]
  Value firstPairs;     ///< i32 [G]
};
} // namespace

void mlir::omnimoe::emitLineDispatch(KernelBuilder &k, DispatchOp op,
                                     StringRef prefix) {
  LineDispatch(k, op, prefix).emit();
}
