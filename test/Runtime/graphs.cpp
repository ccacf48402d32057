//===- graphs.cpp - Test of calls that are launched as graphs -------------===//

#include "Harness.h"

#include <thread>

static std::string hex(const void *pointer) {
  char text[32];
  std::snprintf(text, sizeof(text), "%p", pointer);
  return text;
}

/// Runs a call and checks how many kernels and graphs it launched, and how many
/// kernels of graphs it changed.
#define EXPECT_LAUNCHES(call, stream, kernels, graphs, changes)                \
  do {                                                                         \
    fake.clear();                                                              \
    EXPECT((call).run(program, stream, message), OMNIMOE_OK, "");              \
    CHECK(fake.count("cuLaunchKernelEx") == kernels);                          \
    CHECK(fake.count("cuGraphLaunch") == graphs);                              \
    CHECK(fake.count("cuGraphExecKernelNodeSetParams_v2") == changes);         \
  } while (false)

static void testReplay() {
  std::string message;
  void *stream = fake.stream(0), *other = fake.stream(0);
  Call call(5), moved(5), longer(9);
  {
    GPUProgram program(makeImage());
    EXPECT_LAUNCHES(call, stream, 2, 0, 0);
    // Captured once, by the second call.
    EXPECT_LAUNCHES(call, stream, 2, 1, 0);
    CHECK(fake.count("cuGraphInstantiateWithFlags") == 1);
    CHECK(logHas("kernel=scale device=0 stream=" + hex(stream) +
                 " grid=5,2,1 block=32,4,1 shared=0 overlaps parameters=" +
                 hex(call.x) + ",0x5,0x40000000"));
    CHECK(fake.count("cuStreamCreate") == fake.count("cuStreamDestroy_v2"));
    EXPECT_LAUNCHES(call, stream, 0, 1, 0);
    // Only what has changed is set: the fake maps are all alike.
    EXPECT_LAUNCHES(moved, stream, 0, 1, 1);
    CHECK(
        logHas("kernel=tiles device=0 stream=" + hex(stream) + " grid=5,1,1"));
    CHECK(logHas("parameters=" + hex(moved.x) + ",0x5,"));
    EXPECT_LAUNCHES(longer, stream, 0, 1, 2);
    CHECK(logHas("grid=9,2,1"));
    EXPECT_LAUNCHES(longer, stream, 0, 1, 0);
    // Each stream has a graph of its own.
    EXPECT_LAUNCHES(call, other, 2, 0, 0);
    EXPECT_LAUNCHES(call, other, 2, 1, 0);
    EXPECT_LAUNCHES(longer, stream, 0, 1, 0);
    // In a capture of the caller kernels are launched for the caller's graph.
    fake.capture(stream, 1);
    EXPECT_LAUNCHES(call, stream, 2, 0, 0);
    CHECK(!logHas("forbidden"));
    fake.capture(stream, 0);
    EXPECT_LAUNCHES(longer, stream, 0, 1, 0);
  }
  {
    // While another stream captures, graphs are made and destroyed.
    GPUProgram program(makeImage());
    fake.capture(other, 1);
    EXPECT_LAUNCHES(call, stream, 2, 0, 0);
    EXPECT_LAUNCHES(call, stream, 2, 1, 0);
    CHECK(!logHas("forbidden"));
    fake.clear();
  }
  fake.capture(other, 0);
  CHECK(fake.count("cuGraphExecDestroy") == 1);
  CHECK(fake.count("cuGraphDestroy") == 1);
  CHECK(fake.count("cuModuleUnload") == 2);
  CHECK(!logHas("forbidden"));
}

static void testNoGraph() {
  std::string message;
  Call call(3);
  for (const char *function :
       {"cuStreamCreate", "cuStreamBeginCapture_v2", "cuStreamEndCapture",
        "cuGraphGetNodes", "cuGraphKernelNodeGetParams_v2",
        "cuGraphInstantiateWithFlags", "cuGraphLaunch"}) {
    GPUProgram program(makeImage());
    fake.fail(function, 1);
    for (int i = 0; i < 3; ++i) {
      fake.clear();
      EXPECT(call.run(program, nullptr, message), OMNIMOE_OK, "");
      CHECK(logHas("kernel=tiles") && logHas("kernel=scale"));
      // It is tried once.
      CHECK(i == 1 || fake.count(function) == 0);
    }
    fake.fail(function, 0);
  }
  // What cannot be changed is launched one by one.
  Call longer(4);
  GPUProgram program(makeImage());
  EXPECT_LAUNCHES(call, nullptr, 2, 0, 0);
  EXPECT_LAUNCHES(call, nullptr, 2, 1, 0);
  fake.fail("cuGraphExecKernelNodeSetParams_v2", 1);
  EXPECT_LAUNCHES(longer, nullptr, 2, 0, 1);
  fake.fail("cuGraphExecKernelNodeSetParams_v2", 0);
  EXPECT_LAUNCHES(longer, nullptr, 2, 0, 0);
  // The message of a launch that fails is the same.
  sharedBytes = 1 << 20;
  GPUProgram greedy(makeImage());
  for (int i = 0; i < 2; ++i)
    EXPECT(call.run(greedy, nullptr, message), OMNIMOE_DEVICE_ERROR,
           "kernel 'scale' cannot be launched");
  sharedBytes = 0;
  // Parameters whose sizes are not known cannot be copied.
  GPUProgram silent(makeOpaqueImage());
  fake.clear();
  for (int i = 0; i < 3; ++i)
    EXPECT(call.run(silent, nullptr, message), OMNIMOE_OK, "");
  CHECK(fake.count("cuGraphLaunch") == 0);
}

static void testMany() {
  std::string message;
  Call call(3);
  GPUProgram program(makeImage());
  fake.clear();
  for (int i = 0; i < 40; ++i) {
    void *stream = fake.stream(0);
    for (int j = 0; j < 3; ++j)
      EXPECT(call.run(program, stream, message), OMNIMOE_OK, "");
  }
  CHECK(fake.count("cuGraphInstantiateWithFlags") == 40);
  CHECK(fake.count("cuGraphExecDestroy") == 24); // 16 are kept
  CHECK(fake.count("cuGraphLaunch") == 80);

  // Threads share the graph of a stream, each with its own parameters.
  bool failed[4] = {};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      std::string message;
      Call own(i + 1);
      for (int j = 0; j < 50; ++j)
        failed[i] |= own.run(program, nullptr, message) != OMNIMOE_OK;
    });
  for (std::thread &thread : threads)
    thread.join();
  for (bool one : failed)
    CHECK(!one);
}

static void testForks() {
  std::string message;
  GPUProgram program(makeImage());
  Call call(5);
  const EntryPoints forked = {forkedEntry, workspaceSize};
  auto run = [&](Call &call) {
    fake.clear();
    return launchOnGPU(makeSignature(), forked, program, call.tensors, 2,
                       call.workspace, workspaceSize(call.shape[0]), nullptr,
                       message);
  };
  EXPECT(run(call), OMNIMOE_OK, "");
  CHECK(fake.count("cuGraphLaunch") == 0);
  CHECK(fake.count("cuStreamWaitEvent") == 2);
  // A graph of both streams, which the caller's launches.
  EXPECT(run(call), OMNIMOE_OK, "");
  CHECK(fake.count("cuGraphLaunch") == 1);
  CHECK(fake.count("cuStreamWaitEvent") == 2);
  CHECK(logHas("grid=1,") && logHas("grid=2,") && logHas("grid=3,"));
  CHECK(!logHas("forbidden"));
  Call longer(7);
  EXPECT(run(longer), OMNIMOE_OK, "");
  CHECK(fake.count("cuStreamWaitEvent") == 0);
  CHECK(fake.count("cuGraphExecKernelNodeSetParams_v2") == 3);
  CHECK(logHas(hex(longer.x) + ",0x7,"));
  // The message of a fork that fails is the same.
  GPUProgram other(makeImage());
  fake.fail("cuEventRecord", 999);
  EXPECT(launchOnGPU(makeSignature(), forked, other, call.tensors, 2,
                     call.workspace, workspaceSize(5), nullptr, message),
         OMNIMOE_DEVICE_ERROR, "work cannot be put on two streams");
  fake.fail("cuEventRecord", 0);
}

void testGraphs() {
  copies = false;
  testReplay();
  testNoGraph();
  testMany();
  testForks();
  copies = true;
}
