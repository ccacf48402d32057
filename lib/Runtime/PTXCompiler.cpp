//===- PTXCompiler.cpp - PTX to cubins by the driver ----------------------===//

#include "omnimoe/Runtime/PTXCompiler.h"

#include "omnimoe/Runtime/OpenMP.h"
#include "omnimoe/Runtime/PTXText.h"
#include <algorithm>
#include <atomic>
#include <pthread.h>

using namespace mlir::omnimoe::runtime;

//===----------------------------------------------------------------------===//
// Messages
//===----------------------------------------------------------------------===//

/// The CUDA whose driver first took a version of PTX, as drivers count; 0 for
/// versions that came later than this was written.
static int32_t getCUDAOfPTX(int32_t version) {
  static constexpr struct {
    int32_t ptx, cuda;
  } versions[] = {{80, 12000}, {81, 12010}, {82, 12020}, {83, 12030},
                  {84, 12040}, {85, 12050}, {86, 12070}, {87, 12080},
                  {88, 12090}, {90, 13000}};
  for (auto known : versions)
    if (version <= known.ptx)
      return known.cuda;
  return 0;
}

std::string mlir::omnimoe::runtime::explainPTXError(const cuda::Driver &driver,
                                                    cuda::Result result,
                                                    const std::string &text,
                                                    const std::string &log) {
  if (result == cuda::kUnsupportedPTXVersion) {
    int32_t version = getPTXVersion(text);
    int32_t needed = getCUDAOfPTX(version);
    return "the CUDA driver is too old for the program: it serves CUDA " +
           cuda::toVersionText(driver.version) + ", and PTX " +
           std::to_string(version / 10) + "." + std::to_string(version % 10) +
           " needs a driver of CUDA " +
           (needed ? cuda::toVersionText(needed) : "newer than that") +
           (needed ? " or newer" : "");
  }
  if (result == cuda::kJITCompilerNotFound)
    return "the CUDA driver cannot compile PTX: its "
           "libnvidia-ptxjitcompiler.so.1 is not found; install it, or let the "
           "container see it";
  return "the CUDA driver cannot compile the program: " +
         driver.describe(result) + (log.empty() ? "" : "\n" + log);
}

//===----------------------------------------------------------------------===//
// Compiling
//===----------------------------------------------------------------------===//

static cuda::Result compileText(const cuda::Driver &driver,
                                const std::string &text, std::string &cubin,
                                std::string &log) {
  char buffer[4096] = "";
  cuda::JITOption options[] = {cuda::kErrorLog, cuda::kErrorLogBytes};
  void *values[] = {buffer, reinterpret_cast<void *>(sizeof(buffer))};
  cuda::LinkState state = nullptr;
  cuda::Result result = driver.linkCreate(2, options, values, &state);
  if (result != cuda::kSuccess)
    return result;
  // The driver wants the terminating null counted.
  result = driver.linkAddData(state, cuda::kPTXInput,
                              const_cast<char *>(text.data()), text.size() + 1,
                              "kernels", 0, nullptr, nullptr);
  void *data = nullptr;
  size_t size = 0;
  if (result == cuda::kSuccess)
    result = driver.linkComplete(state, &data, &size);
  // The cubin belongs to the state.
  if (result == cuda::kSuccess)
    cubin.assign(static_cast<char *>(data), size);
  buffer[sizeof(buffer) - 1] = 0;
  log = buffer;
  driver.linkDestroy(state);
  return result;
}

namespace {
/// Calls that several threads take from.
struct Work {
  const cuda::Driver &driver;
  cuda::Context context;
  const std::function<cuda::Result(size_t)> &call;
  std::vector<cuda::Result> results;
  std::atomic<size_t> next{0};

  void run() {
    cuda::ContextScope scope(driver, context);
    cuda::RelaxedCapture relaxed(driver);
    for (size_t i; (i = next++) < results.size();)
      results[i] = scope.getResult() ? scope.getResult() : call(i);
  }
};
} // namespace

std::vector<cuda::Result> mlir::omnimoe::runtime::runInContext(
    const cuda::Driver &driver, cuda::Context context, size_t count,
    size_t threads, const std::function<cuda::Result(size_t)> &work) {
  Work shared{driver, context, work, std::vector<cuda::Result>(count)};
  // Other threads help where there are any; this one would do it all alone.
  std::vector<pthread_t> helpers;
  size_t wanted = std::min<size_t>(std::min(count, threads),
                                   std::max(getNumProcessors(), 1));
  for (size_t i = 1; i < wanted; ++i) {
    pthread_t thread;
    auto run = [](void *work) -> void * {
      static_cast<Work *>(work)->run();
      return nullptr;
    };
    if (pthread_create(&thread, nullptr, run, &shared))
      break;
    helpers.push_back(thread);
  }
  shared.run();
  for (pthread_t thread : helpers)
    pthread_join(thread, nullptr);
  return std::move(shared.results);
}

OmniMoeStatus mlir::omnimoe::runtime::compilePTX(
    const cuda::Driver &driver, cuda::Context context,
    const std::vector<std::string> &texts, std::vector<std::string> &cubins,
    std::string &message, const std::function<void(size_t)> &load) {
  cubins.assign(texts.size(), "");
  std::vector<std::string> logs(texts.size());
  std::vector<cuda::Result> results =
      runInContext(driver, context, texts.size(), texts.size(), [&](size_t i) {
        cuda::Result result = cuda::kSuccess;
        if (compilesAtLoad(texts[i]))
          // The terminating null is part of what a program file keeps.
          cubins[i].assign(texts[i].c_str(), texts[i].size() + 1);
        else
          result = compileText(driver, texts[i], cubins[i], logs[i]);
        if (result == cuda::kSuccess && load)
          load(i);
        return result;
      });
  for (size_t i = 0; i < texts.size(); ++i)
    if (results[i] != cuda::kSuccess) {
      message = explainPTXError(driver, results[i], texts[i], logs[i]);
      cubins.clear();
      return OMNIMOE_DEVICE_ERROR;
    }
  return OMNIMOE_OK;
}
