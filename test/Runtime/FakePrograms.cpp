//===- FakePrograms.cpp - Modules and launches of a driver without a GPU --===//
//===----------------------------------------------------------------------===//

#include "FakeCUDAState.h"

namespace {

/// Bytes of the parameter that a line of PTX declares.
int parameterSize(const std::string &line) {
  size_t open = line.find('[');
  if (open != std::string::npos)
    return std::atoi(line.c_str() + open + 1);
  for (auto [type, size] : {std::pair(".u64", 8),
                            {".b64", 8},
                            {".s64", 8},
                            {".f64", 8},
                            {".u32", 4},
                            {".b32", 4},
                            {".s32", 4},
                            {".f32", 4},
                            {".u16", 2},
                            {".b16", 2},
                            {".u8", 1},
                            {".b8", 1}})
    if (line.find(type) != std::string::npos)
      return size;
  return 8;
}

/// The kernel of a name in PTX; null if there is none.
std::unique_ptr<FunctionObject> findEntry(Module module,
                                          const std::string &name) {
  size_t entry = module->text.find(".entry " + name + "(");
  if (entry == std::string::npos)
    return nullptr;
  auto function = std::make_unique<FunctionObject>();
  function->module = module;
  function->name = name;
  size_t end = module->text.find("\n)", entry);
  for (size_t line = module->text.find(".param", entry); line < end;
       line = module->text.find(".param", line + 1))
    function->parameterSizes.push_back(parameterSize(
        module->text.substr(line, module->text.find('\n', line) - line)));
  return function;
}

} // namespace

FAKE(cuModuleLoadData)(Module *module, const void *image) {
  Call call("cuModuleLoadData", Call::Unsafe);
  if (call.result)
    return call.result;
  std::string text = static_cast<const char *>(image);
  if (text.find(".version ") == std::string::npos)
    return call.result = kInvalidImage;
  *module = new ModuleObject{current(), std::move(text), {}};
  state().modules.insert(*module);
  return kSuccess;
}

FAKE(cuModuleUnload)(Module module) {
  Call call("cuModuleUnload", Call::Unsafe);
  if (call.result)
    return call.result;
  if (!state().modules.erase(module) || module->context != current())
    return call.result = kInvalidHandle;
  delete module;
  return kSuccess;
}

FAKE(cuModuleGetFunction)(Function *function, Module module, const char *name) {
  Call call("cuModuleGetFunction", Call::NeedsContext);
  if (call.result)
    return call.result;
  if (!state().modules.count(module) || module->context != current())
    return call.result = kInvalidHandle;
  auto &known = module->functions[name];
  if (!known)
    known = findEntry(module, name);
  *function = known.get();
  return call.result = known ? kSuccess : kNotFound;
}

FAKE(cuFuncGetAttribute)(int32_t *value, FunctionAttribute attribute,
                         Function) {
  Call call("cuFuncGetAttribute", Call::NeedsContext);
  if (attribute != kStaticSharedBytes)
    return call.result = kInvalidValue;
  *value = kStaticShared;
  return call.result;
}

FAKE(cuFuncSetAttribute)(Function function, FunctionAttribute attribute,
                         int32_t value) {
  Call call("cuFuncSetAttribute", Call::NeedsContext);
  if (call.result)
    return call.result;
  if (attribute != kMaxDynamicSharedBytes || value < 0 ||
      value > kSharedOptIn - kStaticShared)
    return call.result = kInvalidValue;
  function->maxDynamicSharedBytes = value;
  return kSuccess;
}

Result checkLaunch(const GraphNodeObject &launch, Stream stream) {
  State &s = state();
  const LaunchSizes &c = launch.sizes;
  if (!s.modules.count(launch.function->module) ||
      launch.function->module->context != current())
    return kInvalidHandle;
  if (auto it = s.streams.find(stream);
      it != s.streams.end() && it->second != current()->device)
    return kInvalidHandle;
  uint64_t threads = uint64_t(c.blockX) * c.blockY * c.blockZ;
  bool valid =
      c.gridX && c.gridY && c.gridZ && c.gridX <= 0x7fffffff &&
      c.gridY <= 65535 && c.gridZ <= 65535 && threads != 0 && threads <= 1024 &&
      c.sharedBytes <= uint32_t(launch.function->maxDynamicSharedBytes);
  return valid ? kSuccess : kInvalidValue;
}

std::string describeLaunch(const GraphNodeObject &launch, Stream stream) {
  const LaunchSizes &c = launch.sizes;
  char sizes[256];
  std::snprintf(sizes, sizeof(sizes),
                "device=%d stream=%p grid=%u,%u,%u block=%u,%u,%u shared=%u",
                current()->device, stream, c.gridX, c.gridY, c.gridZ, c.blockX,
                c.blockY, c.blockZ, c.sharedBytes);
  std::string text = "kernel=" + launch.function->name + " " + sizes;
  text += launch.overlaps ? " overlaps parameters=" : " parameters=";
  for (size_t i = 0; i < launch.parameters.size(); ++i)
    text += (i ? "," : "") + hex(launch.parameters[i]);
  return text;
}

std::vector<uint64_t> readParameters(Function function, void **parameters) {
  std::vector<uint64_t> values;
  for (size_t i = 0; i < function->parameterSizes.size(); ++i)
    std::memcpy(&values.emplace_back(0), parameters[i],
                std::min(function->parameterSizes[i], 8));
  return values;
}

FAKE(cuLaunchKernelEx)(const LaunchConfig *config, Function function,
                       void **parameters, void **extra) {
  Call call("cuLaunchKernelEx", Call::NeedsContext);
  if (call.result)
    return call.result;
  GraphNodeObject launch{function, config->sizes, false, {}};
  for (uint32_t i = 0; i < config->numAttributes; ++i) {
    if (config->attributes[i].id != kProgrammaticStreamSerialization)
      return call.result = kInvalidValue;
    launch.overlaps |= config->attributes[i].value != 0;
  }
  if (Result result = checkLaunch(launch, config->stream); result || extra)
    return call.result = result ? result : kInvalidValue;
  launch.parameters = readParameters(function, parameters);
  auto of = state().capturing.find(config->stream);
  auto capture = state().captures.find(
      of == state().capturing.end() ? nullptr : of->second);
  if (capture == state().captures.end())
    call.note(describeLaunch(launch, config->stream));
  else
    capture->second->nodes.push_back(
        std::make_unique<GraphNodeObject>(std::move(launch)));
  return kSuccess;
}
