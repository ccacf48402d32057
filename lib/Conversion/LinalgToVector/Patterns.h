//===- Patterns.h - Lowering of linalg ops to vector loops -------*- C++
//-*-===//

#ifndef OMNIMOE_LIB_CONVERSION_LINALGTOVECTOR_PATTERNS_H
#define OMNIMOE_LIB_CONVERSION_LINALGTOVECTOR_PATTERNS_H

#include "mlir/IR/PatternMatch.h"

namespace mlir::omnimoe {

/// Register-blocked kernels for `linalg.matmul`.
void populateMatmulToVectorPatterns(RewritePatternSet &patterns,
                                    int64_t vectorBits);

/// Square blocks in registers for two-dimensional `linalg.transpose`.
void populateTransposeToVectorPatterns(RewritePatternSet &patterns,
                                       int64_t vectorBits);

/// Masked vectors along the last loop for element-wise operations, fills and
/// reductions along the last loop.
void populateElementwiseToVectorPatterns(RewritePatternSet &patterns,
                                         int64_t vectorBits);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_LINALGTOVECTOR_PATTERNS_H
