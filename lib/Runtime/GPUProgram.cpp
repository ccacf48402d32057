//===- GPUProgram.cpp - The kernels of a compiled program -----------------===//

#include "omnimoe/Runtime/GPUProgram.h"

#include "omnimoe/Runtime/PTXError.h"
#include <algorithm>
#include <map>

using namespace mlir::omnimoe::runtime;

static void unload(const cuda::Driver &driver, LoadedKernels &loaded) {
  cuda::ContextScope scope(driver, loaded.context);
  cuda::RelaxedCapture relaxed(driver);
  if (scope.getResult() == cuda::kSuccess) {
    loaded.graphs.clear(driver);
    for (cuda::Module module : loaded.modules)
      if (module)
        driver.moduleUnload(module);
  }
  loaded.modules.clear();
}

GPUProgram::~GPUProgram() {
  std::string ignored;
  // When the process ends, the driver frees all there is, and may have ended.
  if (kept || contexts.empty() || cuda::isProcessEnding())
    return;
  if (const cuda::Driver *driver = cuda::getDriver(ignored))
    for (auto &loaded : contexts)
      unload(*driver, *loaded);
}

OmniMoeStatus GPUProgram::getKernels(const cuda::Driver &driver,
                                     cuda::Device device, cuda::Context context,
                                     LoadedKernels *&kernels,
                                     std::string &message) {
  std::lock_guard<std::mutex> lock(mutex);
  for (const auto &loaded : contexts)
    if (loaded->context == context) {
      kernels = loaded.get();
      return OMNIMOE_OK;
    }
  auto loaded = std::make_unique<LoadedKernels>();
  loaded->context = context;
  if (OmniMoeStatus status = setUp(driver, device, *loaded, message)) {
    unload(driver, *loaded);
    return status;
  }
  kernels = loaded.get();
  contexts.push_back(std::move(loaded));
  return OMNIMOE_OK;
}

/// Reads off the PTX which text has which kernel, so that the driver is asked
/// for nothing that it does not have: a debugger reports calls that fail.
OmniMoeStatus GPUProgram::describe(std::string &message) {
  if (!texts.empty() || image.kernelNames.empty())
    return OMNIMOE_OK;
  std::vector<std::string> found = splitPTX(image.ptx);
  std::map<std::string, Definition> known;
  for (size_t i = 0; i < found.size(); ++i)
    for (PTXKernel &kernel : findPTXKernels(found[i]))
      known[kernel.name] = {i, kernel};
  std::vector<Definition> wanted;
  for (const std::string &name : image.kernelNames) {
    auto it = known.find(name);
    if (it == known.end()) {
      message = "kernel '" + name + "' is not in the program's PTX";
      return OMNIMOE_DEVICE_ERROR;
    }
    wanted.push_back(it->second);
  }
  texts = std::move(found);
  definitions = std::move(wanted);
  return OMNIMOE_OK;
}

/// Learns what can be known of the kernels and the device with nothing loaded.
OmniMoeStatus GPUProgram::setUp(const cuda::Driver &driver, cuda::Device device,
                                LoadedKernels &loaded, std::string &message) {
  if (OmniMoeStatus status = describe(message))
    return status;
  GPUDevice info;
  cuda::Result result = getGPUDevice(driver, device, info);
  if (result == cuda::kSuccess)
    result = driver.deviceGetAttribute(&loaded.maxSharedBytes,
                                       cuda::kMaxSharedBytesPerBlock, device);
  if (result != cuda::kSuccess) {
    message = "cuda:" + std::to_string(device) +
              " cannot be asked: " + driver.describe(result);
    return OMNIMOE_DEVICE_ERROR;
  }
  if (!canRun(info, image.chip)) {
    message = explainCannotRun(info, image.chip);
    return OMNIMOE_DEVICE_ERROR;
  }

  loaded.modules.assign(texts.size(), nullptr);
  loaded.kernels.resize(definitions.size());
  loaded.ready = std::make_unique<std::atomic<bool>[]>(definitions.size());
  loaded.makesGraphs = driver.hasGraphs;
  for (size_t i = 0; i < definitions.size(); ++i) {
    loaded.kernels[i].parameterBytes = definitions[i].kernel.parameterBytes;
    loaded.makesGraphs &= definitions[i].kernel.parametersKnown;
  }
  return OMNIMOE_OK;
}

/// Loads a kernel, and allows it all the shared memory of the device that its
/// own static variables leave. The driver takes its time where its disk cache
/// does not have the kernel.
OmniMoeStatus GPUProgram::loadKernel(const cuda::Driver &driver,
                                     LoadedKernels &loaded, size_t index,
                                     std::string &message) {
  const std::string &name = image.kernelNames[index];
  GPUKernel &kernel = loaded.kernels[index];
  const std::string &text = texts[definitions[index].text];
  cuda::Module &module = loaded.modules[definitions[index].text];
  int32_t used = 0;
  cuda::Result result = cuda::kSuccess;
  if (!module)
    result = driver.moduleLoadData(&module, text.c_str());
  if (result != cuda::kSuccess) {
    message = explainPTXError(driver, result, text);
    return OMNIMOE_DEVICE_ERROR;
  }
  result = driver.moduleGetFunction(&kernel.function, module, name.c_str());
  if (result == cuda::kSuccess)
    result = driver.funcGetAttribute(&used, cuda::kStaticSharedBytes,
                                     kernel.function);
  kernel.maxSharedBytes = loaded.maxSharedBytes - used;
  if (result == cuda::kSuccess)
    result = driver.funcSetAttribute(
        kernel.function, cuda::kMaxDynamicSharedBytes, kernel.maxSharedBytes);
  if (result != cuda::kSuccess) {
    message =
        "kernel '" + name + "' cannot be loaded: " + driver.describe(result);
    return OMNIMOE_DEVICE_ERROR;
  }
  loaded.ready[index].store(true, std::memory_order_release);
  return OMNIMOE_OK;
}

OmniMoeStatus GPUProgram::prepare(const cuda::Driver &driver,
                                  LoadedKernels &loaded, const int32_t *kernels,
                                  size_t count, std::string &message) {
  const int32_t *end = kernels + count;
  auto isReady = [&](int32_t kernel) {
    return loaded.ready[kernel].load(std::memory_order_acquire);
  };
  if (std::all_of(kernels, end, isReady))
    return OMNIMOE_OK;
  std::lock_guard<std::mutex> lock(loaded.mutex);
  cuda::RelaxedCapture relaxed(driver);
  for (const int32_t *kernel = kernels; kernel != end; ++kernel)
    if (!isReady(*kernel))
      if (OmniMoeStatus status = loadKernel(driver, loaded, *kernel, message))
        return status;
  return OMNIMOE_OK;
}
