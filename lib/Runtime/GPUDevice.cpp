//===- GPUDevice.cpp - The GPUs of this machine ---------------------------===//

#include "omnimoe/Runtime/GPUDevice.h"

#include <cstdlib>

using namespace mlir::omnimoe::runtime;

namespace {
/// A name such as "sm_90a" in its parts.
struct Chip {
  int32_t major = 0, minor = 0;
  /// 'a': this architecture only; 'f': its family; 0: it and what comes after.
  char suffix = 0;
};
} // namespace

static bool parseChip(const std::string &name, Chip &chip) {
  if (name.compare(0, 3, "sm_") != 0)
    return false;
  char *end = nullptr;
  long number = std::strtol(name.c_str() + 3, &end, 10);
  if (number < 10)
    return false;
  chip = {static_cast<int32_t>(number / 10), static_cast<int32_t>(number % 10),
          *end};
  return true;
}

static std::string toText(int32_t major, int32_t minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

cuda::Result mlir::omnimoe::runtime::getGPUDevice(const cuda::Driver &driver,
                                                  cuda::Device ordinal,
                                                  GPUDevice &device) {
  char name[256] = "";
  device.ordinal = ordinal;
  if (cuda::Result result = driver.deviceGetName(name, sizeof(name), ordinal))
    return result;
  device.name = name;
  const std::pair<cuda::DeviceAttribute, int32_t *> attributes[] = {
      {cuda::kCapabilityMajor, &device.major},
      {cuda::kCapabilityMinor, &device.minor},
      {cuda::kMultiprocessors, &device.units}};
  for (auto [attribute, value] : attributes)
    if (cuda::Result result =
            driver.deviceGetAttribute(value, attribute, ordinal))
      return result;
  return cuda::kSuccess;
}

bool mlir::omnimoe::runtime::getGPUDevices(std::vector<GPUDevice> &devices,
                                           std::string &message) {
  devices.clear();
  const cuda::Driver *driver = cuda::getDriver(message);
  if (!driver)
    return false;
  int32_t count = 0;
  cuda::Result result = driver->deviceGetCount(&count);
  for (int32_t i = 0; i < count && result == cuda::kSuccess; ++i) {
    GPUDevice device;
    result = getGPUDevice(*driver, i, device);
    devices.push_back(std::move(device));
  }
  if (result != cuda::kSuccess) {
    message = "the GPUs cannot be listed: " + driver->describe(result);
    return false;
  }
  if (devices.empty())
    message = "no GPU: the CUDA driver finds none";
  return !devices.empty();
}

bool mlir::omnimoe::runtime::canRun(const GPUDevice &device,
                                    const std::string &chip) {
  Chip needed;
  if (!parseChip(chip, needed))
    return false;
  if (device.major != needed.major)
    return !needed.suffix && device.major > needed.major;
  return needed.suffix == 'a' ? device.minor == needed.minor
                              : device.minor >= needed.minor;
}

std::string mlir::omnimoe::runtime::explainCannotRun(const GPUDevice &device,
                                                     const std::string &chip) {
  Chip needed;
  std::string text = "code for " + chip;
  if (parseChip(chip, needed))
    text += " runs on GPUs of compute capability " +
            toText(needed.major, needed.minor) +
            (needed.suffix == 'a' ? " only" : " or newer");
  else
    text += " runs on no GPU";
  return text + "; cuda:" + std::to_string(device.ordinal) + " (" +
         device.name + ") has " + toText(device.major, device.minor);
}
