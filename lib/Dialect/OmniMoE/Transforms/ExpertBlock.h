//===- ExpertBlock.h - What is scheduled together ---------------*- C++ -*-===//

#ifndef OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_EXPERTBLOCK_H
#define OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_EXPERTBLOCK_H

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "llvm/ADT/SetVector.h"

namespace mlir::omnimoe {

/// A combine to tokens with what feeds it and the element-wise operations that
/// follow, producers first. The last operation either has the block's result or
/// writes it to where the caller wants it.
struct ExpertBlock {
  CombineOp combine;
  /// The first, and those that a kernel of a GPU can take together with it.
  SmallVector<GroupedMatmulOp> matmuls;
  bool gated = false; ///< a second grouped_matmul has a part in coefficients
  SmallVector<Operation *> ops;
  /// What stores the products, as a gradient needs them; null if nothing does.
  Operation *save = nullptr;
  Operation *getLast() const { return ops.back(); }
};

/// `combine` and what feeds its coefficients and nothing else, consumers first.
llvm::SetVector<Operation *> collectProducers(CombineOp combine);

/// True if both multiply the same tokens by tables of wide experts of one type.
bool areGatedProducts(GroupedMatmulOp a, GroupedMatmulOp b);

/// Walks from the combine's coefficients back through element-wise operations
/// to the grouped_matmul on the same experts; with `several`, to all that are
/// gated products with the first.
std::optional<ExpertBlock> matchExpertBlock(CombineOp combine, bool several);

/// True if a kernel of a GPU can keep the products of `block` in registers
/// until they are coefficients: one operation makes these, of the values of a
/// pair.
bool mayFuse(const ExpertBlock &block);

/// True if such a kernel can give the same bits every time.
bool mayBeExact(const ExpertBlock &block);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_EXPERTBLOCK_H
