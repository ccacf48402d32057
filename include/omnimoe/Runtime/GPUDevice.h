//===- GPUDevice.h - The GPUs of this machine -------------------*- C++ -*-===//

#ifndef OMNIMOE_RUNTIME_GPUDEVICE_H
#define OMNIMOE_RUNTIME_GPUDEVICE_H

#include "omnimoe/Runtime/CUDADriver.h"
#include <vector>

namespace mlir::omnimoe::runtime {

struct GPUDevice {
  cuda::Device ordinal;
  /// As its maker calls it: "NVIDIA H100 80GB HBM3".
  std::string name;
  int32_t major, minor; ///< compute capability
  int32_t units;        ///< streaming multiprocessors
};

/// The GPUs that the driver shows; false, with what is missing, if none.
bool getGPUDevices(std::vector<GPUDevice> &devices, std::string &message);

/// Reads one device.
cuda::Result getGPUDevice(const cuda::Driver &driver, cuda::Device ordinal,
                          GPUDevice &device);

/// Whether code for `chip` runs on the device. `sm_90` runs on 9.0 and newer;
/// `sm_90a` has instructions of that one architecture, so it runs on 9.0 alone.
bool canRun(const GPUDevice &device, const std::string &chip);

/// "sm_90a runs on GPUs of compute capability 9.0 (Hopper) only; cuda:0, an
/// NVIDIA A100, has 8.0"
std::string explainCannotRun(const GPUDevice &device, const std::string &chip);

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_GPUDEVICE_H
