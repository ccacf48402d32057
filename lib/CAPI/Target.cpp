//===- Target.cpp - Targets and threads of the C API ----------------------===//

#include "Support.h"

#include "mlir/IR/MLIRContext.h"
#include "omnimoe/Dialect/OmniMoE/IR/OmniMoE.h"
#include "omnimoe/Runtime/GPULaunch.h"
#include "omnimoe/Runtime/OpenMP.h"
#include "omnimoe/Target/Host.h"
#include "omnimoe/Target/NVIDIA.h"
#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace mlir::omnimoe;

OmniMoeStatus omnimoe_targets(OmniMoeString *json) {
  if (!json)
    return capi::failOnNull("json");
  MLIRContext context(MLIRContext::Threading::DISABLED);
  llvm::json::Array targets;
  auto add = [&](StringRef name, TargetAttr target) {
    std::string attribute;
    llvm::raw_string_ostream(attribute) << target;
    targets.push_back(llvm::json::Object{{"name", name},
                                         {"chip", target.getChip()},
                                         {"units", target.getUnits()},
                                         {"attribute", attribute}});
  };
  add("cpu", getHostTarget(&context));
  for (StringRef chip : getNVIDIAChips())
    add(chip, getNVIDIATarget(&context, chip));
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(targets));
  return capi::give(text, json);
}

/// The target that programs for a device are compiled for; null if none.
static llvm::json::Value getDeviceTarget(const runtime::GPUDevice &device) {
  for (StringRef chip : getNVIDIAChips())
    if (runtime::canRun(device, chip.str()))
      return chip;
  return nullptr;
}

OmniMoeStatus omnimoe_devices(OmniMoeString *json) {
  if (!json)
    return capi::failOnNull("json");
  std::vector<runtime::GPUDevice> found;
  std::string missing, text;
  runtime::getGPUDevices(found, missing);
  llvm::json::Array devices;
  for (const runtime::GPUDevice &device : found)
    devices.push_back(llvm::json::Object{
        {"name", "cuda:" + std::to_string(device.ordinal)},
        {"description", device.name},
        {"capability", llvm::json::Array{device.major, device.minor}},
        {"units", device.units},
        {"target", getDeviceTarget(device)}});
  llvm::raw_string_ostream(text) << llvm::json::Value(llvm::json::Object{
      {"devices", std::move(devices)}, {"missing", missing}});
  return capi::give(text, json);
}

OmniMoeStatus omnimoe_memory_device(const void *memory, int32_t *device) {
  if (!device)
    return capi::failOnNull("device");
  std::string message;
  OmniMoeStatus status = runtime::findMemory(memory, *device, message);
  return status ? capi::fail(status, std::move(message)) : OMNIMOE_OK;
}

OmniMoeStatus omnimoe_copy_to_host(void *host, const void *memory,
                                   int64_t bytes, void *stream) {
  if (bytes < 0)
    return capi::fail(OMNIMOE_INVALID_ARGUMENT, "bytes: expected 0 or more, "
                                                "got " +
                                                    std::to_string(bytes));
  if (bytes > 0 && !host)
    return capi::failOnNull("host");
  std::string message;
  OmniMoeStatus status =
      runtime::copyToHost(host, memory, bytes, stream, "memory", message);
  return status ? capi::fail(status, std::move(message)) : OMNIMOE_OK;
}

OmniMoeStatus omnimoe_set_num_threads(int32_t threads) {
  if (threads < 0)
    return capi::fail(OMNIMOE_INVALID_ARGUMENT,
                      "threads: expected 0 or more, got " +
                          std::to_string(threads));
  runtime::setNumThreads(threads);
  return OMNIMOE_OK;
}

int32_t omnimoe_get_num_threads(void) { return runtime::getNumThreads(); }
