//===- DevicePointer.cpp - Pointers to the memory of buffers --------------===//

#include "DevicePointer.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;

static Value toI64(KernelBuilder &k, Value index) {
  return arith::IndexCastOp::create(k, k.getI64Type(), index);
}

Value mlir::omnimoe::getPointer(KernelBuilder &k, Value memref,
                                unsigned space) {
  auto type = cast<MemRefType>(memref.getType());
  Value address = memref::ExtractAlignedPointerAsIndexOp::create(k, memref);
  Value pointer = LLVM::IntToPtrOp::create(
      k, LLVM::LLVMPointerType::get(k.getContext(), space), toI64(k, address));
  if (type.getLayout().isIdentity())
    return pointer;
  Value offset =
      memref::ExtractStridedMetadataOp::create(k, memref).getOffset();
  return movePointer(k, pointer, type.getElementType(), offset);
}

Value mlir::omnimoe::movePointer(KernelBuilder &k, Value pointer,
                                 Type elementType, Value index) {
  if (isa<IndexType>(index.getType()))
    index = toI64(k, index);
  return LLVM::GEPOp::create(k, pointer.getType(), elementType, pointer,
                             ArrayRef<LLVM::GEPArg>{index});
}

Value mlir::omnimoe::getDynamicSharedMemory(KernelBuilder &k) {
  auto space =
      gpu::AddressSpaceAttr::get(k.getContext(), gpu::AddressSpace::Workgroup);
  return gpu::DynamicSharedMemoryOp::create(
      k, MemRefType::get({ShapedType::kDynamic}, k.getI8Type(),
                         MemRefLayoutAttrInterface(), space));
}

Value mlir::omnimoe::getAlignedSharedMemory(KernelBuilder &k,
                                            int64_t alignment) {
  Value shared = getDynamicSharedMemory(k);
  Value address = LLVM::PtrToIntOp::create(k, k.getI64Type(),
                                           getPointer(k, shared, kSharedSpace));
  address = arith::AndIOp::create(k, k.add(address, alignment - 1),
                                  k.integer(k.getI64Type(), -alignment));
  return LLVM::IntToPtrOp::create(
      k, LLVM::LLVMPointerType::get(k.getContext(), kSharedSpace), address);
}
