//===- Passes.h - Passes on the omnimoe dialect ------------------*- C++
//-*-===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PASSES_H
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Pass/Pass.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"

namespace mlir::omnimoe {

#define GEN_PASS_DECL
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "omnimoe/Dialect/OmniMoE/Transforms/Passes.h.inc"

} // namespace mlir::omnimoe

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_PASSES_H
