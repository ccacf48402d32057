//===- TileQueue.cpp - Tiles handed out as blocks ask for them ------------===//

#include "TileQueue.h"

#include "DevicePointer.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// A tile that is being taken, and the one after it.
static constexpr int64_t kTold = 2;

TileQueue::TileQueue(KernelBuilder &k, gpu::LaunchOp launch, Value counter,
                     int64_t clusterBlocks)
    : k(k), ring(k, launch, kTold, clusterBlocks), clusterBlocks(clusterBlocks),
      counter(counter) {
  auto space =
      gpu::AddressSpaceAttr::get(k.getContext(), gpu::AddressSpace::Workgroup);
  numbers = launch.addWorkgroupAttribution(
      MemRefType::get({kTold}, k.getI32Type(), MemRefLayoutAttrInterface(),
                      space),
      k.getLoc());
  blocks = k.toI32(launch.getGridSize().x);
  isFirstBlock =
      k.compare(arith::CmpIPredicate::eq, launch.getBlockIds().z, k.index(0));
}

Value TileQueue::ask(Value asks) {
  return k
      .branch(
          k.getI32Type(), clusterBlocks > 1 ? k.both(asks, isFirstBlock) : asks,
          [&]() -> SmallVector<Value> {
            Value before = LLVM::AtomicRMWOp::create(
                k, LLVM::AtomicBinOp::add, getPointer(k, counter, kGlobalSpace),
                k.i32(1), LLVM::AtomicOrdering::monotonic, "device");
            return {k.add(before, blocks)};
          },
          [&]() -> SmallVector<Value> { return {k.i32(0)}; })
      .front();
}

void TileQueue::tell(RingPosition at, Value asks, Value ticket) {
  k.when(asks, [&] {
    if (clusterBlocks > 1)
      return tellCluster(at, ticket);
    Value parity = arith::XOrIOp::create(k, at.parity, k.i32(1));
    ring.waitEmpty({at.stage, parity});
    k.store(ticket, numbers, k.toIndex(at.stage));
    ring.fill(at.stage, Value());
  });
}

/// Each block expects the number, and the first one sends it when the warps of
/// all blocks have taken the one before.
void TileQueue::tellCluster(RingPosition at, Value ticket) {
  Value barrier = ring.expect(at.stage, sizeof(int32_t));
  k.when(isFirstBlock, [&] {
    Value parity = arith::XOrIOp::create(k, at.parity, k.i32(1));
    ring.waitEmpty({at.stage, parity});
    Value number = movePointer(k, getPointer(k, numbers, kSharedSpace),
                               k.getI32Type(), at.stage);
    for (int64_t block = 0; block < clusterBlocks; ++block)
      NVVM::InlinePtxOp::create(
          k, TypeRange{},
          ValueRange{getPlaceInBlock(k, number, k.i32(block)), ticket,
                     getPlaceInBlock(k, barrier, k.i32(block))},
          ValueRange{},
          "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [$0], $1, "
          "[$2];",
          Value());
  });
}

Value TileQueue::take(RingPosition at, Value isFirstLane) {
  ring.waitFull(at);
  Value number = k.load(numbers, k.toIndex(at.stage));
  NVVM::SyncWarpOp::create(k, k.i32(-1));
  if (clusterBlocks > 1)
    ring.releaseToBlock(at.stage, k.i32(0), isFirstLane);
  else
    ring.release(at.stage, isFirstLane);
  return number;
}
