//===- Queue.h - What compiled host code launches kernels on ----*- C++ -*-===//

#ifndef OMNIMOE_RUNTIME_QUEUE_H
#define OMNIMOE_RUNTIME_QUEUE_H

#include "omnimoe/Runtime/CallStreams.h"
#include "omnimoe/Runtime/GPUProgram.h"

namespace mlir::omnimoe::runtime {

/// One call of a GPU program: its streams, its kernels on the device, and the
/// first thing that went wrong, after which nothing is launched any more.
/// Compiled code hands a pointer to it back to the functions below.
struct Queue {
  const cuda::Driver &driver;
  GPUProgram &program;
  LoadedKernels &loaded;
  CallStreams &streams;
  /// Where launches, and changes of streams, are written down until `finish`,
  /// to go as a graph; null: they are made at once.
  LaunchList *launches = nullptr;
  /// Empty if all went well.
  std::string error = {};

  /// Makes the launches that are written down one by one, and later ones at
  /// once.
  void flush();
  /// Makes the launches that are written down.
  void finish();
};

} // namespace mlir::omnimoe::runtime

extern "C" {

/// Enqueues kernel number `kernel` of the program. Sizes are in blocks and
/// threads; a grid without blocks is no work. A kernel that `overlaps` may
/// start before the one ahead of it has ended, and waits for it by itself.
/// `parameters` points to the value of each parameter, which is copied.
OMNIMOE_EXPORT void omnimoe_gpu_launch(void *queue, int32_t kernel,
                                       int64_t gridX, int64_t gridY,
                                       int64_t gridZ, int64_t blockX,
                                       int64_t blockY, int64_t blockZ,
                                       int64_t sharedBytes, int32_t overlaps,
                                       void **parameters);

/// Enqueues a copy within the memory of the device.
OMNIMOE_EXPORT void omnimoe_gpu_copy(void *queue, void *target,
                                     const void *source, int64_t bytes);

/// Lets a second stream follow the caller's up to here; see CallStreams.
OMNIMOE_EXPORT void omnimoe_gpu_fork(void *queue);

/// Enqueues what follows on the caller's stream (0) or the second one (1),
/// which are the same if the call has not forked.
OMNIMOE_EXPORT void omnimoe_gpu_select_stream(void *queue, int32_t stream);

/// Lets what follows on the current stream wait for what the other has.
OMNIMOE_EXPORT void omnimoe_gpu_wait_for_stream(void *queue, int32_t stream);

/// Writes to `map` (128 bytes on the host, aligned to 64) how the tensor memory
/// accelerator finds tiles of `box` elements in the array at `base`. Sizes and
/// boxes stand innermost first; `strides` are the bytes from one element to the
/// next in each dimension but the first. What lies outside of the array reads
/// as zero. The second-level cache fetches `promotionBytes` at a time, 0 for no
/// more than is asked for.
OMNIMOE_EXPORT void
omnimoe_gpu_tensor_map(void *queue, void *map, void *base, int32_t type,
                       int32_t rank, const int64_t *sizes,
                       const int64_t *strides, const int32_t *box,
                       int32_t swizzleBytes, int32_t promotionBytes);
}

#endif // OMNIMOE_RUNTIME_QUEUE_H
