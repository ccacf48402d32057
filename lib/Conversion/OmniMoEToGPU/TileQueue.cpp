//===- TileQueue.cpp - Tiles handed out as blocks ask for them ------------===//

#include "TileQueue.h"

#include "DevicePointer.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;

/// A tile that is being taken, and the one after it.
static constexpr int64_t kTold = 2;

TileQueue::TileQueue(KernelBuilder &k, gpu::LaunchOp launch, Value counter)
    : k(k), ring(k, launch, kTold), counter(counter) {
  auto space =
      gpu::AddressSpaceAttr::get(k.getContext(), gpu::AddressSpace::Workgroup);
  numbers = launch.addWorkgroupAttribution(
      MemRefType::get({kTold}, k.getI32Type(), MemRefLayoutAttrInterface(),
                      space),
      k.getLoc());
  blocks = k.toI32(launch.getGridSize().x);
}

Value TileQueue::ask(Value asks) {
  return k
      .branch(
          k.getI32Type(), asks,
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
    Value parity = arith::XOrIOp::create(k, at.parity, k.i32(1));
    ring.waitEmpty({at.stage, parity});
    k.store(ticket, numbers, k.toIndex(at.stage));
    ring.fill(at.stage, Value());
  });
}

Value TileQueue::take(RingPosition at, Value isFirstLane) {
  ring.waitFull(at);
  Value number = k.load(numbers, k.toIndex(at.stage));
  NVVM::SyncWarpOp::create(k, k.i32(-1));
  ring.release(at.stage, isFirstLane);
  return number;
}
