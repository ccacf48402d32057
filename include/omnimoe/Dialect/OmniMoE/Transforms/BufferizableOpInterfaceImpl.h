//===- BufferizableOpInterfaceImpl.h - Bufferization -------------*- C++
//-*-===//

#ifndef OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_BUFFERIZABLEOPINTERFACEIMPL_H
#define OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_BUFFERIZABLEOPINTERFACEIMPL_H

namespace mlir {
class DialectRegistry;
namespace omnimoe {
/// Lets one-shot bufferization handle the operations of the dialect.
void registerBufferizableOpInterfaceExternalModels(DialectRegistry &registry);
} // namespace omnimoe
} // namespace mlir

#endif // OMNIMOE_DIALECT_OMNIMOE_TRANSFORMS_BUFFERIZABLEOPINTERFACEIMPL_H
