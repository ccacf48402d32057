//===- GPULaunch.cpp - Running a compiled program on a GPU ----------------===//
//
// 1. Check the tensors, as for the CPU, and that all lie in one GPU's memory.
// 2. Make a context of that GPU current.
// 3. Get the program's kernels in that context; the first call loads them.
// 4. Call the program's host code, which enqueues the kernels.
//
//===----------------------------------------------------------------------===//

#include "omnimoe/Runtime/GPULaunch.h"

#include "Descriptors.h"
#include "omnimoe/Runtime/Queue.h"

using namespace mlir::omnimoe::runtime;

/// The device of an address; -1 if it is not memory of a GPU.
static cuda::Result findMemory(const cuda::Driver &driver, const void *memory,
                               cuda::Device &device) {
  uint32_t type = 0;
  int32_t ordinal = -1;
  cuda::PointerAttribute attributes[] = {cuda::kMemoryType,
                                         cuda::kDeviceOrdinal};
  void *values[] = {&type, &ordinal};
  cuda::Result result = driver.pointerGetAttributes(
      2, attributes, values, reinterpret_cast<uintptr_t>(memory));
  // Memory that the driver does not know has no type.
  device = type == cuda::kDeviceMemory || type == cuda::kUnified ? ordinal : -1;
  return result;
}

OmniMoeStatus mlir::omnimoe::runtime::findMemory(const void *memory,
                                                 int32_t &device,
                                                 std::string &message) {
  const cuda::Driver *driver = cuda::getDriver(message);
  if (!driver)
    return OMNIMOE_DEVICE_ERROR;
  if (cuda::Result result = ::findMemory(*driver, memory, device)) {
    message =
        "memory: cannot be asked for its device: " + driver->describe(result);
    return OMNIMOE_DEVICE_ERROR;
  }
  return OMNIMOE_OK;
}

namespace {
/// The GPU that a call runs on: that of its first memory.
class CallDevice {
public:
  explicit CallDevice(const cuda::Driver &driver) : driver(driver) {}

  bool isKnown() const { return device >= 0; }
  cuda::Device get() const { return device; }

  /// Checks that `pointer` is memory of the GPU that the call runs on.
  OmniMoeStatus add(const std::string &name, const void *pointer,
                    std::string &message) {
    cuda::Device ordinal = -1;
    cuda::Result result = ::findMemory(driver, pointer, ordinal);
    if (result != cuda::kSuccess) {
      message = name + ": its memory cannot be asked for its device: " +
                driver.describe(result);
      return OMNIMOE_DEVICE_ERROR;
    }
    if (ordinal < 0) {
      message = name + ": expected memory of a GPU, got memory of the host";
      return OMNIMOE_DEVICE_ERROR;
    }
    if (!isKnown()) {
      device = ordinal;
      first = &name;
    } else if (ordinal != device) {
      message = name + ": expected memory of cuda:" + std::to_string(device) +
                " as " + *first +
                ", got memory of cuda:" + std::to_string(ordinal);
      return OMNIMOE_DEVICE_ERROR;
    }
    return OMNIMOE_OK;
  }

private:
  const cuda::Driver &driver;
  cuda::Device device = -1;
  const std::string *first = nullptr;
};
} // namespace

static bool isEmpty(const OmniMoeTensor &tensor) {
  for (int32_t i = 0; i < tensor.rank; ++i)
    if (tensor.shape[i] == 0)
      return true;
  return false;
}

static OmniMoeStatus findDevice(const Signature &signature,
                                const OmniMoeTensor *tensors, size_t numTensors,
                                CallDevice &device, std::string &message) {
  for (size_t i = 0; i < numTensors; ++i) {
    if (isEmpty(tensors[i]))
      continue;
    const std::string &name = signature[i].name;
    if (OmniMoeStatus status = device.add(name, tensors[i].data, message))
      return status;
    if (reinterpret_cast<uintptr_t>(tensors[i].data) % kGPUTensorAlignment) {
      message = name + ": expected data at an address that is a multiple of " +
                std::to_string(kGPUTensorAlignment);
      return OMNIMOE_INVALID_ARGUMENT;
    }
  }
  return OMNIMOE_OK;
}

/// Whether the stream captures, or cannot say. Kernels that a graph of the
/// caller may hold must not be unloaded.
static bool isCapturing(const cuda::Driver &driver, cuda::Stream stream,
                        GPUProgram &program) {
  cuda::CaptureStatus status = cuda::kNotCapturing;
  if (driver.streamIsCapturing(stream, &status) != cuda::kSuccess)
    return true;
  if (status != cuda::kNotCapturing)
    program.keepLoaded();
  return status != cuda::kNotCapturing;
}

/// Where to write launches down: a list of the thread, so that its memory is
/// used again. Null if they have to be made at once.
static LaunchList *getLaunchList(const LoadedKernels &loaded, bool capturing) {
  if (!loaded.makesGraphs || capturing || loaded.kernels.size() < 2)
    return nullptr;
  static thread_local LaunchList list;
  list.clear();
  return &list;
}

OmniMoeStatus mlir::omnimoe::runtime::launchOnGPU(
    const Signature &signature, const EntryPoints &program, GPUProgram &kernels,
    const OmniMoeTensor *tensors, size_t numTensors, void *workspace,
    int64_t workspaceBytes, void *stream, std::string &message) {
  int64_t tokens = 0, needed = 0;
  if (OmniMoeStatus status = checkCall(signature, program, tensors, numTensors,
                                       tokens, needed, message))
    return status;
  const cuda::Driver *driver = cuda::getDriver(message);
  if (!driver)
    return OMNIMOE_DEVICE_ERROR;
  CallDevice device(*driver);
  if (OmniMoeStatus status =
          findDevice(signature, tensors, numTensors, device, message))
    return status;
  if (!device.isKnown()) // all tensors are empty
    return OMNIMOE_OK;

  if (!workspace && needed > 0) {
    message = "workspace: expected " + std::to_string(needed) +
              " bytes of cuda:" + std::to_string(device.get()) +
              " for T = " + std::to_string(tokens) +
              ", got null; a program for a GPU does not bring its own";
    return OMNIMOE_INVALID_ARGUMENT;
  }
  static const std::string workspaceName = "workspace";
  if (workspace && needed > 0) {
    OmniMoeStatus status =
        checkWorkspace(workspace, workspaceBytes, needed,
                       kGPUWorkspaceAlignment, tokens, message);
    if (status == OMNIMOE_OK)
      status = device.add(workspaceName, workspace, message);
    if (status)
      return status;
  }

  cuda::ContextScope scope(*driver, device.get());
  if (scope.getResult() != cuda::kSuccess) {
    message = "cuda:" + std::to_string(device.get()) +
              " cannot be used: " + driver->describe(scope.getResult());
    return OMNIMOE_DEVICE_ERROR;
  }
  LoadedKernels *loaded = nullptr;
  if (OmniMoeStatus status = kernels.getKernels(
          *driver, device.get(), scope.getContext(), loaded, message))
    return status;
  bool capturing = isCapturing(*driver, stream, kernels);
  CallStreams streams(*driver, scope.getContext(), stream);
  Queue queue{*driver, kernels, *loaded, streams,
              getLaunchList(*loaded, capturing)};
  Descriptors descriptors;
  if (OmniMoeStatus status = descriptors.write(tensors, numTensors, workspace,
                                               needed, &queue, message))
    return status;
  program.entry(descriptors.get());
  queue.finish();
  message = std::move(queue.error);
  return message.empty() ? OMNIMOE_OK : OMNIMOE_DEVICE_ERROR;
}

OmniMoeStatus mlir::omnimoe::runtime::copyToHost(void *host, const void *memory,
                                                 int64_t bytes, void *stream,
                                                 const std::string &name,
                                                 std::string &message) {
  if (bytes == 0)
    return OMNIMOE_OK;
  const cuda::Driver *driver = cuda::getDriver(message);
  if (!driver)
    return OMNIMOE_DEVICE_ERROR;
  CallDevice device(*driver);
  if (OmniMoeStatus status = device.add(name, memory, message))
    return status;
  cuda::ContextScope scope(*driver, device.get());
  cuda::Result result = scope.getResult();
  if (result == cuda::kSuccess)
    result = driver->memcpyDtoHAsync(host, reinterpret_cast<uintptr_t>(memory),
                                     bytes, stream);
  if (result == cuda::kSuccess)
    result = driver->streamSynchronize(stream);
  if (result == cuda::kSuccess)
    return OMNIMOE_OK;
  message = name +
            ": cannot be copied from cuda:" + std::to_string(device.get()) +
            ": " + driver->describe(result);
  return OMNIMOE_DEVICE_ERROR;
}
