//===- Partition.cpp - omnimoe.partition to loops -------------------------===//
//
// For each token: count the pairs of each group, give every pair to the part
// that its count says, and take the counts back.
//
//===----------------------------------------------------------------------===//

#include "Patterns.h"
#include "Utils/ExpertVectors.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;

namespace {
struct PartitionLowering : OpRewritePattern<PartitionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(PartitionOp op,
                                PatternRewriter &rewriter) const override {
    if (!isa<MemRefType>(op.getExperts().getType()))
      return rewriter.notifyMatchFailure(op, "operands must be memrefs");
    KernelBuilder k(op.getLoc(), rewriter);
    int64_t groups = op.getNumGroups();
    Scratch scratch;
    unsigned buffer = scratch.reserve(k.getI32Type(), groups);
    scratch.allocate(k);
    Value counts = scratch[buffer], zero = k.index(0), none = k.i32(-1);
    k.loop(zero, k.index(groups), 1,
           [&](Value group) { k.store(k.i32(0), counts, group); });
    Value tokens = memref::DimOp::create(k, op.getExperts(), 0);
    k.loop(zero, tokens, 1, [&](Value token) {
      /// Runs `body` with each pair's place and group. Pairs without an expert
      /// share the group of expert 0; `known` tells them.
      auto forEachPair =
          [&](llvm::function_ref<void(Value, Value, ExpertRow)> body) {
            k.loop(zero, k.index(op.getTopK()), 1, [&](Value choice) {
              ExpertRow expert = loadExpertRow(k, op.getExperts(), token,
                                               choice, op.getNumExperts(), 1);
              body(choice,
                   arith::DivUIOp::create(k, expert.row,
                                          k.index(op.getGroupSize())),
                   expert);
            });
          };
      forEachPair([&](Value, Value group, ExpertRow expert) {
        Value one = arith::ExtUIOp::create(k, k.getI32Type(), expert.valid);
        k.store(k.add(k.load(counts, group), one), counts, group);
      });
      forEachPair([&](Value choice, Value group, ExpertRow expert) {
        Value isCrowded =
            k.compare(arith::CmpIPredicate::uge, k.load(counts, group),
                      k.i32(op.getMinPairs()));
        Value id = k.choose(expert.valid, k.toI32(expert.row), none);
        k.store(k.choose(isCrowded, id, none), op.getCrowded(),
                {token, choice});
        k.store(k.choose(isCrowded, none, id), op.getRest(), {token, choice});
      });
      forEachPair([&](Value, Value group, ExpertRow) {
        k.store(k.i32(0), counts, group);
      });
    });
    scratch.release(k);
    rewriter.eraseOp(op);
    return success();
  }
};
} // namespace

void omnimoe::populatePartitionToVectorPatterns(RewritePatternSet &patterns) {
  patterns.add<PartitionLowering>(patterns.getContext());
}
