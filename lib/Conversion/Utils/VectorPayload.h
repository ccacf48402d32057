//===- VectorPayload.h - Element-wise payloads on vectors --------*- C++
//-*-===//
//
// The payload of a linalg operation says what happens to one element of each
// operand. Where its operations mean the same on vectors, it can be cloned with
// every scalar turned into a vector of neighbours along the last loop.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_UTILS_VECTORPAYLOAD_H
#define OMNIMOE_LIB_CONVERSION_UTILS_VECTORPAYLOAD_H

#include "Utils/KernelBuilder.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/IRMapping.h"

namespace mlir::omnimoe {

/// How an operand takes part in the innermost loop.
enum class Access {
  Vector,   ///< its last dimension is the last loop, and contiguous
  Broadcast ///< it does not depend on the last loop, or is a scalar
};

struct VectorOperand {
  Value memref; // or a scalar
  AffineMap map;
  Access access;
};

/// Classifies an operand, or fails if a vector of it cannot be loaded at once.
FailureOr<VectorOperand> classifyOperand(linalg::LinalgOp op,
                                         OpOperand &operand);

/// The lengths of the loops, each read off an operand that has it.
SmallVector<Value> getLoopLengths(KernelBuilder &k, linalg::LinalgOp op,
                                  ArrayRef<VectorOperand> operands);

/// Where an operand is accessed in the iteration `ivs`, one for each loop that
/// it depends on.
SmallVector<Value> getIndices(KernelBuilder &k, const VectorOperand &operand,
                              ArrayRef<Value> ivs);

/// True if every operation of the payload means the same on vectors.
bool hasVectorPayload(linalg::LinalgOp op);

/// Clones the payload on vectors of `lanes` and returns what it yields.
/// `mapping` has the vectors of the block's arguments.
SmallVector<Value> clonePayloadOnVectors(KernelBuilder &k, Block *payload,
                                         IRMapping &mapping, int64_t lanes);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_UTILS_VECTORPAYLOAD_H
