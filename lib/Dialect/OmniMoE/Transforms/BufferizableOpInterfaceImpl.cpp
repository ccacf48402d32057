//===- BufferizableOpInterfaceImpl.cpp - Bufferization --------------------===//

#include "omnimoe/Dialect/OmniMoE/Transforms/BufferizableOpInterfaceImpl.h"

#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

using namespace mlir;
using namespace mlir::omnimoe;
using namespace mlir::bufferization;

namespace {
/// Every operation is destination-passing: the destination's buffer is the
/// result's, and the operation is rebuilt on memrefs.
template <typename OpTy, bool readsDestinations>
struct DpsInterface : DstBufferizableOpInterfaceExternalModel<
                          DpsInterface<OpTy, readsDestinations>, OpTy> {
  bool bufferizesToMemoryRead(Operation *op, OpOperand &operand,
                              const bufferization::AnalysisState &) const {
    return readsDestinations ||
           !cast<DestinationStyleOpInterface>(op).isDpsInit(&operand);
  }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &options,
                          BufferizationState &state) const {
    auto dps = cast<DestinationStyleOpInterface>(op);
    if (dps.hasPureBufferSemantics())
      return success();
    SmallVector<Value> buffers;
    for (Value operand : op->getOperands()) {
      FailureOr<Value> buffer = getBuffer(rewriter, operand, options, state);
      if (failed(buffer))
        return op->emitOpError("has an operand that could not be bufferized");
      buffers.push_back(*buffer);
    }
    rewriter.setInsertionPoint(op);
    mlir::clone(rewriter, op, /*newResultTypes=*/TypeRange(), buffers);
    SmallVector<Value> results;
    for (OpOperand &init : dps.getDpsInitsMutable())
      results.push_back(buffers[init.getOperandNumber()]);
    replaceOpWithBufferizedValues(rewriter, op, results);
    return success();
  }
};
} // namespace

void mlir::omnimoe::registerBufferizableOpInterfaceExternalModels(
    DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, OmniMoEDialect *) {
    RouteOp::attachInterface<DpsInterface<RouteOp, false>>(*context);
    PartitionOp::attachInterface<DpsInterface<PartitionOp, false>>(*context);
    DispatchOp::attachInterface<DpsInterface<DispatchOp, false>>(*context);
    GroupedMatmulOp::attachInterface<DpsInterface<GroupedMatmulOp, false>>(
        *context);
    CombineOp::attachInterface<DpsInterface<CombineOp, true>>(*context);
  });
}
