//===- Passes.h - Conversions out of the dialect ----------------*- C++ -*-===//

#ifndef OMNIMOE_CONVERSION_PASSES_H
#define OMNIMOE_CONVERSION_PASSES_H

#include "mlir/Pass/Pass.h"

namespace mlir::omnimoe {

/// Marks a kernel that waits for its predecessor by itself, and its launches,
/// which may then begin while the predecessor ends.
inline constexpr llvm::StringLiteral kOverlapsAttrName = "omnimoe.overlaps";

/// On a loop of a kernel whose threads are worth 64 registers each, as for
/// several rows of memory under way, rather than twice the warps.
inline constexpr llvm::StringLiteral kKeepsRegistersAttrName =
    "omnimoe.keeps_registers";

/// The runtime's functions that put work on streams, as programs call them.
inline constexpr llvm::StringLiteral kForkFunction = "omnimoe_gpu_fork";
inline constexpr llvm::StringLiteral kSelectStreamFunction =
    "omnimoe_gpu_select_stream";
inline constexpr llvm::StringLiteral kWaitForStreamFunction =
    "omnimoe_gpu_wait_for_stream";

#define GEN_PASS_DECL
#include "omnimoe/Conversion/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "omnimoe/Conversion/Passes.h.inc"

} // namespace mlir::omnimoe

#endif // OMNIMOE_CONVERSION_PASSES_H
