//===- ClusterParts.cpp - Sums that the blocks of a cluster share ---------===//

#include "ClusterParts.h"

#include "DevicePointer.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace mlir::omnimoe;

void mlir::omnimoe::meetInCluster(KernelBuilder &k) {
  NVVM::ClusterArriveOp::create(k, /*aligned=*/UnitAttr());
  NVVM::ClusterWaitOp::create(k, /*aligned=*/UnitAttr());
}

void mlir::omnimoe::leaveCluster(KernelBuilder &k) {
  NVVM::ClusterArriveRelaxedOp::create(k, /*aligned=*/UnitAttr());
  NVVM::ClusterWaitOp::create(k, /*aligned=*/UnitAttr());
}

/// Threads that follow one another have their values of one number side by
/// side.
static Value getPlace(KernelBuilder &k, Value buffer, Value number,
                      Value thread, int64_t threads) {
  return movePointer(k, buffer, k.getF32Type(),
                     k.add(k.mul(number, threads), thread));
}

void mlir::omnimoe::storePart(KernelBuilder &k, ValueRange values, Value buffer,
                              Value thread, int64_t threads) {
  for (auto [number, value] : llvm::enumerate(values))
    LLVM::StoreOp::create(k, value,
                          getPlace(k, buffer, k.i32(number), thread, threads));
}

SmallVector<Value> mlir::omnimoe::addParts(KernelBuilder &k, Value buffer,
                                           Value thread, int64_t threads,
                                           int64_t parts, Value first,
                                           int64_t count) {
  Type f32 = k.getF32Type();
  auto remoteType =
      LLVM::LLVMPointerType::get(k.getContext(), kSharedClusterSpace);
  Value place = getPlace(k, buffer, first, thread, threads);
  SmallVector<Value> sums(count);
  for (int64_t part = 0; part < parts; ++part) {
    Value remote = NVVM::MapaOp::create(k, remoteType, place, k.i32(part));
    for (auto [number, sum] : llvm::enumerate(sums)) {
      Value at = movePointer(k, remote, f32, k.i32(number * threads));
      Value value = LLVM::LoadOp::create(k, f32, at);
      sum = sum ? arith::AddFOp::create(k, sum, value).getResult() : value;
    }
  }
  return sums;
}
