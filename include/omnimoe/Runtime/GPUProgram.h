//===- GPUProgram.h - The kernels of a compiled program ---------*- C++ -*-===//
//
// Kernels come as PTX, which the driver compiles for its device (a cubin), or
// as cubins that an earlier load kept. They are loaded into each context when a
// call first needs them there; those that the driver compiles when it loads
// them, one by one, when they are first launched. Links no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_RUNTIME_GPUPROGRAM_H
#define OMNIMOE_RUNTIME_GPUPROGRAM_H

#include "omnimoe-c/omnimoe.h"
#include "omnimoe/Runtime/GPUDevice.h"
#include "omnimoe/Runtime/LaunchGraphs.h"
#include "omnimoe/Runtime/PTXText.h"
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

namespace mlir::omnimoe::runtime {

/// What the kernels of a program are made from.
struct GPUImage {
  /// The chip that the code is for: "sm_90a".
  std::string chip;
  /// PTX: any number of texts, one after the other, each with its `.version`.
  std::string ptx;
  /// What the texts were compiled to, in the same order; empty: not yet. One
  /// that the driver compiles when it loads it is PTX still.
  std::vector<std::string> cubins;
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
  /// Held while a kernel is loaded late.
  std::mutex mutex;
};

class GPUProgram {
public:
  /// Is told the cubins when PTX has been compiled.
  using CubinObserver = std::function<void(const std::vector<std::string> &)>;

  explicit GPUProgram(GPUImage image, CubinObserver observer = nullptr);
  /// Unloads the kernels, but for those that a stream capture has seen: a graph
  /// may launch them again, and does not say when it goes.
  ~GPUProgram();
  GPUProgram(const GPUProgram &) = delete;
  GPUProgram &operator=(const GPUProgram &) = delete;

  /// The kernels in `context`, which is current and of `device`; loads them the
  /// first time, but for those that `prepare` loads. They live as long as this
  /// object.
  OmniMoeStatus getKernels(const cuda::Driver &driver, cuda::Device device,
                           cuda::Context context, LoadedKernels *&kernels,
                           std::string &message);

  /// Makes kernels ready to be launched in their context, which is current.
  /// Returns OMNIMOE_OK, with little done, if they are.
  OmniMoeStatus prepare(const cuda::Driver &driver, LoadedKernels &loaded,
                        const int32_t *kernels, size_t count,
                        std::string &message);

  /// Remembers that a graph may hold launches of these kernels.
  void keepLoaded() { kept = true; }

  const std::string &getKernelName(size_t index) const {
    return image.kernelNames[index];
  }

  /// The cubins known by now.
  std::vector<std::string> getCubins() const;

private:
  OmniMoeStatus describe(std::string &message);
  OmniMoeStatus load(const cuda::Driver &driver, cuda::Device device,
                     LoadedKernels &loaded, std::string &message);
  cuda::Result loadModules(const cuda::Driver &driver, LoadedKernels &loaded);
  OmniMoeStatus compileModules(const cuda::Driver &driver,
                               LoadedKernels &loaded, std::string &message);
  OmniMoeStatus findKernel(const cuda::Driver &driver, LoadedKernels &loaded,
                           size_t index, std::string &message);

  /// Where a kernel is defined.
  struct Definition {
    size_t text;
    PTXKernel kernel;
  };

  mutable std::mutex mutex;
  GPUImage image;
  CubinObserver observer;
  /// The PTX, a kernel in each, and where each kernel is; empty: not yet known.
  std::vector<std::string> texts;
  std::vector<Definition> definitions;
  std::vector<std::unique_ptr<LoadedKernels>> contexts;
  std::atomic<bool> kept{false};
};

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_GPUPROGRAM_H
