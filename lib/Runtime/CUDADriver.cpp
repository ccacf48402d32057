//===- CUDADriver.cpp - NVIDIA's driver, found at run time ----------------===//

#include "omnimoe/Runtime/CUDADriver.h"

#include <atomic>
#include <cstdlib>
#include <dlfcn.h>
#include <mutex>
#include <vector>

using namespace mlir::omnimoe::runtime;
using namespace mlir::omnimoe::runtime::cuda;

/// The first CUDA whose driver can load the kernels of any Hopper program.
static constexpr int32_t kOldestVersion = 12000;

std::string cuda::toVersionText(int32_t version) {
  return std::to_string(version / 1000) + "." +
         std::to_string(version % 1000 / 10);
}

std::string Driver::describe(Result result) const {
  const char *name = nullptr, *text = nullptr;
  if (getErrorName(result, &name) != kSuccess || !name)
    return "CUDA error " + std::to_string(result);
  std::string description = name;
  if (getErrorString(result, &text) == kSuccess && text)
    description += " (" + std::string(text) + ")";
  return description;
}

//===----------------------------------------------------------------------===//
// Loading
//===----------------------------------------------------------------------===//

static std::atomic<bool> processEnding{false};

bool cuda::isProcessEnding() { return processEnding; }

/// Opens the library; the last paths are where containers and WSL put it
/// without telling the system's loader.
static void *openLibrary(std::string &message) {
  if (const char *path = std::getenv("OMNIMOE_CUDA_DRIVER"); path && *path) {
    if (void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL))
      return library;
    message = "no CUDA driver: OMNIMOE_CUDA_DRIVER names " + std::string(path) +
              ", which cannot be loaded: " + dlerror();
    return nullptr;
  }
  std::string reason;
  for (const char *path :
       {"libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1",
        "/usr/lib/wsl/lib/libcuda.so.1"}) {
    if (void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL))
      return library;
    if (reason.empty())
      reason = dlerror();
  }
  message = "no CUDA driver: libcuda.so.1, which NVIDIA's driver brings, "
            "cannot be loaded (" +
            reason + ")";
  return nullptr;
}

static std::string explainInit(const Driver &driver, Result result) {
  switch (result) {
  case kNoDevice: {
    const char *visible = std::getenv("CUDA_VISIBLE_DEVICES");
    return "no GPU: the CUDA driver finds none" +
           (visible
                ? std::string(" (CUDA_VISIBLE_DEVICES is \"") + visible + "\")"
                : std::string());
  }
  case kStubLibrary:
    return "no CUDA driver: the libcuda.so.1 that was found is the stub that "
           "programs are linked with; take its folder off LD_LIBRARY_PATH";
  default:
    return "the CUDA driver does not start: " + driver.describe(result);
  }
}

static bool load(Driver &driver, std::string &message) {
  void *library = openLibrary(message);
  if (!library)
    return false;
  // Looked at first, since an older driver lacks some of the functions.
  using GetVersion = Result (*)(int32_t *);
  auto getVersion =
      reinterpret_cast<GetVersion>(dlsym(library, "cuDriverGetVersion"));
  if (!getVersion || getVersion(&driver.version) != kSuccess)
    driver.version = 0;
  std::string missing;
#define OMNIMOE_CUDA_LOAD(name, symbol, arguments)                             \
  driver.name =                                                                \
      reinterpret_cast<decltype(driver.name)>(dlsym(library, symbol));         \
  if (!driver.name && missing.empty())                                         \
    missing = symbol;
  OMNIMOE_CUDA_GRAPH_FUNCTIONS(OMNIMOE_CUDA_LOAD)
  driver.hasGraphs = missing.empty();
  missing.clear();
  OMNIMOE_CUDA_FUNCTIONS(OMNIMOE_CUDA_LOAD)
#undef OMNIMOE_CUDA_LOAD
  if (!missing.empty() || driver.version < kOldestVersion) {
    message = "the CUDA driver is too old: it serves CUDA " +
              toVersionText(driver.version) + ", programs need " +
              toVersionText(kOldestVersion) + " or newer" +
              (missing.empty() ? "" : " (it has no " + missing + ")");
    return false;
  }
  if (Result result = driver.init(0)) {
    message = explainInit(driver, result);
    return false;
  }
  // Registered after the driver's own handlers, so it runs before them.
  std::atexit([] { processEnding = true; });
  return true;
}

const Driver *cuda::getDriver(std::string &message) {
  struct State {
    Driver driver;
    bool loaded;
    std::string message;
  };
  // Never destroyed: programs may be unloaded after static objects are.
  static const State *state = [] {
    auto *state = new State;
    state->loaded = load(state->driver, state->message);
    return state;
  }();
  if (state->loaded)
    return &state->driver;
  message = state->message;
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Contexts
//===----------------------------------------------------------------------===//

/// The primary context of a device, which is kept from its first use on.
static Result getPrimaryContext(const Driver &driver, Device device,
                                Context &context) {
  static std::mutex mutex;
  static auto *contexts = new std::vector<Context>;
  std::lock_guard<std::mutex> lock(mutex);
  if (contexts->size() <= static_cast<size_t>(device))
    contexts->resize(device + 1);
  Context &known = (*contexts)[device];
  if (!known)
    if (Result result = driver.devicePrimaryCtxRetain(&known, device)) {
      known = nullptr;
      return result;
    }
  context = known;
  return kSuccess;
}

ContextScope::ContextScope(const Driver &driver, Device device)
    : driver(driver) {
  // The device may be asked for only where there is a context.
  Device current = -1;
  if (driver.ctxGetCurrent(&context) == kSuccess && context &&
      driver.ctxGetDevice(&current) == kSuccess && current == device)
    return;
  result = getPrimaryContext(driver, device, context);
  if (result == kSuccess)
    result = driver.ctxPushCurrent(context);
  pushed = result == kSuccess;
}

ContextScope::ContextScope(const Driver &driver, Context context)
    : driver(driver), context(context) {
  result = driver.ctxPushCurrent(context);
  pushed = result == kSuccess;
}

ContextScope::~ContextScope() {
  Context popped;
  if (pushed)
    driver.ctxPopCurrent(&popped);
}

RelaxedCapture::RelaxedCapture(const Driver &driver) : driver(driver) {
  changed = driver.threadExchangeStreamCaptureMode(&mode) == kSuccess;
}

RelaxedCapture::~RelaxedCapture() {
  if (changed)
    driver.threadExchangeStreamCaptureMode(&mode);
}
