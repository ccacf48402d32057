//===- ExpertVectors.h - Rows of expert vectors ------------------*- C++
//-*-===//
//
// Atomic and wide experts look alike to the kernels: vectors [N, D] or
// [N, r, D] are rows [N * r, D], values per pair [T, K] or [T, K, r] are
// columns [T, K * r], and column q of a token belongs to its choice q / r and
// to row id * r + q % r.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_UTILS_EXPERTVECTORS_H
#define OMNIMOE_LIB_CONVERSION_UTILS_EXPERTVECTORS_H

#include "Utils/KernelBuilder.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {

/// [N, r, D] as [N * r, D]; [N, D] as it is.
Value collapseExperts(KernelBuilder &k, Value vectors);
/// [T, K, r] as [T, K * r]; [T, K] as it is.
Value collapsePairs(KernelBuilder &k, Value values);

/// A row of expert vectors and whether the pair's id is one of an expert. Rows
/// of others are row 0, so that reading them is harmless.
struct ExpertRow {
  Value row;
  Value valid;
};

/// The row of column `column` of token `token`.
ExpertRow loadExpertRow(KernelBuilder &k, Value experts, Value token,
                        Value column, int64_t numExperts, int64_t width);

/// A vector of `type` from `memref`, widened to f32. Lanes outside of `mask`
/// are zero and not read; without a mask all are read.
Value loadWide(KernelBuilder &k, VectorType type, Value memref,
               ValueRange indices, Value mask = nullptr);

/// Calls `body(d, mask)` for every vector of [0, hiddenSize); the mask is null
/// but for a last partial vector.
void forEachVector(KernelBuilder &k, int64_t hiddenSize, int64_t lanes,
                   llvm::function_ref<void(Value d, Value mask)> body);

/// The same, carrying values along.
SmallVector<Value>
forEachVector(KernelBuilder &k, int64_t hiddenSize, int64_t lanes,
              ValueRange inits,
              llvm::function_ref<SmallVector<Value>(Value d, Value mask,
                                                    ValueRange carried)>
                  body);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_UTILS_EXPERTVECTORS_H
