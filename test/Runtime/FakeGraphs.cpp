//===- FakeGraphs.cpp - Graphs of a CUDA driver without a GPU -------------===//

#include "FakeCUDAState.h"

#include <algorithm>

FAKE(cuStreamDestroy_v2)(Stream stream) {
  Call call("cuStreamDestroy_v2", Call::NeedsContext);
  if (!state().streams.erase(stream))
    return call.result = kInvalidHandle;
  return call.result;
}

FAKE(cuStreamBeginCapture_v2)(Stream stream, CaptureMode mode) {
  Call call("cuStreamBeginCapture_v2", Call::NeedsContext);
  if (call.result)
    return call.result;
  if (mode != kCaptureRelaxed || state().capturing.count(stream))
    return call.result = kInvalidValue;
  state().captures[stream] = new GraphObject;
  state().capturing[stream] = stream;
  return kSuccess;
}

FAKE(cuStreamEndCapture)(Stream stream, Graph *graph) {
  Call call("cuStreamEndCapture", Call::NeedsContext);
  auto it = state().captures.find(stream);
  if (it == state().captures.end())
    return call.result = kInvalidValue;
  *graph = it->second;
  state().graphs.insert(*graph);
  state().captures.erase(it);
  fake_cuda_capture(stream, 0);
  return call.result;
}

FAKE(cuGraphGetNodes)(Graph graph, GraphNode *nodes, size_t *count) {
  Call call("cuGraphGetNodes");
  if (call.result)
    return call.result;
  *count = std::min(*count, graph->nodes.size());
  for (size_t i = 0; i < *count; ++i)
    nodes[i] = graph->nodes[i].get();
  return kSuccess;
}

FAKE(cuGraphKernelNodeGetParams_v2)(GraphNode node, KernelNodeParams *params) {
  Call call("cuGraphKernelNodeGetParams_v2");
  params->function = node->function;
  params->sizes = node->sizes;
  return call.result;
}

FAKE(cuGraphInstantiateWithFlags)(GraphExec *executable, Graph graph,
                                  uint64_t flags) {
  Call call("cuGraphInstantiateWithFlags", Call::Unsafe);
  if (call.result || flags)
    return call.result = call.result ? call.result : kInvalidValue;
  *executable = new GraphExecObject{graph, {}};
  for (const auto &node : graph->nodes)
    (*executable)->launches.push_back(*node);
  state().executables.insert(*executable);
  return kSuccess;
}

FAKE(cuGraphExecKernelNodeSetParams_v2)(GraphExec executable, GraphNode node,
                                        const KernelNodeParams *params) {
  Call call("cuGraphExecKernelNodeSetParams_v2", Call::NeedsContext);
  if (call.result)
    return call.result;
  const auto &nodes = executable->graph->nodes;
  size_t index =
      std::find_if(nodes.begin(), nodes.end(),
                   [&](const auto &each) { return each.get() == node; }) -
      nodes.begin();
  if (index == nodes.size() || params->function != node->function)
    return call.result = kInvalidValue;
  GraphNodeObject &launch = executable->launches[index];
  launch.sizes = params->sizes;
  launch.parameters = readParameters(params->function, params->parameters);
  return call.result = checkLaunch(launch, nullptr);
}

FAKE(cuGraphLaunch)(GraphExec executable, Stream stream) {
  Call call("cuGraphLaunch", Call::NeedsContext);
  if (call.result)
    return call.result;
  if (!state().executables.count(executable))
    return call.result = kInvalidHandle;
  for (const GraphNodeObject &launch : executable->launches) {
    if (Result result = checkLaunch(launch, stream))
      return call.result = result;
    call.note(describeLaunch(launch, stream));
  }
  return kSuccess;
}

FAKE(cuGraphExecDestroy)(GraphExec executable) {
  Call call("cuGraphExecDestroy");
  if (!state().executables.erase(executable))
    return call.result = kInvalidHandle;
  delete executable;
  return call.result;
}

FAKE(cuGraphDestroy)(Graph graph) {
  Call call("cuGraphDestroy");
  if (!state().graphs.erase(graph))
    return call.result = kInvalidHandle;
  delete graph;
  return call.result;
}
