//===- RowGather.h - Rows of a matrix, picked by indices ---------*- C++
//-*-===//
//
// `result[m, k] = matrix[f(indices[m]), k]`, written as a linalg.generic that
// reads the matrix in its payload: before bufferization by tensor.extract,
// behind it by memref.load. A kernel that takes the rows from where they are
// need not store them side by side.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_ROWGATHER_H
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_ROWGATHER_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"

namespace mlir::omnimoe {

struct RowGather {
  linalg::GenericOp op;
  Operation *read; ///< of an element of `matrix`, in the payload
  Value matrix, indices;
  Value row;    ///< of the matrix, in the payload
  Value isRead; ///< in the payload, if there are zeros where it is false
};

/// `op` as such a gather, or nothing.
std::optional<RowGather> matchRowGather(Operation *op);

/// Emits the payload's row for `index`, and whether its elements are those of
/// the matrix (null if they always are).
std::pair<Value, Value> emitGatheredRow(OpBuilder &builder,
                                        const RowGather &gather, Value index);

} // namespace mlir::omnimoe

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_ROWGATHER_H
