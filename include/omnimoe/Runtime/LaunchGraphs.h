//===- LaunchGraphs.h - The launches of a call as one graph -----*- C++ -*-===//
//
// Enqueuing a graph of many kernels costs the host less than enqueuing two
// kernels one by one. So the launches of a call are written down first; where
// an earlier call on the same stream made launches of the same kernels, its
// graph is enqueued again, with the parameters that have changed since. Links
// no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_RUNTIME_LAUNCHGRAPHS_H
#define OMNIMOE_RUNTIME_LAUNCHGRAPHS_H

#include "omnimoe/Runtime/CallStreams.h"
#include <mutex>
#include <vector>

namespace mlir::omnimoe::runtime {

/// A kernel of a context.
struct GPUKernel {
  cuda::Function function = nullptr;
  /// Dynamic shared memory that a block can have, in bytes.
  int32_t maxSharedBytes = 0;
  std::vector<size_t> parameterBytes;
};

/// Launches in their order, with copies of their parameters, and changes of
/// streams between them.
class LaunchList {
public:
  /// What is done, and the number of the launch or stream.
  struct Step {
    enum Kind { Launch, Fork, Select, Wait } kind;
    int32_t number;
  };
  struct Launch {
    int32_t kernel;
    bool overlaps;
    cuda::LaunchSizes sizes;
    /// Where the parameters stand in `bytes`.
    size_t begin, end;
  };

  void add(int32_t kernel, const GPUKernel &info,
           const cuda::LaunchSizes &sizes, bool overlaps, void **parameters);
  void addChange(Step::Kind kind, int32_t stream = 0) {
    steps.push_back({kind, stream});
  }
  void clear();
  const std::vector<Step> &getSteps() const { return steps; }
  size_t size() const { return launches.size(); }
  const Launch &operator[](size_t index) const { return launches[index]; }
  /// The kernel of each launch.
  const std::vector<int32_t> &getKernels() const { return kernels; }

  /// What the driver takes for the parameters of a launch.
  std::vector<void *> getParameters(size_t index,
                                    const std::vector<GPUKernel> &kernels);
  /// Does one step on the streams.
  cuda::Result enqueue(const Step &step, const cuda::Driver &driver,
                       const std::vector<GPUKernel> &kernels,
                       CallStreams &streams);
  /// Whether the same kernels are launched in the same order, on the same
  /// streams.
  bool hasKernelsOf(const LaunchList &other) const;
  /// Whether launch `index` has the same sizes and parameters.
  bool isEqual(size_t index, const LaunchList &other) const;

private:
  std::vector<Step> steps;
  std::vector<Launch> launches;
  std::vector<int32_t> kernels;
  std::vector<unsigned char> bytes;
};

/// Launches one kernel.
cuda::Result launchKernel(const cuda::Driver &driver, const GPUKernel &kernel,
                          const cuda::LaunchSizes &sizes, bool overlaps,
                          void **parameters, cuda::Stream stream);

/// The graphs of one program in one context.
class LaunchGraphs {
public:
  /// Enqueues the launches as a graph. Returns false if there is none: the
  /// first time that these kernels are launched on the stream, or if the driver
  /// makes no graph of them. Then they have to be launched one by one.
  bool launch(const cuda::Driver &driver, cuda::Context context,
              const std::vector<GPUKernel> &kernels, LaunchList &launches,
              cuda::Stream stream);
  /// Destroys the graphs; the context is current.
  void clear(const cuda::Driver &driver);

private:
  struct Entry {
    cuda::Stream stream;
    LaunchList launches; // what the nodes are set to
    uint64_t lastUse = 0;
    bool refused = false;
    cuda::Graph graph = nullptr;
    cuda::GraphExec executable = nullptr;
    std::vector<cuda::GraphNode> nodes;
  };

  Entry *find(const LaunchList &launches, cuda::Stream stream);
  static bool capture(const cuda::Driver &driver, cuda::Context context,
                      const std::vector<GPUKernel> &kernels, Entry &entry);
  static bool build(const cuda::Driver &driver, cuda::Context context,
                    const std::vector<GPUKernel> &kernels, Entry &entry);
  static bool update(const cuda::Driver &driver,
                     const std::vector<GPUKernel> &kernels,
                     LaunchList &launches, Entry &entry);
  static void destroy(const cuda::Driver &driver, Entry &entry);

  std::mutex mutex;
  std::vector<Entry> entries;
  uint64_t uses = 0;
};

} // namespace mlir::omnimoe::runtime

#endif // OMNIMOE_RUNTIME_LAUNCHGRAPHS_H
