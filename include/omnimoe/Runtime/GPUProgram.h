//===- GPUProgram.h - The kernels of a compiled program ---------*- C++ -*-===//
//
// Kernels come as PTX. Each is a module of its own, which the driver compiles,
// or takes from its disk cache, when a call first launches the kernel in a
// context. Links no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_RUNTIME_GPUPROGRAM_H
#define OMNIMOE_RUNTIME_GPUPROGRAM_H

#include "omnimoe-c/omnimoe.h"
#include "omnimoe/Runtime/GPUDevice.h"
#include "omnimoe/Runtime/LaunchGraphs.h"
#include "omnimoe/Runtime/PTXText.h"
#include <atomic>
#include <memory>
#include <mutex>

namespace mlir::omnimoe::runtime {

/// What the kernels of a program are made from.
struct GPUImage {
  /// The chip that the code is for: "sm_90a".
  std::string chip;
  /// PTX: any number of texts, one after the other, each with its `.version`.
  std::string ptx;
  /// The kernels in the order that the host code counts them in.
  std::vector<std::string> kernelNames;
};

/// The kernels of a program in a context, and the graphs of their launches.
struct LoadedKernels {
  cuda::Context context;
  /// Shared memory that a block can have, in bytes.
  int32_t maxSharedBytes = 0;
  /// One for each text of PTX; null: not loaded yet.
  std::vector<cuda::Module> modules;
  std::vector<GPUKernel> kernels;
  /// For each kernel whether it can be launched.
  std::unique_ptr<std::atomic<bool>[]> ready;
  /// Whether kernels can be launched as graphs: that takes a driver that has
  /// graphs, and parameters whose sizes are known.
  bool makesGraphs = false;
  LaunchGraphs graphs;
  /// Held while a kernel is loaded.
  std::mutex mutex;
};

class GPUProgram {
public:
  explicit GPUProgram(GPUImage image) : image(std::move(image)) {}
  /// Unloads the kernels, but for those that a stream capture has seen: a graph
  /// may launch them again, and does not say when it goes.
  ~GPUProgram();
  GPUProgram(const GPUProgram &) = delete;
  GPUProgram &operator=(const GPUProgram &) = delete;

  /// The kernels in `context`, which is current and of `device`. They live as
  /// long as this object.
  OmniMoeStatus getKernels(const cuda::Driver &driver, cuda::Device device,
                           cuda::Context context, LoadedKernels *&kernels,
                           std::string &message);

  /// Loads those of the kernels that have not been launched yet in their
  /// context, which is current.
  /// Returns OMNIMOE_OK, with little done, if they are.
  OmniMoeStatus prepare(const cuda::Driver &driver, LoadedKernels &loaded,
                        const int32_t *kernels, size_t count,
                        std::string &message);

  /// Remembers that a graph may hold launches of these kernels.
  void keepLoaded() { kept = true; }

  const std::string &getKernelName(size_t index) const {
    return image.kernelNames[index];
  }

private:
  OmniMoeStatus describe(std::string &message);
  OmniMoeStatus setUp(const cuda::Driver &driver, cuda::Device device,
                      LoadedKernels &loaded, std::string &message);
  OmniMoeStatus loadKernel(const cuda::Driver &driver, LoadedKernels &loaded,
                           size_t index, std::string &message);

  /// Where a kernel is defined.
  struct Definition {
    size_t text;
    PTXKernel kernel;
  };

  std::mutex mutex;
  GPUImage image;
  /// The PTX, a kernel in each, and where each kernel is; empty: not yet known.
  std::vector<std::string> texts;
  std::vector<Definition> definitions;
  std::vector<std::unique_ptr<LoadedKernels>> contexts;
  std::atomic<bool> kept{false};
};

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_GPUPROGRAM_H
