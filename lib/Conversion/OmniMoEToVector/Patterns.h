//===- Patterns.h - From omnimoe ops to loops and vectors -------*- C++ -*-===//
//
// Each function adds the lowering of one operation on memrefs. The emitted code
// is sequential: the loop over tiles of tokens that runs in parallel already
// stands around the operation.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOVECTOR_PATTERNS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOVECTOR_PATTERNS_H

#include "mlir/IR/PatternMatch.h"

namespace mlir::omnimoe {

/// Emits an error if `op` is an operation of this dialect on memrefs that the
/// patterns below cannot lower.
LogicalResult checkVectorPreconditions(Operation *op);

/// `omnimoe.route` to arith, memref, scf and vector.
/// `vectorBits` is the width of a vector register.
void populateRouteToVectorPatterns(RewritePatternSet &patterns,
                                   int64_t vectorBits);

/// `omnimoe.partition` to arith, memref and scf.
void populatePartitionToVectorPatterns(RewritePatternSet &patterns);

/// `omnimoe.dispatch` to arith, memref and scf.
void populateDispatchToVectorPatterns(RewritePatternSet &patterns);

/// `grouped_matmul` and `combine to_tokens` where each token streams its own
/// vectors.
void populateTokenCentricPatterns(RewritePatternSet &patterns,
                                  int64_t vectorBits);

/// `combine to_experts`, expert by expert or pair by pair.
void populateSumsToExpertsPatterns(RewritePatternSet &patterns,
                                   int64_t vectorBits);

/// `grouped_matmul` and `combine to_tokens` as matrix products of blocks: with
/// a dispatch, or with the dense schedule.
void populateBlockProductPatterns(RewritePatternSet &patterns,
                                  int64_t vectorBits);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOVECTOR_PATTERNS_H
