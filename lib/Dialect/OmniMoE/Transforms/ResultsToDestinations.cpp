//===- ResultsToDestinations.cpp - The caller gives results memory --------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

namespace mlir::omnimoe {
#define GEN_PASS_DEF_RESULTSTODESTINATIONSPASS
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"
} // namespace mlir::omnimoe

using namespace mlir;
using namespace mlir::omnimoe;

static LogicalResult convertFunction(func::FuncOp function) {
  if (!SymbolTable::symbolKnownUseEmpty(function,
                                        function->getParentOfType<ModuleOp>()))
    return function.emitOpError(
        "is an entry point and called by the program itself");
  auto returns = llvm::to_vector(function.getOps<func::ReturnOp>());
  if (returns.size() != 1)
    return function.emitOpError("must have one block to be an entry point");
  func::ReturnOp returnOp = returns.front();
  OpBuilder builder(returnOp);
  function->setAttr("llvm.emit_c_interface",
                    UnitAttr::get(function.getContext()));
  // What the caller passes in is only read.
  for (BlockArgument argument : function.getArguments())
    if (isa<TensorType>(argument.getType()))
      function.setArgAttr(
          argument.getArgNumber(),
          bufferization::BufferizationDialect::kWritableAttrName,
          builder.getBoolAttr(false));
  for (auto [index, result] : llvm::enumerate(returnOp.getOperands())) {
    auto type = dyn_cast<RankedTensorType>(result.getType());
    if (!type)
      return function.emitOpError()
             << "result " << index << " must be a ranked tensor, got "
             << result.getType();
    if (failed(function.insertArgument(
            function.getNumArguments(),
            MemRefType::get(type.getShape(), type.getElementType()),
            /*argAttrs=*/{}, result.getLoc())))
      return failure();
    bufferization::MaterializeInDestinationOp::create(
        builder, result.getLoc(), /*result=*/TypeRange(), result,
        function.getArguments().back(), /*restrict=*/true, /*writable=*/true);
  }
  returnOp.getOperandsMutable().clear();
  llvm::BitVector all(function.getNumResults(), true);
  return function.eraseResults(all);
}

namespace {
struct ResultsToDestinationsPass
    : omnimoe::impl::ResultsToDestinationsPassBase<ResultsToDestinationsPass> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (function.isPublic() && !function.isExternal() &&
          failed(convertFunction(function)))
        return signalPassFailure();
  }
};
} // namespace
