//===- Passes.h - Conversions out of the dialect ----------------*- C++ -*-===//

#ifndef OMNIMOE_CONVERSION_PASSES_H
#define OMNIMOE_CONVERSION_PASSES_H

#include "mlir/Pass/Pass.h"

namespace mlir::omnimoe {

/// Marks a kernel that waits for its predecessor by itself, and its launches,
/// which may then begin while the predecessor ends.
inline constexpr llvm::StringLiteral kOverlapsAttrName = "omnimoe.overlaps";

#define GEN_PASS_DECL
#include "omnimoe/Conversion/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "omnimoe/Conversion/Passes.h.inc"

} // namespace mlir::omnimoe

#endif // OMNIMOE_CONVERSION_PASSES_H
