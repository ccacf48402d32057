//===- GPUProgram.cpp - The kernels of a compiled program -----------------===//

#include "omnimoe/Runtime/GPUProgram.h"

#include "omnimoe/Runtime/PTXCompiler.h"
#include <algorithm>
#include <map>

using namespace mlir::omnimoe::runtime;

GPUProgram::GPUProgram(GPUImage image, CubinObserver observer)
    : image(std::move(image)), observer(std::move(observer)) {}

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

/// Loads what was compiled before. What the driver compiles at that time waits
/// until it is needed.
cuda::Result GPUProgram::loadModules(const cuda::Driver &driver,
                                     LoadedKernels &loaded) {
  if (image.cubins.size() != texts.size())
    return cuda::kInvalidValue;
  cuda::Result result = cuda::kSuccess;
  for (size_t i = 0; i < texts.size() && result == cuda::kSuccess; ++i)
    if (!compilesAtLoad(texts[i]))
      result =
          driver.moduleLoadData(&loaded.modules[i], image.cubins[i].data());
  if (result != cuda::kSuccess)
    unload(driver, loaded);
  return result;
}

/// Compiles the PTX, and loads what is ready beside.
OmniMoeStatus GPUProgram::compileModules(const cuda::Driver &driver,
                                         LoadedKernels &loaded,
                                         std::string &message) {
  std::vector<std::string> cubins;
  std::vector<cuda::Result> results(texts.size());
  if (OmniMoeStatus status = compilePTX(
          driver, loaded.context, texts, cubins, message, [&](size_t i) {
            if (!compilesAtLoad(texts[i]))
              results[i] =
                  driver.moduleLoadData(&loaded.modules[i], cubins[i].data());
          }))
    return status;
  for (cuda::Result result : results)
    if (result != cuda::kSuccess) {
      message = "the kernels cannot be loaded: " + driver.describe(result);
      return OMNIMOE_DEVICE_ERROR;
    }
  image.cubins = std::move(cubins);
  if (observer)
    observer(image.cubins);
  return OMNIMOE_OK;
}

OmniMoeStatus GPUProgram::load(const cuda::Driver &driver, cuda::Device device,
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

  // A driver older than the one that made the cubins may not take them; then
  // the PTX decides.
  cuda::RelaxedCapture relaxed(driver);
  if (image.cubins.empty() || loadModules(driver, loaded) != cuda::kSuccess) {
    loaded.modules.assign(texts.size(), nullptr);
    image.cubins.clear();
    if (OmniMoeStatus status = compileModules(driver, loaded, message))
      return status;
  }
  for (size_t i = 0; i < definitions.size(); ++i)
    if (loaded.modules[definitions[i].text])
      if (OmniMoeStatus status = findKernel(driver, loaded, i, message))
        return status;
  return OMNIMOE_OK;
}

/// Finds a kernel in its module, and allows it all the shared memory of the
/// device that its own static variables leave.
OmniMoeStatus GPUProgram::findKernel(const cuda::Driver &driver,
                                     LoadedKernels &loaded, size_t index,
                                     std::string &message) {
  const std::string &name = image.kernelNames[index];
  GPUKernel &kernel = loaded.kernels[index];
  int32_t used = 0;
  cuda::Result result = driver.moduleGetFunction(
      &kernel.function, loaded.modules[definitions[index].text], name.c_str());
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
  std::vector<size_t> missing;
  for (const int32_t *kernel = kernels; kernel != end; ++kernel) {
    size_t text = definitions[*kernel].text;
    if (!loaded.modules[text] &&
        std::find(missing.begin(), missing.end(), text) == missing.end())
      missing.push_back(text);
  }
  // The driver takes its time where its own cache does not have them.
  std::vector<cuda::Result> results = runInContext(
      driver, loaded.context, missing.size(), missing.size(), [&](size_t i) {
        return driver.moduleLoadData(&loaded.modules[missing[i]],
                                     texts[missing[i]].c_str());
      });
  for (size_t i = 0; i < missing.size(); ++i)
    if (results[i] != cuda::kSuccess) {
      message = explainPTXError(driver, results[i], texts[missing[i]]);
      return OMNIMOE_DEVICE_ERROR;
    }
  for (const int32_t *kernel = kernels; kernel != end; ++kernel)
    if (!isReady(*kernel))
      if (OmniMoeStatus status = findKernel(driver, loaded, *kernel, message))
        return status;
  return OMNIMOE_OK;
}
