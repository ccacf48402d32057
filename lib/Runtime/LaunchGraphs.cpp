//===- LaunchGraphs.cpp - The launches of a call as one graph -------------===//

#include "omnimoe/Runtime/LaunchGraphs.h"

#include <algorithm>
#include <cstring>

using namespace mlir::omnimoe::runtime;

/// Graphs of a program that are kept; the one not used for longest goes first.
static constexpr size_t kMaxGraphs = 16;
/// The first CUDA that captures launches which overlap.
static constexpr int32_t kOverlapsInCaptures = 12030;

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

void LaunchList::add(int32_t kernel, const GPUKernel &info,
                     const cuda::LaunchSizes &sizes, bool overlaps,
                     void **parameters) {
  size_t begin = bytes.size();
  for (size_t i = 0; i < info.parameterBytes.size(); ++i) {
    auto *value = static_cast<const unsigned char *>(parameters[i]);
    bytes.insert(bytes.end(), value, value + info.parameterBytes[i]);
  }
  steps.push_back({Step::Launch, static_cast<int32_t>(launches.size())});
  kernels.push_back(kernel);
  launches.push_back({kernel, overlaps, sizes, begin, bytes.size()});
}

void LaunchList::clear() {
  steps.clear();
  launches.clear();
  kernels.clear();
  bytes.clear();
}

std::vector<void *>
LaunchList::getParameters(size_t index, const std::vector<GPUKernel> &kernels) {
  std::vector<void *> parameters;
  unsigned char *value = bytes.data() + launches[index].begin;
  for (size_t size : kernels[launches[index].kernel].parameterBytes) {
    parameters.push_back(value);
    value += size;
  }
  return parameters;
}

cuda::Result LaunchList::enqueue(const Step &step, const cuda::Driver &driver,
                                 const std::vector<GPUKernel> &kernels,
                                 CallStreams &streams) {
  switch (step.kind) {
  case Step::Fork:
    return streams.fork();
  case Step::Select:
    streams.select(step.number);
    return cuda::kSuccess;
  case Step::Wait:
    return streams.wait(step.number);
  case Step::Launch:
    break;
  }
  const Launch &launch = launches[step.number];
  return launchKernel(
      driver, kernels[launch.kernel], launch.sizes, launch.overlaps,
      getParameters(step.number, kernels).data(), streams.getCurrent());
}

bool LaunchList::hasKernelsOf(const LaunchList &other) const {
  return std::equal(steps.begin(), steps.end(), other.steps.begin(),
                    other.steps.end(), [&](const Step &a, const Step &b) {
                      if (a.kind != b.kind || a.number != b.number)
                        return false;
                      if (a.kind != Step::Launch)
                        return true;
                      const Launch &own = launches[a.number];
                      const Launch &others = other.launches[b.number];
                      return own.kernel == others.kernel &&
                             own.overlaps == others.overlaps;
                    });
}

bool LaunchList::isEqual(size_t index, const LaunchList &other) const {
  const Launch &a = launches[index], &b = other.launches[index];
  return !std::memcmp(&a.sizes, &b.sizes, sizeof(cuda::LaunchSizes)) &&
         std::equal(bytes.begin() + a.begin, bytes.begin() + a.end,
                    other.bytes.begin() + b.begin, other.bytes.begin() + b.end);
}

cuda::Result mlir::omnimoe::runtime::launchKernel(
    const cuda::Driver &driver, const GPUKernel &kernel,
    const cuda::LaunchSizes &sizes, bool overlaps, void **parameters,
    cuda::Stream stream) {
  cuda::LaunchAttribute attribute{cuda::kProgrammaticStreamSerialization, {1}};
  overlaps &= driver.version >= kOverlapsInCaptures;
  cuda::LaunchConfig config{sizes, stream, &attribute, uint32_t(overlaps)};
  return driver.launchKernel(&config, kernel.function, parameters,
                             /*extra=*/nullptr);
}

//===----------------------------------------------------------------------===//
// Graphs
//===----------------------------------------------------------------------===//

LaunchGraphs::Entry *LaunchGraphs::find(const LaunchList &launches,
                                        cuda::Stream stream) {
  for (Entry &entry : entries)
    if (entry.stream == stream && entry.launches.hasKernelsOf(launches))
      return &entry;
  return nullptr;
}

/// Captures the launches on a stream of their own.
bool LaunchGraphs::capture(const cuda::Driver &driver, cuda::Context context,
                           const std::vector<GPUKernel> &kernels,
                           Entry &entry) {
  cuda::Stream stream = nullptr;
  if (driver.streamCreate(&stream, cuda::kNonBlocking) != cuda::kSuccess)
    return false;
  bool good = driver.streamBeginCapture(stream, cuda::kCaptureRelaxed) ==
              cuda::kSuccess;
  if (good) {
    CallStreams streams(driver, context, stream);
    for (const LaunchList::Step &step : entry.launches.getSteps())
      good = good && entry.launches.enqueue(step, driver, kernels, streams) ==
                         cuda::kSuccess;
    // Ends the capture in any case.
    good &= driver.streamEndCapture(stream, &entry.graph) == cuda::kSuccess;
  }
  driver.streamDestroy(stream);
  return good;
}

/// The nodes of a graph come in the order of their launches.
bool LaunchGraphs::build(const cuda::Driver &driver, cuda::Context context,
                         const std::vector<GPUKernel> &kernels, Entry &entry) {
  cuda::RelaxedCapture relaxed(driver);
  size_t count = entry.launches.size(), found = count;
  entry.nodes.resize(count);
  bool good = capture(driver, context, kernels, entry) &&
              driver.graphGetNodes(entry.graph, entry.nodes.data(), &found) ==
                  cuda::kSuccess &&
              found == count;
  for (size_t i = 0; i < count && good; ++i) {
    cuda::KernelNodeParams node{};
    good = driver.graphKernelNodeGetParams(entry.nodes[i], &node) ==
               cuda::kSuccess &&
           node.function == kernels[entry.launches[i].kernel].function;
  }
  return good && driver.graphInstantiate(&entry.executable, entry.graph,
                                         /*flags=*/0) == cuda::kSuccess;
}

/// Sets the parameters that are others than in the last call. Launches of the
/// graph that are under way keep theirs.
bool LaunchGraphs::update(const cuda::Driver &driver,
                          const std::vector<GPUKernel> &kernels,
                          LaunchList &launches, Entry &entry) {
  bool changed = false;
  for (size_t i = 0; i < launches.size(); ++i) {
    if (launches.isEqual(i, entry.launches))
      continue;
    std::vector<void *> parameters = launches.getParameters(i, kernels);
    cuda::KernelNodeParams node{kernels[launches[i].kernel].function,
                                launches[i].sizes,
                                parameters.data(),
                                /*extra=*/nullptr,
                                /*kernel=*/nullptr,
                                /*context=*/nullptr};
    if (driver.graphExecKernelNodeSetParams(entry.executable, entry.nodes[i],
                                            &node) != cuda::kSuccess)
      return false;
    changed = true;
  }
  if (changed)
    entry.launches = launches;
  return true;
}

void LaunchGraphs::destroy(const cuda::Driver &driver, Entry &entry) {
  cuda::RelaxedCapture relaxed(driver);
  if (entry.executable)
    driver.graphExecDestroy(entry.executable);
  if (entry.graph)
    driver.graphDestroy(entry.graph);
  entry.executable = nullptr;
  entry.graph = nullptr;
}

bool LaunchGraphs::launch(const cuda::Driver &driver, cuda::Context context,
                          const std::vector<GPUKernel> &kernels,
                          LaunchList &launches, cuda::Stream stream) {
  std::lock_guard<std::mutex> lock(mutex);
  Entry *entry = find(launches, stream);
  bool isFirst = !entry;
  if (isFirst) {
    if (entries.size() == kMaxGraphs) {
      auto oldest = std::min_element(
          entries.begin(), entries.end(),
          [](const Entry &a, const Entry &b) { return a.lastUse < b.lastUse; });
      destroy(driver, *oldest);
      entries.erase(oldest);
    }
    entry = &entries.emplace_back();
    entry->stream = stream;
    entry->launches = launches;
  }
  entry->lastUse = ++uses;
  // A call that is not repeated is not worth a graph.
  if (isFirst || entry->refused)
    return false;
  bool good = true;
  if (!entry->executable) {
    entry->launches = launches;
    good = build(driver, context, kernels, *entry);
  } else {
    good = update(driver, kernels, launches, *entry);
  }
  if (good && driver.graphLaunch(entry->executable, stream) == cuda::kSuccess)
    return true;
  destroy(driver, *entry);
  entry->refused = true;
  return false;
}

void LaunchGraphs::clear(const cuda::Driver &driver) {
  for (Entry &entry : entries)
    destroy(driver, entry);
  entries.clear();
}
