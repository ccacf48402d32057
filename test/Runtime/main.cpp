//===- main.cpp - Test of the GPU runtime, without a GPU ------------------===//
//
//   omnimoe-runtime-test all|--missing
//
// Linked with the runtime alone, which shows that it needs no LLVM. The host
// code of a program is written by hand; OMNIMOE_CUDA_DRIVER names the driver of
// FakeCUDA.cpp. With --missing, prints why there is no GPU.
//
//===----------------------------------------------------------------------===//

#include "Harness.h"

#include "omnimoe/Runtime/Builtins.h"
#include <cstring>
#include <thread>

using namespace mlir::omnimoe::runtime;

//===----------------------------------------------------------------------===//
// Tests
//===----------------------------------------------------------------------===//

static void testLaunch() {
  std::string message;
  GPUProgram program(makeImage());
  Call call(5);
  void *stream = fake.stream(0);
  fake.clear();
  call.x[39] = 3;
  EXPECT(call.run(program, stream, message), OMNIMOE_OK, "");
  CHECK(call.y[39] == 3);
  CHECK(seenTokens == 5 && seenWorkspace == 320);
  char expected[256];
  std::snprintf(
      expected, sizeof(expected),
      "cuLaunchKernelEx kernel=scale device=0 stream=%p grid=5,2,1 "
      "block=32,4,1 shared=0 overlaps parameters=0x%llx,0x5,0x40000000\n",
      stream,
      static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(call.x)));
  CHECK(logHas(expected));
  CHECK(logHas("kernel=tiles device=0 "));
  CHECK(logHas("shared=4096 parameters=0x5a5a5a5a5a5a5a5a\n"));
  CHECK(logHas("sizes=8,5 strides=32 box=8,64 swizzle=1\n"));
  CHECK(fake.count("cuLaunchKernelEx") == 2);
  // Both texts are loaded, once.
  CHECK(fake.count("cuModuleLoadData") == 2);
  // Debuggers report calls that fail.
  CHECK(!logHas("failed="));
  // The contexts that were pushed are popped again.
  CHECK(fake.count("cuCtxPushCurrent_v2") == fake.count("cuCtxPopCurrent_v2"));

  fake.clear();
  EXPECT(call.run(program, stream, message), OMNIMOE_OK, "");
  CHECK(fake.count("cuLaunchKernelEx") == 2);
  CHECK(fake.count("cuModuleLoadData") == 0);
  CHECK(fake.count("cuStreamSynchronize") == 0);
}

/// The stream of the launch with that many blocks.
static std::string findStream(int blocks) {
  std::string log = fake.log();
  size_t grid = log.find("grid=" + std::to_string(blocks) + ",");
  size_t begin = log.rfind("stream=", grid) + 7;
  return grid == std::string::npos
             ? ""
             : log.substr(begin, log.find(' ', begin) - begin);
}

static void testStreams() {
  std::string message;
  // Launches are made at once.
  GPUProgram program(makeOpaqueImage());
  Call call(5);
  const EntryPoints forked = {forkedEntry, workspaceSize};
  auto run = [&](void *stream) {
    fake.clear();
    return launchOnGPU(makeSignature(), forked, program, call.tensors, 2,
                       call.workspace, workspaceSize(5), stream, message);
  };
  void *stream = fake.stream(0);
  EXPECT(run(stream), OMNIMOE_OK, "");
  std::string side = findStream(2), caller = findStream(1);
  CHECK(side != caller && caller == findStream(3));
  CHECK(fake.count("cuStreamCreate") == 1);
  CHECK(logHas("stream=" + side + " for=" + caller + "\n"));
  CHECK(logHas("stream=" + caller + " for=" + side + "\n"));
  // The next call has the same streams, and nothing waits on the host.
  EXPECT(run(stream), OMNIMOE_OK, "");
  CHECK(findStream(2) == side && fake.count("cuStreamCreate") == 0);
  CHECK(fake.count("cuStreamSynchronize") == 0);

  // Calls of one capture share a stream; calls outside keep off it.
  void *captured = fake.stream(0);
  fake.capture(captured, 1);
  EXPECT(run(captured), OMNIMOE_OK, "");
  CHECK(findStream(2) == side && !logHas("forbidden"));
  EXPECT(run(captured), OMNIMOE_OK, "");
  CHECK(findStream(2) == side && !logHas("forbidden"));
  EXPECT(run(stream), OMNIMOE_OK, "");
  CHECK(findStream(2) != side && !logHas("forbidden"));
  fake.capture(captured, 0);
  EXPECT(run(stream), OMNIMOE_OK, "");
  CHECK(fake.count("cuStreamCreate") == 0);

  fake.fail("cuEventRecord", 999);
  EXPECT(run(stream), OMNIMOE_DEVICE_ERROR,
         "work cannot be put on two streams");
  fake.fail("cuEventRecord", 0);
}

static void testRefusals() {
  std::string message;
  GPUProgram program(makeImage());
  Call call(3), other(3, 1);
  float onHost[32];

  Call wrong = call;
  wrong.tensors[1].data = other.y;
  EXPECT(wrong.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "y: expected memory of cuda:0 as x, got memory of cuda:1");
  wrong.tensors[1].data = onHost;
  EXPECT(wrong.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "y: expected memory of a GPU, got memory of the host");
  wrong = call;
  wrong.tensors[0].data = call.x + 1;
  EXPECT(wrong.run(program, nullptr, message), OMNIMOE_INVALID_ARGUMENT,
         "x: expected data at an address that is a multiple of 16");
  wrong = call;
  wrong.workspace = other.workspace;
  EXPECT(wrong.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "workspace: expected memory of cuda:0 as x, got memory of cuda:1");
  wrong.workspace = static_cast<char *>(call.workspace) + 64;
  EXPECT(wrong.run(program, nullptr, message), OMNIMOE_INVALID_ARGUMENT,
         "workspace: expected an address that is a multiple of 256");
  wrong.workspace = nullptr;
  EXPECT(wrong.run(program, nullptr, message), OMNIMOE_INVALID_ARGUMENT,
         "workspace: expected 192 bytes of cuda:0 for T = 3, got null");
  EXPECT(launchOnGPU(makeSignature(), kEntryPoints, program, call.tensors, 2,
                     call.workspace, 191, nullptr, message),
         OMNIMOE_INVALID_ARGUMENT, "workspace_bytes: expected at least 192");
  wrong = call;
  int64_t transposed[] = {1, 3};
  wrong.tensors[0].strides = transposed;
  EXPECT(wrong.run(program, nullptr, message), OMNIMOE_SHAPE_ERROR,
         "x: expected row-major strides [8, 1]");
  // A stream of another device.
  EXPECT(call.run(program, fake.stream(1), message), OMNIMOE_DEVICE_ERROR,
         "CUDA_ERROR_INVALID_HANDLE");

  // Nothing to run on, so nothing to ask a device for.
  Call empty(0);
  empty.tensors[0].data = empty.tensors[1].data = nullptr;
  fake.clear();
  EXPECT(empty.run(program, nullptr, message), OMNIMOE_OK, "");
  CHECK(fake.count("cuLaunchKernelEx") == 0);
}

static void testErrors() {
  std::string message;
  GPUProgram program(makeImage());
  Call call(3);
  kernelIndex = 7;
  EXPECT(call.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "the program launches kernel 7 of 2");
  kernelIndex = 1;
  sharedBytes = 1 << 20;
  EXPECT(call.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "kernel 'scale' cannot be launched on a grid of (3, 2, 1) blocks of "
         "(32, 4, 1) threads with 1048576 of at most 231424 bytes");
  sharedBytes = int64_t(1) << 33; // 0 in 32 bits
  EXPECT(call.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "CUDA_ERROR_INVALID_VALUE");
  sharedBytes = 0;
  fake.fail("cuLaunchKernelEx", 700);
  fake.clear();
  EXPECT(call.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR, "'tiles'");
  EXPECT(call.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "CUDA_ERROR_ILLEGAL_ADDRESS (by the fake driver), of this or of an "
         "earlier kernel");
  // After the first error nothing more is tried.
  CHECK(fake.count("cuLaunchKernelEx") == 2);
  fake.fail("cuLaunchKernelEx", 0);
  fake.fail("cuTensorMapEncodeTiled", 1);
  EXPECT(call.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "no tensor map of type 0, sizes [8, 3], strides [32], tiles [8, 64], "
         "swizzle 32, promotion 256: CUDA_ERROR_INVALID_VALUE");
  fake.fail("cuTensorMapEncodeTiled", 0);
  fake.fail("cuMemcpyDtoDAsync_v2", 2);
  EXPECT(call.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "96 bytes cannot be copied: CUDA_ERROR_OUT_OF_MEMORY");
  fake.fail("cuMemcpyDtoDAsync_v2", 0);
  EXPECT(call.run(program, nullptr, message), OMNIMOE_OK, "");
}

static void testDevices() {
  std::string message;
  std::vector<GPUDevice> devices;
  CHECK(getGPUDevices(devices, message) && devices.size() == 2);
  CHECK(devices[1].ordinal == 1 && devices[1].name == "Fake GPU");
  CHECK(devices[1].major == 9 && devices[1].minor == 0);

  GPUProgram program(makeImage());
  Call first(3, 0), second(3, 1);
  fake.clear();
  EXPECT(second.run(program, nullptr, message), OMNIMOE_OK, "");
  CHECK(logHas("device=1") && !logHas("device=0"));
  EXPECT(first.run(program, nullptr, message), OMNIMOE_OK, "");
  CHECK(logHas("kernel=scale device=0"));
  // Loaded on each.
  CHECK(fake.count("cuModuleLoadData") == 4);
  CHECK(!logHas("forbidden"));

  for (auto [capability, chip, runs] : {std::tuple(90, "sm_90a", true),
                                        {90, "sm_90", true},
                                        {100, "sm_90", true},
                                        {100, "sm_90a", false},
                                        {80, "sm_90a", false},
                                        {80, "sm_90", false},
                                        {89, "sm_80", true},
                                        {103, "sm_100f", true},
                                        {120, "sm_100f", false},
                                        {90, "cpu", false}}) {
    GPUDevice device{0, "GPU", capability / 10, capability % 10, 1};
    CHECK(canRun(device, chip) == runs);
  }
}

static void testCapture() {
  std::string message;
  void *stream = fake.stream(0);
  Call call(3);
  {
    GPUProgram program(makeImage());
    // Even the first call, which loads the kernels, is legal in a capture.
    fake.capture(stream, 1);
    fake.clear();
    EXPECT(call.run(program, stream, message), OMNIMOE_OK, "");
    EXPECT(call.run(program, stream, message), OMNIMOE_OK, "");
    CHECK(!logHas("forbidden"));
    CHECK(fake.count("cuLaunchKernelEx") == 4);
    fake.capture(stream, 0);
    fake.clear();
  }
  // A graph may hold the kernels, so they stay.
  CHECK(fake.count("cuModuleUnload") == 0);
  {
    GPUProgram program(makeImage());
    EXPECT(call.run(program, stream, message), OMNIMOE_OK, "");
    fake.capture(stream, 1); // another one's
    fake.clear();
  }
  fake.capture(stream, 0);
  CHECK(fake.count("cuModuleUnload") == 2);
  CHECK(!logHas("forbidden"));
}

static void testThreads() {
  GPUProgram program(makeImage());
  bool failed[8] = {};
  fake.clear();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      std::string message;
      Call call(3, i % 2);
      for (int j = 0; j < 20; ++j)
        failed[i] |= call.run(program, nullptr, message) != OMNIMOE_OK;
    });
  for (std::thread &thread : threads)
    thread.join();
  for (bool one : failed)
    CHECK(!one);
  CHECK(fake.count("cuLaunchKernelEx") == 8 * 20 * 2);
  CHECK(fake.count("cuModuleLoadData") == 4);
}

static void testCopy() {
  std::string message;
  auto *memory = static_cast<int32_t *>(fake.alloc(1, 16));
  int32_t host[4] = {}, other[4];
  for (int i = 0; i < 4; ++i)
    memory[i] = i + 1;
  EXPECT(copyToHost(host, memory, 16, nullptr, "ids", message), OMNIMOE_OK, "");
  CHECK(host[0] == 1 && host[3] == 4);
  EXPECT(copyToHost(other, host, 16, nullptr, "ids", message),
         OMNIMOE_DEVICE_ERROR, "ids: expected memory of a GPU");
  EXPECT(copyToHost(other, nullptr, 0, nullptr, "ids", message), OMNIMOE_OK,
         "");
}

int main(int argc, char **argv) {
  std::string message;
  if (argc == 2 && !std::strcmp(argv[1], "--missing")) {
    std::vector<GPUDevice> devices;
    bool found = getGPUDevices(devices, message);
    std::printf("%s\n", found ? "nothing is missing" : message.c_str());
    if (found && !canRun(devices[0], "sm_90a"))
      std::printf("%s\n", explainCannotRun(devices[0], "sm_90a").c_str());
    return 0;
  }
  CHECK(findBuiltin("omnimoe_gpu_launch") != nullptr);
  CHECK(findBuiltin("omnimoe_gpu_fork") != nullptr);
  CHECK(findBuiltin("omnimoe_gpu_tensor_map") != nullptr);
  if (!findControls() || !cuda::getDriver(message)) {
    std::printf("failed: no fake driver: %s\n", message.c_str());
    return 1;
  }
  testLaunch();
  testStreams();
  testRefusals();
  testErrors();
  testLoading();
  testDevices();
  testCapture();
  testThreads();
  testCopy();
  testGraphs();
  // Destroyed after main, when the driver may be gone.
  static GPUProgram last(makeImage());
  Call call(3);
  EXPECT(call.run(last, nullptr, message), OMNIMOE_OK, "");
  if (failures == 0)
    std::printf("all checks passed\n");
  return failures != 0;
}
