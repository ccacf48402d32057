//===- GPULaunch.h - Running a compiled program on a GPU --------*- C++ -*-===//

#ifndef OMNIMOE_RUNTIME_GPULAUNCH_H
#define OMNIMOE_RUNTIME_GPULAUNCH_H

#include "omnimoe/Runtime/GPUProgram.h"
#include "omnimoe/Runtime/Launch.h"

namespace mlir::omnimoe::runtime {

/// Alignment of a workspace on a GPU, in bytes: what its allocators give.
inline constexpr int64_t kGPUWorkspaceAlignment = 256;
/// Alignment of the tensors of a GPU program, in bytes: its widest access.
inline constexpr int64_t kGPUTensorAlignment = 16;

/// Checks `tensors`, finds the device they are on, and enqueues the program's
/// kernels on `stream`. Allocates nothing and waits for nothing, but that the
/// first call on a device loads the kernels.
OmniMoeStatus launchOnGPU(const Signature &signature,
                          const EntryPoints &program, GPUProgram &kernels,
                          const OmniMoeTensor *tensors, size_t numTensors,
                          void *workspace, int64_t workspaceBytes, void *stream,
                          std::string &message);

/// The GPU whose memory an address is; -1 for memory of the host.
OmniMoeStatus findMemory(const void *memory, int32_t &device,
                         std::string &message);

/// Copies memory of a GPU to `host` after what is enqueued on `stream`, and
/// waits for it. `name` is what messages call the memory.
OmniMoeStatus copyToHost(void *host, const void *memory, int64_t bytes,
                         void *stream, const std::string &name,
                         std::string &message);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_GPULAUNCH_H
