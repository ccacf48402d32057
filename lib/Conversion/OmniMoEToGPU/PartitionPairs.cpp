//===- PartitionPairs.cpp - Pairs of a token in parts, by a block ---------===//
//
// A token's pairs in crowded groups go expert by expert, the others token by
// token:
//
//   partition      the block counts the pairs of each group in shared memory
//   few pairs      where most pairs of a token have no expert, a warp lists
//                  those that have one, so that the block takes no turns for
//                  the others
//
//===----------------------------------------------------------------------===//

#include "BlockEmitter.h"
#include "ThreadTeam.h"

#include "Utils/ExpertVectors.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "omnimoe/Dialect/OmniMoE/Transforms/CostModel.h"

using namespace mlir;
using namespace mlir::omnimoe;
using arith::CmpIPredicate;

/// Ids that a lane loads at once.
static constexpr int64_t kIdsInFlight = 8;

Value BlockEmitter::allocateShared(Operation *op, ArrayRef<int64_t> shape,
                                   Type type) {
  auto space =
      gpu::AddressSpaceAttr::get(k.getContext(), gpu::AddressSpace::Workgroup);
  return op->getParentOfType<gpu::LaunchOp>().addWorkgroupAttribution(
      MemRefType::get(shape, type, MemRefLayoutAttrInterface(), space),
      op->getLoc());
}

LogicalResult BlockEmitter::emitPartition(PartitionOp op) {
  int64_t groups = op.getNumGroups(), topK = op.getTopK();
  if (groups > kMaxCountedGroups)
    return failure();
  Value counts = allocateShared(op, {groups}, k.getI32Type());
  Value none = k.i32(-1);
  // More than all pairs are as good as any larger number.
  Value limit = k.i32(std::min<int64_t>(op.getMinPairs(), topK + 1));
  Value tokens = memref::DimOp::create(k, op.getExperts(), 0);
  k.loop(k.index(0), tokens, 1, [&](Value token) {
    k.loop(threadId, k.index(groups), threads,
           [&](Value group) { k.store(k.i32(0), counts, group); });
    barrier();
    auto forEachPair =
        [&](llvm::function_ref<void(Value, Value, ExpertRow)> body) {
          k.loop(threadId, k.index(topK), threads, [&](Value choice) {
            ExpertRow expert = loadExpertRow(k, op.getExperts(), token, choice,
                                             op.getNumExperts(), /*width=*/1);
            body(choice,
                 arith::DivUIOp::create(k, expert.row,
                                        k.index(op.getGroupSize())),
                 expert);
          });
          barrier();
        };
    forEachPair([&](Value, Value group, ExpertRow expert) {
      k.when(expert.valid, [&] {
        memref::AtomicRMWOp::create(k, arith::AtomicRMWKind::addi, k.i32(1),
                                    counts, group);
      });
    });
    forEachPair([&](Value choice, Value group, ExpertRow expert) {
      Value isCrowded =
          k.compare(CmpIPredicate::uge, k.load(counts, group), limit);
      Value id = k.choose(expert.valid, k.toI32(expert.row), none);
      k.store(k.choose(isCrowded, id, none), op.getCrowded(), {token, choice});
      k.store(k.choose(isCrowded, none, id), op.getRest(), {token, choice});
    });
  });
  return success();
}

/// The block has a single token, whose list is long: only then is it worth
/// looking through.
bool BlockEmitter::hasFewPairs(Operation *op, Value experts, int64_t width) {
  ArrayRef<int64_t> shape = cast<ShapedType>(experts.getType()).getShape();
  return op->hasAttr(kFewPairsAttrName) && width == 1 && shape[0] == 1 &&
         shape[1] > kMaxVectorsPerBlock;
}

BlockEmitter::PairList BlockEmitter::listPairs(Operation *op, Value experts,
                                               int64_t numExperts) {
  PairList &list = lists[experts];
  if (list.positions)
    return list;
  int64_t topK = cast<ShapedType>(experts.getType()).getDimSize(1);
  list.positions = allocateShared(op, {topK}, k.getI32Type());
  Value length = allocateShared(op, {1}, k.getI32Type());
  k.when(k.compare(CmpIPredicate::ult, threadId, k.index(kWarp)), [&] {
    Value lane = k.toI32(threadId);
    Value lanesBefore =
        k.sub(arith::ShLIOp::create(k, k.i32(1), lane).getResult(), k.i32(1));
    Value total =
        k.loop(k.index(0), k.index(topK), kIdsInFlight * kWarp, {k.i32(0)},
               [&](Value base, ValueRange carried) -> SmallVector<Value> {
                 SmallVector<Value> positions, valid;
                 for (int64_t i = 0; i < kIdsInFlight; ++i) {
                   Value at = k.add(k.add(base, i * kWarp), threadId);
                   Value exists =
                       k.compare(CmpIPredicate::ult, at, k.index(topK));
                   ExpertRow row = loadExpertRow(
                       k, experts, k.index(0), k.choose(exists, at, k.index(0)),
                       numExperts,
                       /*width=*/1);
                   positions.push_back(at);
                   valid.push_back(k.both(exists, row.valid));
                 }
                 Value count = carried.front();
                 for (auto [at, isValid] : llvm::zip(positions, valid)) {
                   Value lanes = ballot(k, isValid);
                   Value place =
                       k.add(count, countBits(k, k.both(lanes, lanesBefore)));
                   k.when(isValid, [&] {
                     k.store(k.toI32(at), list.positions, k.toIndex(place));
                   });
                   count = k.add(count, countBits(k, lanes));
                 }
                 return {count};
               })
            .front();
    k.when(k.compare(CmpIPredicate::eq, threadId, k.index(0)),
           [&] { k.store(total, length, k.index(0)); });
  });
  barrier();
  list.length = k.toIndex(k.load(length, k.index(0)));
  return list;
}
