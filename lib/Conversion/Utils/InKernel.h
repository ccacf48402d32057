//===- InKernel.h - What runs on a GPU --------------------------*- C++ -*-===//

#ifndef OMNIMOE_LIB_CONVERSION_UTILS_INKERNEL_H
#define OMNIMOE_LIB_CONVERSION_UTILS_INKERNEL_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace mlir::omnimoe {

/// True for operations of a kernel, outlined or not.
inline bool isInKernel(Operation *op) {
  return op->getParentOfType<gpu::LaunchOp>() ||
         op->getParentOfType<gpu::GPUModuleOp>();
}

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_UTILS_INKERNEL_H
