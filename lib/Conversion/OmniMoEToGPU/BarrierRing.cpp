//===- BarrierRing.cpp - A ring of stages between producer and consumers --===//

#include "BarrierRing.h"

#include "DevicePointer.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace mlir::omnimoe;

static constexpr int64_t kFull = 0, kEmpty = 1;

Value mlir::omnimoe::getPlaceInBlock(KernelBuilder &k, Value place,
                                     Value block) {
  auto type = LLVM::LLVMPointerType::get(k.getContext(), kSharedClusterSpace);
  return NVVM::MapaOp::create(k, type, place, block);
}

BarrierRing::BarrierRing(KernelBuilder &k, gpu::LaunchOp launch, int64_t stages,
                         int64_t blocks)
    : k(k), stages(stages), blocks(blocks) {
  auto space =
      gpu::AddressSpaceAttr::get(k.getContext(), gpu::AddressSpace::Workgroup);
  barriers = launch.addWorkgroupAttribution(
      MemRefType::get({2 * stages}, k.getI64Type(), MemRefLayoutAttrInterface(),
                      space),
      k.getLoc());
  barriers = getPointer(k, barriers, kSharedSpace);
}

Value BarrierRing::getBarrier(int64_t kind, Value stage) {
  return movePointer(k, barriers, k.getI64Type(), k.add(stage, kind * stages));
}

void BarrierRing::emitInit(int64_t consumers, int64_t producers) {
  for (int64_t stage = 0; stage < stages; ++stage) {
    NVVM::MBarrierInitOp::create(k, getBarrier(kFull, k.i32(stage)),
                                 k.i32(producers), Value());
    NVVM::MBarrierInitOp::create(k, getBarrier(kEmpty, k.i32(stage)),
                                 k.i32(blocks * consumers), Value());
  }
  NVVM::FenceMbarrierInitOp::create(k);
}

RingPosition BarrierRing::advance(RingPosition position) {
  Value next = k.add(position.stage, 1);
  Value closes = k.compare(arith::CmpIPredicate::eq, next, k.i32(stages));
  Value flip = arith::ExtUIOp::create(k, k.getI32Type(), closes);
  return {k.choose(closes, k.i32(0), next),
          arith::XOrIOp::create(k, position.parity, flip)};
}

void BarrierRing::wait(Value barrier, Value parity) {
  k.loopWhile(
      ValueRange{},
      [&](ValueRange) -> Value {
        Value done = NVVM::MBarrierTryWaitOp::create(k, k.getI1Type(), barrier,
                                                     parity, Value());
        return arith::XOrIOp::create(k, done, k.integer(k.getI1Type(), 1));
      },
      [](ValueRange) { return SmallVector<Value>(); });
}

void BarrierRing::waitEmpty(RingPosition position) {
  wait(getBarrier(kEmpty, position.stage), position.parity);
}

void BarrierRing::waitFull(RingPosition position) {
  wait(getBarrier(kFull, position.stage), position.parity);
}

Value BarrierRing::expect(Value stage, int64_t bytes) {
  Value barrier = getBarrier(kFull, stage);
  NVVM::MBarrierArriveExpectTxOp::create(k, Type(), barrier, k.i32(bytes),
                                         NVVM::MemScopeKind::CTA,
                                         /*relaxed=*/false, Value());
  return barrier;
}

void BarrierRing::arrive(Value barrier, Value predicate, int64_t count) {
  NVVM::InlinePtxOp::create(
      k, TypeRange{}, ValueRange{barrier, k.i32(count)}, ValueRange{},
      "mbarrier.arrive.release.cta.shared::cta.b64 _, [$0], $1;", predicate);
}

void BarrierRing::fill(Value stage, Value predicate, int64_t producers) {
  arrive(getBarrier(kFull, stage), predicate, producers);
}

void BarrierRing::fillWhenCopied(Value stage) {
  NVVM::CpAsyncMBarrierArriveOp::create(k, getBarrier(kFull, stage),
                                        /*noinc=*/true);
}

void BarrierRing::release(Value stage, Value predicate) {
  arrive(getBarrier(kEmpty, stage), predicate);
}

/// At the scope of the block, since nothing but reads of its own memory comes
/// before; at that of the cluster it would wait for all stores under way.
void BarrierRing::releaseToBlock(Value stage, Value block, Value predicate) {
  Value barrier = getPlaceInBlock(k, getBarrier(kEmpty, stage), block);
  NVVM::InlinePtxOp::create(
      k, TypeRange{}, ValueRange{barrier}, ValueRange{},
      "mbarrier.arrive.release.cta.shared::cluster.b64 _, [$0];", predicate);
}

void BarrierRing::releaseToCluster(Value stage, Value lane) {
  releaseToBlock(stage, lane,
                 k.compare(arith::CmpIPredicate::ult, lane, k.i32(blocks)));
}
