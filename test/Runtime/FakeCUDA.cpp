//===- FakeCUDA.cpp - A CUDA driver without a GPU -------------------------===//

#include "FakeCUDAState.h"

//===----------------------------------------------------------------------===//
// Controls
//===----------------------------------------------------------------------===//

const char *fake_cuda_log() {
  std::lock_guard lock(state().mutex);
  state().shown = state().log;
  return state().shown.c_str();
}

void fake_cuda_clear() {
  std::lock_guard lock(state().mutex);
  state().log.clear();
  state().counts.clear();
}

int fake_cuda_count(const char *function) {
  std::lock_guard lock(state().mutex);
  return state().counts[function];
}

void *fake_cuda_alloc(int device, size_t bytes) {
  std::lock_guard lock(state().mutex);
  void *memory = std::aligned_alloc(256, (bytes + 256) / 256 * 256);
  state().memory[reinterpret_cast<uintptr_t>(memory)] = {bytes, device};
  return memory;
}

void fake_cuda_free(void *memory) {
  std::lock_guard lock(state().mutex);
  state().memory.erase(reinterpret_cast<uintptr_t>(memory));
  std::free(memory);
}

void *fake_cuda_stream(int device) {
  std::lock_guard lock(state().mutex);
  auto *stream = reinterpret_cast<void *>(0x1000 + 16 * state().streamsMade++);
  state().streams[stream] = device;
  return stream;
}

void fake_cuda_capture(void *stream, int on) {
  std::lock_guard lock(state().mutex);
  auto &capturing = state().capturing;
  if (on) {
    capturing[stream] = stream;
    return;
  }
  for (auto it = capturing.begin(); it != capturing.end();)
    it = it->second == stream ? capturing.erase(it) : std::next(it);
}

void fake_cuda_fail(const char *function, int result) {
  std::lock_guard lock(state().mutex);
  state().failures[function] = result;
}

//===----------------------------------------------------------------------===//
// The driver
//===----------------------------------------------------------------------===//

FAKE(cuInit)(uint32_t) {
  Call call("cuInit");
  if (call.result)
    return call.result;
  if (state().devices == 0)
    return call.result = kNoDevice;
  state().initialized = true;
  return kSuccess;
}

FAKE(cuDriverGetVersion)(int32_t *version) {
  *version = state().version;
  return kSuccess;
}

FAKE(cuGetErrorName)(Result result, const char **name) {
  static const std::map<Result, const char *> names = {
      {1, "CUDA_ERROR_INVALID_VALUE"},
      {2, "CUDA_ERROR_OUT_OF_MEMORY"},
      {100, "CUDA_ERROR_NO_DEVICE"},
      {200, "CUDA_ERROR_INVALID_IMAGE"},
      {218, "CUDA_ERROR_INVALID_PTX"},
      {400, "CUDA_ERROR_INVALID_HANDLE"},
      {500, "CUDA_ERROR_NOT_FOUND"},
      {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}};
  auto it = names.find(result);
  *name = it == names.end() ? nullptr : it->second;
  return *name ? kSuccess : kInvalidValue;
}

FAKE(cuGetErrorString)(Result, const char **text) {
  *text = "by the fake driver";
  return kSuccess;
}

FAKE(cuDeviceGetCount)(int32_t *count) {
  Call call("cuDeviceGetCount");
  *count = state().devices;
  return call.result;
}

FAKE(cuDeviceGetName)(char *name, int32_t length, Device device) {
  Call call("cuDeviceGetName");
  if (device < 0 || device >= state().devices)
    return call.result = kInvalidDevice;
  std::snprintf(name, length, "Fake GPU");
  return call.result;
}

FAKE(cuDeviceGetAttribute)(int32_t *value, DeviceAttribute attribute,
                           Device device) {
  Call call("cuDeviceGetAttribute");
  if (device < 0 || device >= state().devices)
    return call.result = kInvalidDevice;
  switch (attribute) {
  case kMultiprocessors:
    *value = 132;
    break;
  case kCapabilityMajor:
    *value = state().capability / 10;
    break;
  case kCapabilityMinor:
    *value = state().capability % 10;
    break;
  case kMaxSharedBytesPerBlock:
    *value = kSharedOptIn;
    break;
  default:
    return call.result = kInvalidValue;
  }
  return call.result;
}

FAKE(cuDevicePrimaryCtxRetain)(Context *context, Device device) {
  Call call("cuDevicePrimaryCtxRetain");
  if (device < 0 || device >= state().devices)
    return call.result = kInvalidDevice;
  if (call.result == kSuccess)
    *context = state().primary[device].get();
  return call.result;
}

FAKE(cuCtxGetCurrent)(Context *context) {
  Call call("cuCtxGetCurrent");
  *context = current();
  return call.result;
}

FAKE(cuCtxGetDevice)(Device *device) {
  Call call("cuCtxGetDevice", Call::NeedsContext);
  if (call.result == kSuccess)
    *device = current()->device;
  return call.result;
}

FAKE(cuCtxPushCurrent_v2)(Context context) {
  Call call("cuCtxPushCurrent_v2");
  if (!context)
    return call.result = kInvalidContext;
  if (call.result == kSuccess)
    contextStack.push_back(context);
  return call.result;
}

FAKE(cuCtxPopCurrent_v2)(Context *context) {
  Call call("cuCtxPopCurrent_v2", Call::NeedsContext);
  if (call.result == kSuccess) {
    *context = contextStack.back();
    contextStack.pop_back();
  }
  return call.result;
}

FAKE(cuPointerGetAttributes)(uint32_t count, PointerAttribute *attributes,
                             void **values, DevicePointer pointer) {
  Call call("cuPointerGetAttributes");
  if (call.result)
    return call.result;
  auto it = state().memory.upper_bound(pointer);
  bool known = it != state().memory.begin() &&
               pointer < std::prev(it)->first + std::prev(it)->second.first;
  for (uint32_t i = 0; i < count; ++i) {
    if (attributes[i] == kMemoryType)
      *static_cast<uint32_t *>(values[i]) = known ? kDeviceMemory : 0;
    else if (attributes[i] == kDeviceOrdinal)
      *static_cast<int32_t *>(values[i]) =
          known ? std::prev(it)->second.second : -2;
    else
      return call.result = kInvalidValue;
  }
  return kSuccess;
}

FAKE(cuThreadExchangeStreamCaptureMode)(CaptureMode *mode) {
  Call call("cuThreadExchangeStreamCaptureMode");
  int previous = captureMode;
  captureMode = *mode;
  *mode = static_cast<CaptureMode>(previous);
  return call.result;
}

FAKE(cuStreamIsCapturing)(Stream stream, CaptureStatus *status) {
  Call call("cuStreamIsCapturing");
  *status = static_cast<CaptureStatus>(state().capturing.count(stream));
  return call.result;
}

FAKE(cuStreamGetCaptureInfo_v2)(Stream stream, CaptureStatus *status,
                                uint64_t *id, void **, const void **,
                                size_t *) {
  Call call("cuStreamGetCaptureInfo_v2");
  auto it = state().capturing.find(stream);
  *status = static_cast<CaptureStatus>(it != state().capturing.end());
  *id = *status ? reinterpret_cast<uint64_t>(it->second) : 0;
  return call.result;
}

FAKE(cuStreamCreate)(Stream *stream, uint32_t) {
  Call call("cuStreamCreate", Call::Unsafe);
  if (call.result == kSuccess)
    *stream = fake_cuda_stream(current()->device);
  return call.result;
}

FAKE(cuEventCreate)(Event *event, uint32_t) {
  Call call("cuEventCreate", Call::Unsafe);
  if (call.result == kSuccess)
    *event = new EventObject;
  return call.result;
}

FAKE(cuEventRecord)(Event event, Stream stream) {
  Call call("cuEventRecord", Call::NeedsContext);
  auto it = state().capturing.find(stream);
  event->stream = stream;
  event->capture = it == state().capturing.end() ? nullptr : it->second;
  return call.result;
}

/// A stream that waits for a captured one is captured with it.
FAKE(cuStreamWaitEvent)(Stream stream, Event event, uint32_t) {
  Call call("cuStreamWaitEvent", Call::NeedsContext);
  char text[64];
  std::snprintf(text, sizeof(text), "stream=%p for=%p", stream, event->stream);
  call.note(text);
  auto it = state().capturing.find(stream);
  void *own = it == state().capturing.end() ? nullptr : it->second;
  if (own && own != event->capture)
    call.forbid();
  else if (event->capture)
    state().capturing[stream] = event->capture;
  return call.result;
}

FAKE(cuStreamSynchronize)(Stream stream) {
  Call call("cuStreamSynchronize", Call::NeedsContext);
  if (state().capturing.count(stream))
    call.forbid();
  return call.result;
}

FAKE(cuMemcpyDtoDAsync_v2)(DevicePointer target, DevicePointer source,
                           size_t bytes, Stream) {
  Call call("cuMemcpyDtoDAsync_v2", Call::NeedsContext);
  if (call.result == kSuccess)
    std::memcpy(reinterpret_cast<void *>(target),
                reinterpret_cast<void *>(source), bytes);
  return call.result;
}

FAKE(cuMemcpyDtoHAsync_v2)(void *host, DevicePointer device, size_t bytes,
                           Stream) {
  Call call("cuMemcpyDtoHAsync_v2", Call::NeedsContext);
  if (call.result == kSuccess)
    std::memcpy(host, reinterpret_cast<void *>(device), bytes);
  return call.result;
}

FAKE(cuTensorMapEncodeTiled)(TensorMap *map, int32_t type, uint32_t rank,
                             void *base, const uint64_t *sizes,
                             const uint64_t *strides, const uint32_t *box,
                             const uint32_t *elementStrides, int32_t interleave,
                             int32_t swizzle, int32_t l2Promotion,
                             int32_t outOfBounds) {
  Call call("cuTensorMapEncodeTiled");
  std::string text = "type=" + std::to_string(type) +
                     " base=" + hex(reinterpret_cast<uintptr_t>(base)) +
                     " sizes=";
  for (uint32_t i = 0; i < rank; ++i)
    text += (i ? "," : "") + std::to_string(sizes[i]);
  text += " strides=";
  for (uint32_t i = 0; i + 1 < rank; ++i) {
    text += (i ? "," : "") + std::to_string(strides[i]);
    if (strides[i] % 16)
      call.result = kInvalidValue;
  }
  text += " box=";
  for (uint32_t i = 0; i < rank; ++i) {
    text += (i ? "," : "") + std::to_string(box[i]);
    if (box[i] == 0 || box[i] > 256 || elementStrides[i] != 1)
      call.result = kInvalidValue;
  }
  text += " swizzle=" + std::to_string(swizzle);
  call.note(text);
  if (reinterpret_cast<uintptr_t>(map) % 64 ||
      reinterpret_cast<uintptr_t>(base) % 16 || interleave || outOfBounds ||
      l2Promotion < 0)
    return call.result = kInvalidValue;
  if (call.result == kSuccess)
    std::memset(map, 0x5a, sizeof(TensorMap));
  return call.result;
}
