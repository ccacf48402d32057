//===- main.cpp - Test of the GPU runtime, without a GPU ------------------===//
//
//   omnimoe-runtime-test all|--missing
//
// Linked with the runtime alone, which shows that it needs no LLVM. The host
// code of a program is written by hand; OMNIMOE_CUDA_DRIVER names the driver of
// FakeCUDA.cpp. With --missing, prints why there is no GPU.
//
//===----------------------------------------------------------------------===//

#include "FakeCUDA.h"

#include "omnimoe/Runtime/Builtins.h"
#include "omnimoe/Runtime/GPULaunch.h"
#include "omnimoe/Runtime/PTXCompiler.h"
#include "omnimoe/Runtime/Queue.h"
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <thread>

using namespace mlir::omnimoe::runtime;

static int failures = 0;

static void check(bool holds, const char *condition, int line) {
  failures += !holds;
  if (!holds)
    std::printf("main.cpp:%d: failed: %s\n", line, condition);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

static void expect(OmniMoeStatus got, OmniMoeStatus wanted,
                   const std::string &message, const char *text, int line) {
  bool holds = got == wanted && message.find(text) != std::string::npos;
  failures += !holds;
  if (!holds)
    std::printf("main.cpp:%d: failed: expected status %d with \"%s\", got %d "
                "with \"%s\"\n",
                line, wanted, text, got, message.c_str());
}
#define EXPECT(call, status, text)                                             \
  do {                                                                         \
    message.clear();                                                           \
    OmniMoeStatus got = call;                                                  \
    expect(got, status, message, text, __LINE__);                              \
  } while (false)

//===----------------------------------------------------------------------===//
// The driver's controls, and a program
//===----------------------------------------------------------------------===//

/// Functions of the library that the runtime has loaded.
static struct {
  decltype(&fake_cuda_log) log;
  decltype(&fake_cuda_clear) clear;
  decltype(&fake_cuda_count) count;
  decltype(&fake_cuda_alloc) alloc;
  decltype(&fake_cuda_stream) stream;
  decltype(&fake_cuda_capture) capture;
  decltype(&fake_cuda_fail) fail;
} fake;

static bool findControls() {
  void *library = dlopen(std::getenv("OMNIMOE_CUDA_DRIVER"), RTLD_NOW);
  auto find = [&](auto &function, const char *name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(
        library ? dlsym(library, name) : nullptr);
    return function != nullptr;
  };
  return find(fake.log, "fake_cuda_log") &&
         find(fake.clear, "fake_cuda_clear") &&
         find(fake.count, "fake_cuda_count") &&
         find(fake.alloc, "fake_cuda_alloc") &&
         find(fake.stream, "fake_cuda_stream") &&
         find(fake.capture, "fake_cuda_capture") &&
         find(fake.fail, "fake_cuda_fail");
}

static bool logHas(const std::string &text) {
  return std::string(fake.log()).find(text) != std::string::npos;
}

static const char *const kPTX = R"(
// two texts, as of two modules
.version 8.6
.target sm_90a
.visible .entry scale(
	.param .u64 .ptr .align 1 scale_param_0,
	.param .u64 scale_param_1,
	.param .f32 scale_param_2
)
{
	ret;
}
.version 8.6
.target sm_90a
.visible .entry tiles(
	.param .align 64 .b8 tiles_param_0[128]
)
{
	ret;
}
)";

static GPUImage makeImage() {
  GPUImage image;
  image.chip = "sm_90a";
  image.ptx = kPTX;
  image.kernelNames = {"tiles", "scale"};
  return image;
}

/// y = program(x) for x f32 [T, 8]: what compiled host code looks like.
static Signature makeSignature() {
  return {{{"x", OMNIMOE_F32, {kTokens, 8}}},
          {{"y", OMNIMOE_F32, {kTokens, 8}}}};
}

static int64_t workspaceSize(int64_t tokens) { return 64 * tokens; }

/// Written by the host code, for the test to see.
static int64_t seenTokens, seenWorkspace;
static int64_t sharedBytes = 0;
static int32_t kernelIndex = 1;

static void entry(void *const *descriptors) {
  auto *x = static_cast<int64_t *>(descriptors[0]);
  auto *workspace = static_cast<int64_t *>(descriptors[2]);
  void *queue = descriptors[3];
  seenTokens = x[3];
  seenWorkspace = workspace[3];
  cuda::TensorMap map;
  const int64_t sizes[] = {8, x[3]}, strides[] = {32};
  const int32_t box[] = {8, 64};
  omnimoe_gpu_tensor_map(queue, &map, reinterpret_cast<void *>(x[1]),
                         OMNIMOE_F32, 2, sizes, strides, box, 32);
  void *first[] = {&map};
  omnimoe_gpu_launch(queue, 0, 0, 1, 1, 128, 1, 1, 0, 0, first); // no blocks
  omnimoe_gpu_launch(queue, 0, x[3], 1, 1, 128, 1, 1, 4096, 0, first);
  float factor = 2;
  void *second[] = {&x[1], &x[3], &factor};
  omnimoe_gpu_launch(queue, kernelIndex, x[3], 2, 1, 32, 4, 1, sharedBytes, 1,
                     second);
  auto *y = static_cast<int64_t *>(descriptors[1]);
  omnimoe_gpu_copy(queue, reinterpret_cast<void *>(y[1]),
                   reinterpret_cast<void *>(x[1]), 32 * x[3]);
}

static const EntryPoints kEntryPoints = {entry, workspaceSize};

namespace {
/// The tensors of one call.
struct Call {
  explicit Call(int64_t tokens, int device = 0) {
    shape[0] = tokens;
    x = static_cast<float *>(fake.alloc(device, 32 * tokens + 64));
    y = static_cast<float *>(fake.alloc(device, 32 * tokens + 64));
    workspace = fake.alloc(device, workspaceSize(tokens));
    tensors[0] = {x, OMNIMOE_F32, 2, shape, nullptr};
    tensors[1] = {y, OMNIMOE_F32, 2, shape, nullptr};
  }
  OmniMoeStatus run(GPUProgram &program, void *stream, std::string &message) {
    return launchOnGPU(makeSignature(), kEntryPoints, program, tensors, 2,
                       workspace, workspaceSize(shape[0]), stream, message);
  }
  int64_t shape[2] = {0, 8};
  float *x, *y;
  void *workspace;
  OmniMoeTensor tensors[2];
};
} // namespace

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
  // Both texts are compiled and loaded, once.
  CHECK(fake.count("cuLinkComplete") == 2);
  CHECK(fake.count("cuModuleLoadData") == 2);
  // The contexts that were pushed are popped again.
  CHECK(fake.count("cuCtxPushCurrent_v2") == fake.count("cuCtxPopCurrent_v2"));

  fake.clear();
  EXPECT(call.run(program, stream, message), OMNIMOE_OK, "");
  CHECK(fake.count("cuLaunchKernelEx") == 2);
  CHECK(fake.count("cuModuleLoadData") == 0);
  CHECK(fake.count("cuStreamSynchronize") == 0);
}

/// x on the caller's stream, the same beside it, and again once both are done.
static void forkedEntry(void *const *descriptors) {
  auto *x = static_cast<int64_t *>(descriptors[0]);
  void *queue = descriptors[3];
  float factor = 2;
  void *parameters[] = {&x[1], &x[3], &factor};
  auto launch = [&](int64_t blocks) {
    omnimoe_gpu_launch(queue, 1, blocks, 1, 1, 32, 1, 1, 0, parameters);
  };
  omnimoe_gpu_fork(queue);
  launch(1);
  omnimoe_gpu_select_stream(queue, 1);
  launch(2);
  omnimoe_gpu_select_stream(queue, 0);
  omnimoe_gpu_wait_for_stream(queue, 1);
  launch(3);
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
  GPUProgram program(makeImage());
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
         "swizzle 32: CUDA_ERROR_INVALID_VALUE");
  fake.fail("cuTensorMapEncodeTiled", 0);
  fake.fail("cuMemcpyDtoDAsync_v2", 2);
  EXPECT(call.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "96 bytes cannot be copied: CUDA_ERROR_OUT_OF_MEMORY");
  fake.fail("cuMemcpyDtoDAsync_v2", 0);
  EXPECT(call.run(program, nullptr, message), OMNIMOE_OK, "");
}

static void testLoading() {
  std::string message;
  Call call(3);
  std::vector<std::string> texts = splitPTX(kPTX);
  CHECK(texts.size() == 2 && texts[0] + texts[1] == kPTX);
  CHECK(splitPTX("").empty() && splitPTX("// .version 8.6\n").empty());
  // Kernels of one text go apart, each with what is common to them.
  const std::string
      head = ".version 8.6\n.global .align 4 .u32 one = 1;\n",
      first = ".visible .entry first(\n)\n{ // {\n$L__BB0:\n{\n}\n}\n",
      middle = ".func helper()\n{\n}\n", second = ".entry second(\n)\n{\n}\n";
  texts = splitPTX(head + first + middle + second);
  CHECK(texts.size() == 2 && texts[0] == head + middle + first);
  CHECK(texts[1] == head + middle + second);
  CHECK(splitPTX(head + first) == std::vector{head + first});
  CHECK(splitPTX(head + middle) == std::vector{head + middle});
  CHECK(splitPTX(head + first + ".entry broken(\n").size() == 1);

  // What was compiled is handed on, and taken the next time.
  std::vector<std::string> kept;
  {
    GPUProgram program(makeImage(), [&](const auto &cubins) { kept = cubins; });
    EXPECT(call.run(program, nullptr, message), OMNIMOE_OK, "");
    CHECK(kept.size() == 2 && program.getCubins() == kept);
  }
  GPUImage image = makeImage();
  image.cubins = kept;
  {
    GPUProgram program(image);
    fake.clear();
    EXPECT(call.run(program, nullptr, message), OMNIMOE_OK, "");
    CHECK(fake.count("cuLinkCreate_v2") == 0);
    CHECK(fake.count("cuModuleLoadData") == 2);
  }
  CHECK(fake.count("cuModuleUnload") == 2);
  {
    // Cubins that this driver does not take.
    image.cubins[1] = "of another driver";
    GPUProgram program(image, [&](const auto &cubins) { kept = cubins; });
    fake.clear();
    EXPECT(call.run(program, nullptr, message), OMNIMOE_OK, "");
    CHECK(fake.count("cuLinkComplete") == 2);
    CHECK(program.getCubins() == kept);
  }

  image = makeImage();
  image.kernelNames.push_back("lost");
  GPUProgram incomplete(image);
  fake.clear();
  EXPECT(call.run(incomplete, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "kernel 'lost' cannot be loaded: CUDA_ERROR_NOT_FOUND");
  CHECK(fake.count("cuModuleUnload") == 2);

  for (auto [function, result, text] :
       {std::tuple("cuLinkAddData_v2", 222,
                   "the CUDA driver is too old for the program: it serves CUDA "
                   "13.0, and PTX 8.6 needs a driver of CUDA 12.7 or newer"),
        {"cuLinkCreate_v2", 221, "libnvidia-ptxjitcompiler.so.1"},
        {"cuLinkComplete", 218,
         "cannot compile the program: "
         "CUDA_ERROR_INVALID_PTX"},
        {"cuModuleLoadData", 2,
         "the kernels cannot be loaded: "
         "CUDA_ERROR_OUT_OF_MEMORY"},
        {"cuFuncSetAttribute", 1, "kernel 'tiles' cannot be loaded"}}) {
    GPUProgram program(makeImage());
    fake.fail(function, result);
    EXPECT(call.run(program, nullptr, message), OMNIMOE_DEVICE_ERROR, text);
    fake.fail(function, 0);
    // A failure leaves nothing behind.
    EXPECT(call.run(program, nullptr, message), OMNIMOE_OK, "");
  }
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
  // Compiled once, loaded on each.
  CHECK(fake.count("cuLinkComplete") == 2);
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
  CHECK(fake.count("cuLinkComplete") == 2);
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
  // Destroyed after main, when the driver may be gone.
  static GPUProgram last(makeImage());
  Call call(3);
  EXPECT(call.run(last, nullptr, message), OMNIMOE_OK, "");
  if (failures == 0)
    std::printf("all checks passed\n");
  return failures != 0;
}
