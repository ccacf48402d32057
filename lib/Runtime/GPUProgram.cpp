//===- GPUProgram.cpp - The kernels of a compiled program -----------------===//

#include "omnimoe/Runtime/GPUProgram.h"

#include "omnimoe/Runtime/PTXCompiler.h"
#include <algorithm>

using namespace mlir::omnimoe::runtime;

GPUProgram::GPUProgram(GPUImage image, CubinObserver observer)
    : image(std::move(image)), observer(std::move(observer)) {}

static void unload(const cuda::Driver &driver, LoadedKernels &loaded) {
  cuda::ContextScope scope(driver, loaded.context);
  cuda::RelaxedCapture relaxed(driver);
  if (scope.getResult() == cuda::kSuccess) {
    loaded.graphs.clear(driver);
    for (cuda::Module module : loaded.modules)
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

std::vector<std::string> GPUProgram::getCubins() const {
  std::lock_guard<std::mutex> lock(mutex);
  return image.cubins;
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
  if (OmniMoeStatus status = load(driver, device, *loaded, message)) {
    unload(driver, *loaded);
    return status;
  }
  kernels = loaded.get();
  contexts.push_back(std::move(loaded));
  return OMNIMOE_OK;
}

namespace {
/// Modules that are being loaded, several at a time.
struct Loading {
  const cuda::Driver &driver;
  const std::vector<std::string> &cubins;
  std::vector<cuda::Module> modules;
  std::vector<cuda::Result> results;

  Loading(const cuda::Driver &driver, const std::vector<std::string> &cubins,
          size_t count)
      : driver(driver), cubins(cubins), modules(count), results(count) {}

  cuda::Result load(size_t i) {
    return results[i] = driver.moduleLoadData(&modules[i], cubins[i].data());
  }

  /// Hands the modules over, or takes them back if one could not be loaded.
  cuda::Result finish(LoadedKernels &loaded) {
    for (cuda::Module module : modules)
      if (module)
        loaded.modules.push_back(module);
    for (cuda::Result result : results)
      if (result != cuda::kSuccess) {
        unload(driver, loaded);
        return result;
      }
    return cuda::kSuccess;
  }
};
} // namespace

/// Loads what was compiled before.
cuda::Result GPUProgram::loadModules(const cuda::Driver &driver,
                                     LoadedKernels &loaded) {
  const std::vector<std::string> &cubins = image.cubins;
  Loading loading(driver, cubins, cubins.size());
  // What the driver did not find in its own cache takes its time.
  size_t threads = std::count_if(cubins.begin(), cubins.end(), compilesAtLoad);
  runInContext(driver, loaded.context, cubins.size(), threads,
               [&](size_t i) { return loading.load(i); });
  return loading.finish(loaded);
}

/// Compiles the PTX, and loads what is ready beside.
OmniMoeStatus GPUProgram::compileModules(const cuda::Driver &driver,
                                         LoadedKernels &loaded,
                                         std::string &message) {
  std::vector<std::string> texts = splitPTX(image.ptx), cubins;
  Loading loading(driver, cubins, texts.size());
  if (OmniMoeStatus status =
          compilePTX(driver, loaded.context, texts, cubins, message,
                     [&](size_t i) { loading.load(i); })) {
    loading.finish(loaded);
    return status;
  }
  if (cuda::Result result = loading.finish(loaded)) {
    size_t failed =
        std::find(loading.results.begin(), loading.results.end(), result) -
        loading.results.begin();
    message = compilesAtLoad(texts[failed])
                  ? explainPTXError(driver, result, texts[failed])
                  : "the kernels cannot be loaded: " + driver.describe(result);
    return OMNIMOE_DEVICE_ERROR;
  }
  image.cubins = std::move(cubins);
  if (observer)
    observer(image.cubins);
  return OMNIMOE_OK;
}

OmniMoeStatus GPUProgram::load(const cuda::Driver &driver, cuda::Device device,
                               LoadedKernels &loaded, std::string &message) {
  GPUDevice info;
  if (cuda::Result result = getGPUDevice(driver, device, info)) {
    message = "cuda:" + std::to_string(device) +
              " cannot be asked: " + driver.describe(result);
    return OMNIMOE_DEVICE_ERROR;
  }
  if (!canRun(info, image.chip)) {
    message = explainCannotRun(info, image.chip);
    return OMNIMOE_DEVICE_ERROR;
  }

  // A driver older than the one that made the cubins may not take them; then
  // the PTX decides.
  cuda::RelaxedCapture relaxed(driver);
  if (image.cubins.empty() || loadModules(driver, loaded) != cuda::kSuccess) {
    image.cubins.clear();
    if (OmniMoeStatus status = compileModules(driver, loaded, message))
      return status;
  }
  return findKernels(driver, device, loaded, message);
}

/// Asks for the parameters of a kernel, one by one.
static bool findParameters(const cuda::Driver &driver, GPUKernel &kernel) {
  if (!driver.hasGraphs)
    return false;
  while (true) {
    size_t offset = 0, bytes = 0;
    cuda::Result result = driver.funcGetParamInfo(
        kernel.function, kernel.parameterBytes.size(), &offset, &bytes);
    if (result != cuda::kSuccess)
      return result == cuda::kInvalidValue; // there are no more
    kernel.parameterBytes.push_back(bytes);
  }
}

/// Allows a kernel all the shared memory of the device that its own static
/// variables leave.
static cuda::Result allowSharedMemory(const cuda::Driver &driver,
                                      int32_t available, GPUKernel &kernel) {
  int32_t used = 0;
  if (cuda::Result result = driver.funcGetAttribute(
          &used, cuda::kStaticSharedBytes, kernel.function))
    return result;
  kernel.maxSharedBytes = available - used;
  return driver.funcSetAttribute(kernel.function, cuda::kMaxDynamicSharedBytes,
                                 kernel.maxSharedBytes);
}

OmniMoeStatus GPUProgram::findKernels(const cuda::Driver &driver,
                                      cuda::Device device,
                                      LoadedKernels &loaded,
                                      std::string &message) {
  int32_t available = 0;
  cuda::Result result = driver.deviceGetAttribute(
      &available, cuda::kMaxSharedBytesPerBlock, device);
  for (const std::string &name : image.kernelNames) {
    GPUKernel kernel{};
    for (cuda::Module module : loaded.modules) {
      if (result != cuda::kSuccess || kernel.function)
        break;
      result = driver.moduleGetFunction(&kernel.function, module, name.c_str());
      if (result == cuda::kNotFound) {
        kernel.function = nullptr;
        result = cuda::kSuccess;
      }
    }
    if (result == cuda::kSuccess && !kernel.function)
      result = cuda::kNotFound;
    if (result == cuda::kSuccess)
      result = allowSharedMemory(driver, available, kernel);
    if (result != cuda::kSuccess) {
      message =
          "kernel '" + name + "' cannot be loaded: " + driver.describe(result);
      return OMNIMOE_DEVICE_ERROR;
    }
    loaded.parametersKnown &= findParameters(driver, kernel);
    loaded.kernels.push_back(std::move(kernel));
  }
  return OMNIMOE_OK;
}
