//===- NVIDIA.h - What is known of NVIDIA's chips ----------------*- C++
//-*-===//

#ifndef OMNIMOE_TARGET_NVIDIA_H
#define OMNIMOE_TARGET_NVIDIA_H

#include "mlir/Support/LLVM.h"

namespace mlir {
class MLIRContext;
} // namespace mlir

namespace mlir::omnimoe {

class TargetAttr;

/// `#omnimoe.target` of a chip such as `sm_90a`, or null if it is not one that
/// code can be generated for.
TargetAttr getNVIDIATarget(MLIRContext *context, StringRef chip);

/// The chips that `getNVIDIATarget` knows.
ArrayRef<StringRef> getNVIDIAChips();

} // namespace mlir::omnimoe

#endif // OMNIMOE_TARGET_NVIDIA_H
