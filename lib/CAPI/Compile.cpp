//===- Compile.cpp - Compiling through the C API --------------------------===//

#include "Executable.h"
#include "Support.h"

#include "omnimoe/Target/Compiler.h"
#include "omnimoe/Target/NVIDIA.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/JSON.h"
#include <chrono>

using namespace mlir::omnimoe;
using llvm::StringRef;

void omnimoe_default_options(OmniMoeOptions *options) {
  if (options)
    *options = OmniMoeOptions{};
}

OmniMoeStatus omnimoe_run_pipeline(const char *ir, size_t size,
                                   const char *pipeline,
                                   OmniMoeString *result) {
  if (!ir)
    return capi::failOnNull("ir");
  if (!pipeline)
    return capi::failOnNull("pipeline");
  if (!result)
    return capi::failOnNull("result");
  std::string text, message;
  if (OmniMoeStatus status =
          runPipeline(StringRef(ir, size), pipeline, text, message))
    return capi::fail(status, message);
  return capi::give(text, result);
}

/// The failure of a target that nothing can be compiled for.
static OmniMoeStatus failOnTarget(StringRef target) {
  return capi::fail(OMNIMOE_DEVICE_ERROR,
                    "target: expected \"cpu\" or \"" +
                        llvm::join(getNVIDIAChips(), "\" or \"") +
                        "\", got \"" + target.str() + "\"");
}

OmniMoeStatus omnimoe_stages(const char *target, OmniMoeString *json) {
  if (!json)
    return capi::failOnNull("json");
  StringRef name = target ? target : "cpu";
  if (!isKnownTarget(name))
    return failOnTarget(name);
  std::string text;
  llvm::raw_string_ostream(text)
      << llvm::json::Value(llvm::json::Array(getStageNames(name)));
  return capi::give(text, json);
}

/// Checks the caller's options and makes a request of them.
static OmniMoeStatus readOptions(const OmniMoeOptions &options,
                                 LoadRequest &request) {
  StringRef target = options.target ? options.target : "auto";
  if (target != "auto" && !isKnownTarget(target))
    return failOnTarget(target);

  static constexpr StringRef schedules[] = {
      "auto", "token_centric", "expert_centric", "dense", "hybrid"};
  StringRef schedule = options.schedule ? options.schedule : "auto";
  if (!llvm::is_contained(schedules, schedule))
    return capi::fail(OMNIMOE_INVALID_ARGUMENT,
                      "schedule: expected one of " +
                          llvm::join(llvm::ArrayRef(schedules), ", ") +
                          "; got \"" + schedule.str() + "\"");
  if (options.threads < 0)
    return capi::fail(OMNIMOE_INVALID_ARGUMENT,
                      "threads: expected 0 or more, got " +
                          std::to_string(options.threads));
  if (options.cache_bytes < 0)
    return capi::fail(OMNIMOE_INVALID_ARGUMENT,
                      "cache_bytes: expected 0 or more, got " +
                          std::to_string(options.cache_bytes));

  request.options.target = target.str();
  request.options.schedule = schedule.str();
  request.options.threads = options.threads;
  request.options.deterministic = options.deterministic != 0;
  request.options.measured = options.measured ? options.measured : "";
  request.cacheDirectory = options.cache_dir ? options.cache_dir : "";
  request.cacheBytes = options.cache_bytes;
  request.dumpDirectory = options.dump_dir ? options.dump_dir : "";
  request.dumpStages = options.dump ? options.dump : "all";
  return OMNIMOE_OK;
}

OmniMoeStatus omnimoe_compile(const char *ir, size_t size,
                              const OmniMoeOptions *options,
                              OmniMoeExecutable **executable) {
  if (!ir)
    return capi::failOnNull("ir");
  if (!executable)
    return capi::failOnNull("executable");
  *executable = nullptr;
  auto start = std::chrono::steady_clock::now();
  LoadRequest request;
  if (OmniMoeStatus status =
          readOptions(options ? *options : OmniMoeOptions{}, request))
    return status;
  request.source.assign(ir, size);

  LoadResult result;
  std::string message;
  if (OmniMoeStatus status = loadProgram(request, result, message))
    return capi::fail(status, message);
  std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - start;
  *executable = new OmniMoeExecutable{std::move(result), elapsed.count()};
  return OMNIMOE_OK;
}
