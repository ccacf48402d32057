//===- OmniMoE.h - The omnimoe dialect ---------------------------*- C++
//-*-===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOE_H
#define OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOE_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/TilingInterface.h"
#include "omnimoe/Dialect/OmniMoE/IR/GroupLayout.h"

#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEDialect.h.inc"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEAttrs.h.inc"

#define GET_OP_CLASSES
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoEOps.h.inc"

#endif // OMNIMOE_DIALECT_OMNIMOE_IR_OMNIMOE_H
