//===- Queue.cpp - What compiled host code launches kernels on ------------===//

#include "omnimoe/Runtime/Queue.h"

#include <algorithm>
#include <iterator>
#include <limits>

using namespace mlir::omnimoe::runtime;

static std::string toText(const char *brackets, const int64_t *sizes,
                          int32_t count) {
  std::string text(1, brackets[0]);
  for (int32_t i = 0; i < count; ++i)
    text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + brackets[1];
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

static void fail(Queue &queue, int32_t index, const int64_t *sizes,
                 cuda::Result result) {
  queue.error = "kernel '" + queue.program.getKernelName(index) +
                "' cannot be launched on a grid of " + toText("()", sizes, 3) +
                " blocks of " + toText("()", sizes + 3, 3) + " threads with " +
                std::to_string(sizes[6]) + " of at most " +
                std::to_string(queue.loaded.kernels[index].maxSharedBytes) +
                " bytes of shared memory: " + queue.driver.describe(result);
  // Errors of kernels arrive with a later call.
  if (result >= 700 && result < 800)
    queue.error += ", of this or of an earlier kernel of the process";
}

static void fail(Queue &queue, int32_t index, const cuda::LaunchSizes &sizes,
                 cuda::Result result) {
  const int64_t shown[] = {sizes.gridX,      sizes.gridY,  sizes.gridZ,
                           sizes.blockX,     sizes.blockY, sizes.blockZ,
                           sizes.sharedBytes};
  fail(queue, index, shown, result);
}

static void noteStreamError(Queue &queue, cuda::Result result) {
  if (result != cuda::kSuccess && queue.error.empty())
    queue.error =
        "work cannot be put on two streams: " + queue.driver.describe(result);
}

/// Makes kernels ready to be launched; notes why, if that fails.
static bool prepare(Queue &queue, const int32_t *kernels, size_t count) {
  std::string message;
  if (queue.program.prepare(queue.driver, queue.loaded, kernels, count,
                            message))
    queue.error = std::move(message);
  return queue.error.empty();
}

static bool prepare(Queue &queue, const LaunchList &launches) {
  const std::vector<int32_t> &kernels = launches.getKernels();
  return prepare(queue, kernels.data(), kernels.size());
}

void Queue::flush() {
  if (!launches)
    return;
  LaunchList &written = *launches;
  launches = nullptr;
  if (!error.empty() || !prepare(*this, written))
    return;
  for (const LaunchList::Step &step : written.getSteps()) {
    if (!error.empty())
      return;
    cuda::Result result =
        written.enqueue(step, driver, loaded.kernels, streams);
    const LaunchList::Launch *launch =
        step.kind == LaunchList::Step::Launch ? &written[step.number] : nullptr;
    if (launch && result != cuda::kSuccess)
      fail(*this, launch->kernel, launch->sizes, result);
    else
      noteStreamError(*this, result);
  }
}

void Queue::finish() {
  bool asGraph = launches && launches->size() > 1 && error.empty() &&
                 prepare(*this, *launches) &&
                 loaded.graphs.launch(driver, loaded.context, loaded.kernels,
                                      *launches, streams.getCurrent());
  if (!asGraph)
    flush();
}

void omnimoe_gpu_launch(void *opaque, int32_t index, int64_t gridX,
                        int64_t gridY, int64_t gridZ, int64_t blockX,
                        int64_t blockY, int64_t blockZ, int64_t sharedBytes,
                        int32_t overlaps, void **parameters) {
  auto &queue = *static_cast<Queue *>(opaque);
  if (!queue.error.empty())
    return;
  const std::vector<GPUKernel> &kernels = queue.loaded.kernels;
  if (index < 0 || static_cast<size_t>(index) >= kernels.size()) {
    queue.error = "the program launches kernel " + std::to_string(index) +
                  " of " + std::to_string(kernels.size());
    return;
  }
  if (gridX == 0 || gridY == 0 || gridZ == 0)
    return;
  const int64_t sizes[] = {gridX,  gridY,  gridZ,      blockX,
                           blockY, blockZ, sharedBytes};
  // The driver takes 32 bits and checks the sizes within them.
  if (!std::all_of(std::begin(sizes), std::end(sizes), [](int64_t size) {
        return size >= 0 && size <= std::numeric_limits<uint32_t>::max();
      }))
    return fail(queue, index, sizes, cuda::kInvalidValue);
  auto size = [&](int i) { return static_cast<uint32_t>(sizes[i]); };
  cuda::LaunchSizes narrow{size(0), size(1), size(2), size(3),
                           size(4), size(5), size(6)};
  if (queue.launches)
    return queue.launches->add(index, kernels[index], narrow, overlaps,
                               parameters);
  if (!prepare(queue, &index, 1))
    return;
  if (cuda::Result result =
          launchKernel(queue.driver, kernels[index], narrow, overlaps,
                       parameters, queue.streams.getCurrent()))
    fail(queue, index, narrow, result);
}

void omnimoe_gpu_copy(void *opaque, void *target, const void *source,
                      int64_t bytes) {
  auto &queue = *static_cast<Queue *>(opaque);
  if (!queue.error.empty() || bytes <= 0)
    return;
  queue.flush();
  if (!queue.error.empty())
    return;
  if (cuda::Result result =
          queue.driver.memcpyDtoDAsync(reinterpret_cast<uintptr_t>(target),
                                       reinterpret_cast<uintptr_t>(source),
                                       bytes, queue.streams.getCurrent()))
    queue.error = std::to_string(bytes) +
                  " bytes cannot be copied: " + queue.driver.describe(result);
}

//===----------------------------------------------------------------------===//
// Streams
//===----------------------------------------------------------------------===//

void omnimoe_gpu_fork(void *opaque) {
  auto &queue = *static_cast<Queue *>(opaque);
  if (!queue.error.empty())
    return;
  if (queue.launches)
    queue.launches->addChange(LaunchList::Step::Fork);
  else
    noteStreamError(queue, queue.streams.fork());
}

void omnimoe_gpu_select_stream(void *opaque, int32_t stream) {
  auto &queue = *static_cast<Queue *>(opaque);
  if (queue.launches)
    queue.launches->addChange(LaunchList::Step::Select, stream);
  else
    queue.streams.select(stream);
}

void omnimoe_gpu_wait_for_stream(void *opaque, int32_t stream) {
  // Even after an error: a graph is only whole if all streams come back.
  auto &queue = *static_cast<Queue *>(opaque);
  if (queue.launches)
    queue.launches->addChange(LaunchList::Step::Wait, stream);
  else
    noteStreamError(queue, queue.streams.wait(stream));
}

//===----------------------------------------------------------------------===//
// Tensor maps
//===----------------------------------------------------------------------===//

/// CUtensorMapDataType of an OmniMoeType.
static int32_t getTensorMapType(int32_t type) {
  switch (type) {
  case OMNIMOE_F32:
    return 7;
  case OMNIMOE_F16:
    return 6;
  case OMNIMOE_BF16:
    return 9;
  case OMNIMOE_I32:
    return 3;
  default:
    return -1;
  }
}

/// CUtensorMapL2promotion of a width.
static int32_t getTensorMapPromotion(int32_t bytes) {
  switch (bytes) {
  case 0:
    return 0;
  case 64:
    return 1;
  case 128:
    return 2;
  case 256:
    return 3;
  default:
    return -1;
  }
}

/// CUtensorMapSwizzle of a width.
static int32_t getTensorMapSwizzle(int32_t bytes) {
  switch (bytes) {
  case 0:
    return 0;
  case 32:
    return 1;
  case 64:
    return 2;
  case 128:
    return 3;
  default:
    return -1;
  }
}

void omnimoe_gpu_tensor_map(void *opaque, void *map, void *base, int32_t type,
                            int32_t rank, const int64_t *sizes,
                            const int64_t *strides, const int32_t *box,
                            int32_t swizzleBytes, int32_t promotionBytes) {
  constexpr int32_t kMaxRank = 5, kNoInterleave = 0, kZeroOutside = 0;
  auto &queue = *static_cast<Queue *>(opaque);
  if (!queue.error.empty())
    return;
  int32_t dataType = getTensorMapType(type);
  int32_t swizzle = getTensorMapSwizzle(swizzleBytes);
  int32_t promotion = getTensorMapPromotion(promotionBytes);
  cuda::Result result = cuda::kInvalidValue;
  if (rank >= 1 && rank <= kMaxRank && dataType >= 0 && swizzle >= 0 &&
      promotion >= 0) {
    uint64_t size[kMaxRank], stride[kMaxRank];
    uint32_t tile[kMaxRank], step[kMaxRank];
    for (int32_t i = 0; i < rank; ++i) {
      size[i] = sizes[i];
      stride[i] = i + 1 < rank ? strides[i] : 0;
      tile[i] = box[i];
      step[i] = 1;
    }
    result = queue.driver.tensorMapEncodeTiled(
        static_cast<cuda::TensorMap *>(map), dataType, rank, base, size, stride,
        tile, step, kNoInterleave, swizzle, promotion, kZeroOutside);
  }
  if (result == cuda::kSuccess)
    return;
  int64_t tile[kMaxRank] = {};
  int32_t shown = std::clamp(rank, 0, kMaxRank);
  std::copy_n(box, shown, tile);
  queue.error = "no tensor map of type " + std::to_string(type) + ", sizes " +
                toText("[]", sizes, shown) + ", strides " +
                toText("[]", strides, std::max(shown - 1, 0)) + ", tiles " +
                toText("[]", tile, shown) + ", swizzle " +
                std::to_string(swizzleBytes) + ", promotion " +
                std::to_string(promotionBytes) + ": " +
                queue.driver.describe(result);
}
