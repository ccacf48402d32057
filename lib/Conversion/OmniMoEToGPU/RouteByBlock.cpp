//===- RouteByBlock.cpp - The router, a block to a token ------------------===//
//
// For shapes that a warp cannot hold. Axes are sorted in shared memory, the
// winners there or, if they are many, in the results themselves.
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "Route.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// Loads an axis and sorts it: higher first, lower index first among equals.
static void emitSortAxis(KernelBuilder &k, ThreadTeam &team, Value logits,
                         Value token, Value values, Value ids, int64_t count) {
  team.forEach(k.i32(count), [&](Value i) {
    Value at = k.toIndex(i);
    k.store(emitCleanLogit(k, k.load(logits, {token, at})), values, at);
    k.store(i, ids, at);
  });
  team.sync();
  sortInMemory(
      k, team, values, ids, count,
      [&](Value value, Value id, Value other, Value otherId) {
        Value higher =
            arith::CmpFOp::create(k, arith::CmpFPredicate::OGT, value, other);
        Value equal =
            arith::CmpFOp::create(k, arith::CmpFPredicate::OEQ, value, other);
        Value before = k.compare(arith::CmpIPredicate::slt, id, otherId);
        return k.either(higher, k.both(equal, before));
      });
}

void omnimoe::emitRouteByBlock(KernelBuilder &k, RouteOp op,
                               const RoutePlan &plan, Value threadId) {
  auto launch = op->getParentOfType<gpu::LaunchOp>();
  auto shared = [&](int64_t count, Type element) -> Value {
    auto space = gpu::AddressSpaceAttr::get(k.getContext(),
                                            gpu::AddressSpace::Workgroup);
    auto type =
        MemRefType::get({count}, element, MemRefLayoutAttrInterface(), space);
    return launch.addWorkgroupAttribution(type, op.getLoc());
  };
  Type f32 = k.getF32Type(), i32 = k.getI32Type();
  SortedAxes axes{shared(plan.numRows, f32), shared(plan.numRows, i32),
                  shared(plan.numCols, f32), shared(plan.numCols, i32)};
  ThreadTeam team(k, k.toI32(threadId), plan.threads,
                  shared(plan.threads / kWarp, i32));
  Value sums, pairs;
  if (!plan.inPlace) {
    sums = shared(plan.topK, f32);
    pairs = shared(plan.topK, i32);
  }

  Value tokens = memref::DimOp::create(k, op.getScores(), 0);
  k.loop(k.index(0), tokens, 1, [&](Value token) {
    emitSortAxis(k, team, op.getRowLogits(), token, axes.rowValues, axes.rowIds,
                 plan.numRows);
    emitSortAxis(k, team, op.getColLogits(), token, axes.colValues, axes.colIds,
                 plan.numCols);
    RouteCandidates candidates(k, plan, team, axes);
    Value scores =
        emitPart(k, op.getScores(), token, k.getIndexAttr(0), plan.topK);
    Value experts =
        emitPart(k, op.getExperts(), token, k.getIndexAttr(0), plan.topK);
    emitExactChoice(k, plan, team, candidates, axes,
                    {candidates.lowerBound(), k.i32(-1)},
                    plan.inPlace ? scores : sums,
                    plan.inPlace ? experts : pairs, scores, experts);
  });
}
