//===- Dispatch.cpp - omnimoe.dispatch to loops ---------------------------===//
//
// A counting sort of the pairs by group. The tokens are read in order, so the
// pairs that a token has in one group come one after the other within the group
// and share a slot: a pair opens a new slot exactly when the last token that
// its group saw is another one.
//
//  1. Count: pairs and slots of each group.
//  2. Scan: the counts become the first pair and first slot of each group.
//  3. Place: every pair goes to its group's next place; a new slot is written
//     down with its token and its first pair.
//
// Where groups are lines of a grid, the pairs that a token has in each row and
// column are counted before its groups are asked for.
//
// `offsets[g + 1]` is the slot count of group g in step 1, its running slot in
// step 3, and so ends as the first slot of group g + 1.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "Utils/GroupLines.h"
#include "Utils/KernelBuilder.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;

namespace {

class DispatchKernel {
public:
  DispatchKernel(KernelBuilder &k, DispatchOp op)
      : k(k), op(op), layout(op.getLayout()), topK(op.getTopK()),
        groups(op.getNumGroups()) {}

  void emit() {
    unsigned nextPairBuffer = scratch.reserve(k.getI32Type(), groups);
    unsigned lastTokenBuffer = scratch.reserve(k.getI32Type(), groups);
    unsigned inLineBuffer =
        layout.isByLines()
            ? scratch.reserve(k.getI32Type(), layout.getNumLines())
            : 0;
    scratch.allocate(k);
    nextPair = scratch[nextPairBuffer];
    lastToken = scratch[lastTokenBuffer];
    if (layout.isByLines())
      inLine = scratch[inLineBuffer];
    zero = k.index(0);
    numGroups = k.index(groups);

    clear();
    forEachPair([&](Value token, Value, Value group) { count(token, group); });
    scan();
    forEachPair([&](Value token, Value choice, Value group) {
      place(token, choice, group);
    });
    scratch.release(k);
  }

private:
  /// Runs `body` with place in the list and expert of each of the token's pairs
  /// that has one.
  void forEachChoice(Value token, llvm::function_ref<void(Value, Value)> body) {
    k.loop(zero, k.index(topK), 1, [&](Value choice) {
      Value id = k.load(op.getExperts(), {token, choice});
      // Unsigned, so that one comparison refuses negative ids too. Ids are
      // 32 bits wide; the count of experts may not be.
      Value expert = arith::IndexCastUIOp::create(k, k.getIndexType(), id);
      Value known =
          k.compare(arith::CmpIPredicate::ult, expert, k.index(knownExperts()));
      k.when(known, [&] { body(choice, expert); });
    });
  }

  /// Runs `body` with token, place in the token's list and group of each pair
  /// that has an expert.
  void forEachPair(llvm::function_ref<void(Value, Value, Value)> body) {
    Value tokens = memref::DimOp::create(k, op.getExperts(), 0);
    k.loop(zero, tokens, 1, [&](Value token) {
      if (layout.isByLines())
        countLines(token);
      forEachChoice(token, [&](Value choice, Value expert) {
        body(token, choice, getGroup(expert));
      });
    });
  }

  Value getColumnLine(const GridPlace &place) {
    return k.add(place.column, layout.getGridRows());
  }

  Value getGroup(Value expert) {
    if (!layout.isByLines())
      return arith::DivUIOp::create(k, expert, k.index(layout.groupSize));
    GridPlace place(k, layout, expert);
    return getGroupOfLine(k, layout, place, k.load(inLine, place.row),
                          k.load(inLine, getColumnLine(place)));
  }

  /// Only the lines of the token's pairs are read.
  void countLines(Value token) {
    auto forEachLine = [&](llvm::function_ref<void(Value)> body) {
      forEachChoice(token, [&](Value, Value expert) {
        GridPlace place(k, layout, expert);
        body(place.row);
        body(getColumnLine(place));
      });
    };
    forEachLine([&](Value line) { k.store(k.i32(0), inLine, line); });
    forEachLine([&](Value line) {
      k.store(k.add(k.load(inLine, line), 1), inLine, line);
    });
  }

  /// Experts that an i32 id can name.
  int64_t knownExperts() {
    return std::min<int64_t>(op.getNumExperts(), int64_t(1) << 31);
  }

  void clear() {
    k.store(k.i32(0), op.getOffsets(), zero);
    k.loop(zero, numGroups, 1, [&](Value group) {
      k.store(k.i32(0), op.getOffsets(), k.add(group, 1));
      k.store(k.i32(0), nextPair, group);
      k.store(k.i32(-1), lastToken, group);
    });
  }

  /// True if `token` is new to `group`; notes that it is not any more.
  Value meet(Value token, Value group) {
    Value number = k.toI32(token);
    Value last = k.load(lastToken, group);
    k.store(number, lastToken, group);
    return k.compare(arith::CmpIPredicate::ne, last, number);
  }

  void count(Value token, Value group) {
    Value isNew = meet(token, group);
    k.store(k.add(k.load(nextPair, group), 1), nextPair, group);
    Value next = k.add(group, 1);
    Value slots = k.load(op.getOffsets(), next);
    Value increment = arith::ExtUIOp::create(k, k.getI32Type(), isNew);
    k.store(k.add(slots, increment), op.getOffsets(), next);
  }

  void scan() {
    ResultRange totals =
        k.loop(zero, numGroups, 1, ValueRange{k.i32(0), k.i32(0)},
               [&](Value group, ValueRange sums) -> SmallVector<Value> {
                 Value next = k.add(group, 1);
                 Value slots = k.load(op.getOffsets(), next);
                 Value pairs = k.load(nextPair, group);
                 k.store(sums[0], op.getOffsets(), next);
                 k.store(sums[1], nextPair, group);
                 k.store(k.i32(-1), lastToken, group);
                 return {k.add(sums[0], slots), k.add(sums[1], pairs)};
               });
    // The last slot ends where the pairs end.
    k.store(totals[1], op.getStarts(), k.toIndex(totals[0]));
  }

  void place(Value token, Value choice, Value group) {
    Value pair = k.load(nextPair, group);
    k.store(k.add(pair, 1), nextPair, group);
    Value number = k.add(k.mul(token, topK), choice);
    k.store(k.toI32(number), op.getPairs(), k.toIndex(pair));
    for (auto [carried, sorted] :
         llvm::zip_equal(op.getCarried(), op.getSorted()))
      k.store(k.load(carried, {token, choice}), sorted, k.toIndex(pair));
    k.when(meet(token, group), [&] {
      Value next = k.add(group, 1);
      Value slot = k.load(op.getOffsets(), next);
      k.store(k.add(slot, 1), op.getOffsets(), next);
      k.store(k.toI32(token), op.getTokens(), k.toIndex(slot));
      k.store(pair, op.getStarts(), k.toIndex(slot));
    });
  }

  KernelBuilder &k;
  DispatchOp op;
  GroupLayout layout;
  int64_t topK, groups;
  Scratch scratch;
  Value nextPair, lastToken, zero, numGroups;
  Value inLine; ///< pairs that the token has in each row, then in each column
};

struct DispatchLowering : OpRewritePattern<DispatchOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(DispatchOp op,
                                PatternRewriter &rewriter) const override {
    if (!isa<MemRefType>(op.getExperts().getType()))
      return rewriter.notifyMatchFailure(op, "operands must be memrefs");
    KernelBuilder k(op.getLoc(), rewriter);
    DispatchKernel(k, op).emit();
    rewriter.eraseOp(op);
    return success();
  }
};

} // namespace

void omnimoe::populateDispatchToVectorPatterns(RewritePatternSet &patterns) {
  patterns.add<DispatchLowering>(patterns.getContext());
}
