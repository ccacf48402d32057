//===- DevicePointer.h - Pointers to the memory of buffers -------*- C++
//-*-===//
//
// The GPU's own instructions, such as asynchronous copies and loads of matrix
// fragments, take pointers.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_DEVICEPOINTER_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_DEVICEPOINTER_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// Address spaces of NVIDIA GPUs.
inline constexpr unsigned kGlobalSpace = 1;
inline constexpr unsigned kSharedSpace = 3;
inline constexpr unsigned kSharedClusterSpace = 7;

/// A pointer to the first element of `memref`, which lies in `space`.
Value getPointer(KernelBuilder &k, Value memref, unsigned space);

/// `pointer` moved on by `index` elements of `elementType`.
Value movePointer(KernelBuilder &k, Value pointer, Type elementType,
                  Value index);

/// The dynamic shared memory of the kernel that is being built, as bytes.
Value getDynamicSharedMemory(KernelBuilder &k);

/// A pointer to that memory, moved on to a multiple of `alignment`: up to so
/// many bytes are lost.
Value getAlignedSharedMemory(KernelBuilder &k, int64_t alignment);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_DEVICEPOINTER_H
