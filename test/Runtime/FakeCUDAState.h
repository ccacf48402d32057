//===- FakeCUDAState.h - What the fake driver knows -------------*- C++ -*-===//

#ifndef OMNIMOE_TEST_RUNTIME_FAKECUDASTATE_H
#define OMNIMOE_TEST_RUNTIME_FAKECUDASTATE_H

#include "FakeCUDA.h"

#include "omnimoe/Runtime/CUDADriver.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#define FAKE(name) extern "C" FAKE_CUDA_EXPORT Result name

using namespace mlir::omnimoe::runtime::cuda;

namespace mlir::omnimoe::runtime::cuda {
struct ContextObject {
  Device device;
};
struct ModuleObject {
  Context context;
  std::string text;
  std::map<std::string, std::unique_ptr<FunctionObject>> functions;
};
struct FunctionObject {
  Module module;
  std::string name;
  std::vector<int> parameterSizes;
  int32_t maxDynamicSharedBytes = 48 << 10;
};
/// The capture of the stream that it was recorded on last.
struct EventObject {
  void *stream = nullptr;
  void *capture = nullptr;
};
/// A launch: in a log, or in a graph.
struct GraphNodeObject {
  Function function;
  LaunchSizes sizes;
  bool overlaps;
  std::vector<uint64_t> parameters; // their first 8 bytes
};
struct GraphObject {
  std::vector<std::unique_ptr<GraphNodeObject>> nodes;
};
struct GraphExecObject {
  Graph graph;
  std::vector<GraphNodeObject> launches;
};
} // namespace mlir::omnimoe::runtime::cuda

//===----------------------------------------------------------------------===//
// State
//===----------------------------------------------------------------------===//

inline constexpr int32_t kStaticShared = 1024, kSharedOptIn = 232448;
inline constexpr Result kNotInitialized = 3, kInvalidDevice = 101,
                        kInvalidImage = 200, kInvalidContext = 201,
                        kInvalidHandle = 400, kCaptureUnsupported = 900;

struct State {
  State() {
    const char *setup = std::getenv("FAKE_CUDA");
    std::string text = setup ? setup : "";
    for (size_t begin = 0; begin < text.size();) {
      size_t end = std::min(text.find(',', begin), text.size());
      set(text.substr(begin, end - begin));
      begin = end + 1;
    }
    for (int i = 0; i < devices; ++i)
      primary.push_back(std::make_unique<ContextObject>(ContextObject{i}));
  }

  void set(const std::string &entry) {
    size_t equals = entry.find('=');
    std::string key = entry.substr(0, equals), value = entry.substr(equals + 1);
    if (key == "devices")
      devices = std::atoi(value.c_str());
    else if (key == "capability")
      capability = std::atoi(value.c_str());
    else if (key == "version")
      version = std::atoi(value.c_str());
    else if (key == "fail")
      failures[value.substr(0, value.find(':'))] =
          std::atoi(value.c_str() + value.find(':') + 1);
  }

  std::recursive_mutex mutex;
  int devices = 1, capability = 90, version = 13000;
  bool initialized = false;
  std::string log, shown;
  std::map<std::string, int> counts;
  std::map<std::string, Result> failures;
  std::vector<std::unique_ptr<ContextObject>> primary;
  std::set<Module> modules;
  std::map<void *, Device> streams;
  size_t streamsMade = 0;
  /// The streams that capture, and the one that each capture began with.
  std::map<void *, void *> capturing;
  /// Graphs that are made of what is captured, by the stream that it began
  /// with.
  std::map<void *, Graph> captures;
  std::set<Graph> graphs;
  std::set<GraphExec> executables;
  /// Device memory: its begin, its bytes, its device.
  std::map<uintptr_t, std::pair<size_t, Device>> memory;
};

inline State &state() {
  static auto *instance = new State;
  return *instance;
}

inline thread_local std::vector<Context> contextStack;
inline thread_local int captureMode = 0; // global

inline Context current() {
  return contextStack.empty() ? nullptr : contextStack.back();
}

/// One call: it holds the lock, stands in the log, and may have to fail.
class Call {
public:
  enum Kind { Plain, NeedsContext, Unsafe };

  Call(const char *name, Kind kind = Plain) : lock(state().mutex) {
    State &s = state();
    s.log += name;
    ++s.counts[name];
    if (auto it = s.failures.find(name); it != s.failures.end() && it->second)
      result = it->second;
    else if (!s.initialized && std::strcmp(name, "cuInit"))
      result = kNotInitialized;
    else if (kind != Plain && !current())
      result = kInvalidContext;
    // What may wait or allocate breaks captures, unless the thread says that
    // it knows what it does.
    if (kind == Unsafe && !s.capturing.empty() &&
        captureMode != kCaptureRelaxed)
      forbid();
  }
  ~Call() {
    if (result != kSuccess)
      state().log += " failed=" + std::to_string(result);
    state().log += "\n";
  }

  void forbid() {
    state().log += " forbidden";
    result = kCaptureUnsupported;
  }
  void note(const std::string &text) { state().log += " " + text; }

  Result result = kSuccess;

private:
  std::lock_guard<std::recursive_mutex> lock;
};

inline std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx",
                static_cast<unsigned long long>(value));
  return text;
}

/// Whether the driver would launch this on the stream, in the current context.
Result checkLaunch(const GraphNodeObject &launch, Stream stream);
/// What the log says of it.
std::string describeLaunch(const GraphNodeObject &launch, Stream stream);
/// The parameters of a launch, read.
std::vector<uint64_t> readParameters(Function function, void **parameters);

#endif // OMNIMOE_TEST_RUNTIME_FAKECUDASTATE_H
