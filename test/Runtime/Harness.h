//===- Harness.h - A program, and the fake driver's controls ----*- C++ -*-===//

#ifndef OMNIMOE_TEST_RUNTIME_HARNESS_H
#define OMNIMOE_TEST_RUNTIME_HARNESS_H

#include "FakeCUDA.h"

#include "omnimoe/Runtime/GPULaunch.h"
#include "omnimoe/Runtime/Queue.h"
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>

using namespace mlir::omnimoe::runtime;

inline int failures = 0;

inline void check(bool holds, const char *condition, int line) {
  failures += !holds;
  if (!holds)
    std::printf("main.cpp:%d: failed: %s\n", line, condition);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

inline void expect(OmniMoeStatus got, OmniMoeStatus wanted,
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
inline struct Controls {
  decltype(&fake_cuda_log) log;
  decltype(&fake_cuda_clear) clear;
  decltype(&fake_cuda_count) count;
  decltype(&fake_cuda_alloc) alloc;
  decltype(&fake_cuda_stream) stream;
  decltype(&fake_cuda_capture) capture;
  decltype(&fake_cuda_fail) fail;
} fake;

inline bool findControls() {
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

inline bool logHas(const std::string &text) {
  return std::string(fake.log()).find(text) != std::string::npos;
}

inline const char *const kPTX = R"(
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

inline GPUImage makeImage() {
  GPUImage image;
  image.chip = "sm_90a";
  image.ptx = kPTX;
  image.kernelNames = {"tiles", "scale"};
  return image;
}

/// One with a parameter of a type that the runtime does not know.
inline GPUImage makeOpaqueImage() {
  GPUImage image = makeImage();
  image.ptx.replace(image.ptx.find(".f32"), 4, ".f32x1");
  return image;
}

/// One whose kernel `scale` is compiled when it is loaded, since its warps
/// change their registers.
/// y = program(x) for x f32 [T, 8]: what compiled host code looks like.
inline Signature makeSignature() {
  return {{{"x", OMNIMOE_F32, {kTokens, 8}}},
          {{"y", OMNIMOE_F32, {kTokens, 8}}}};
}

inline int64_t workspaceSize(int64_t tokens) { return 64 * tokens; }

/// Written by the host code, for the test to see.
inline int64_t seenTokens, seenWorkspace;
/// What it does otherwise than usual.
inline int64_t sharedBytes = 0;
inline int32_t kernelIndex = 1;
inline bool copies = true;

inline void entry(void *const *descriptors) {
  auto *x = static_cast<int64_t *>(descriptors[0]);
  auto *workspace = static_cast<int64_t *>(descriptors[2]);
  void *queue = descriptors[3];
  seenTokens = x[3];
  seenWorkspace = workspace[3];
  cuda::TensorMap map;
  const int64_t sizes[] = {8, x[3]}, strides[] = {32};
  const int32_t box[] = {8, 64};
  omnimoe_gpu_tensor_map(queue, &map, reinterpret_cast<void *>(x[1]),
                         OMNIMOE_F32, 2, sizes, strides, box, 32, 256);
  void *first[] = {&map};
  omnimoe_gpu_launch(queue, 0, 0, 1, 1, 128, 1, 1, 0, 0, first); // no blocks
  omnimoe_gpu_launch(queue, 0, x[3], 1, 1, 128, 1, 1, 4096, 0, first);
  float factor = 2;
  void *second[] = {&x[1], &x[3], &factor};
  omnimoe_gpu_launch(queue, kernelIndex, x[3], 2, 1, 32, 4, 1, sharedBytes, 1,
                     second);
  auto *y = static_cast<int64_t *>(descriptors[1]);
  if (copies)
    omnimoe_gpu_copy(queue, reinterpret_cast<void *>(y[1]),
                     reinterpret_cast<void *>(x[1]), 32 * x[3]);
}

/// x on the caller's stream, the same beside it, and again once both are done.
inline void forkedEntry(void *const *descriptors) {
  auto *x = static_cast<int64_t *>(descriptors[0]);
  void *queue = descriptors[3];
  float factor = 2;
  void *parameters[] = {&x[1], &x[3], &factor};
  auto launch = [&](int64_t blocks) {
    omnimoe_gpu_launch(queue, 1, blocks, 1, 1, 32, 1, 1, 0, 0, parameters);
  };
  omnimoe_gpu_fork(queue);
  launch(1);
  omnimoe_gpu_select_stream(queue, 1);
  launch(2);
  omnimoe_gpu_select_stream(queue, 0);
  omnimoe_gpu_wait_for_stream(queue, 1);
  launch(3);
}

inline const EntryPoints kEntryPoints = {entry, workspaceSize};

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

/// Tests of loading.cpp and graphs.cpp.
void testLoading();
void testGraphs();

#endif // OMNIMOE_TEST_RUNTIME_HARNESS_H
