//===- Passes.h - Conversions out of the omnimoe dialect ---------*- C++
//-*-===//

#ifndef OMNIMOE_CONVERSION_PASSES_H
#define OMNIMOE_CONVERSION_PASSES_H

#include "mlir/Pass/Pass.h"

namespace mlir::omnimoe {

#define GEN_PASS_DECL
#include "omnimoe/Conversion/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "omnimoe/Conversion/Passes.h.inc"

} // namespace mlir::omnimoe

#endif // OMNIMOE_CONVERSION_PASSES_H
