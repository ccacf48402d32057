//===- Route.cpp - What the parts of the router share ---------------------===//

#include "Route.h"
#include "BlockEmitter.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::omnimoe;

Value omnimoe::emitCleanLogit(KernelBuilder &k, Value logit) {
  // Adding +0 turns -0 into +0 and changes nothing else; of NaN and a number
  // the maximum is the number.
  Value sum = arith::AddFOp::create(k, logit, k.real(k.getF32Type(), 0.0));
  Value lowest =
      k.real(k.getF32Type(), -std::numeric_limits<double>::infinity());
  return LLVM::MaxNumOp::create(k, sum, lowest);
}

Value omnimoe::emitPart(KernelBuilder &k, Value memref, Value row,
                        OpFoldResult offset, int64_t size) {
  auto type = cast<MemRefType>(memref.getType());
  SmallVector<OpFoldResult> offsets = {row, offset};
  SmallVector<OpFoldResult> sizes = {k.getIndexAttr(1), k.getIndexAttr(size)};
  SmallVector<OpFoldResult> strides(2, k.getIndexAttr(1));
  MemRefType partType = memref::SubViewOp::inferRankReducedResultType(
      {size}, type, offsets, sizes, strides);
  return memref::SubViewOp::create(k, partType, memref, offsets, sizes,
                                   strides);
}

Value omnimoe::emitTable(KernelBuilder &k, StringRef name,
                         ArrayRef<int32_t> data) {
  auto type = MemRefType::get({int64_t(data.size())}, k.getI32Type());
  auto values = DenseElementsAttr::get(
      RankedTensorType::get(type.getShape(), k.getI32Type()), data);
  auto module =
      k.getInsertionBlock()->getParentOp()->getParentOfType<ModuleOp>();
  for (auto global : module.getOps<memref::GlobalOp>())
    if (global.getConstant() && global.getInitialValue() == values)
      return memref::GetGlobalOp::create(k, type, global.getSymName());
  unsigned counter = 0;
  auto unique = SymbolTable::generateSymbolName<32>(
      name, [&](StringRef candidate) { return module.lookupSymbol(candidate); },
      counter);
  {
    OpBuilder::InsertionGuard guard(k);
    k.setInsertionPointToStart(module.getBody());
    memref::GlobalOp::create(k, unique, k.getStringAttr("private"), type,
                             values, /*constant=*/true,
                             /*alignment=*/IntegerAttr());
  }
  return memref::GetGlobalOp::create(k, type, unique);
}
