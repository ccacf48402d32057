//===- loading.cpp - Test of how kernels are loaded -----------------------===//

#include "Harness.h"

#include <tuple>

static void testText() {
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

  std::vector<PTXKernel> kernels = findPTXKernels(kPTX);
  CHECK(kernels.size() == 2 && kernels[0].name == "scale");
  CHECK(kernels[0].parameterBytes == std::vector<size_t>({8, 8, 4}));
  CHECK(kernels[1].name == "tiles" && kernels[1].parametersKnown);
  CHECK(kernels[1].parameterBytes == std::vector<size_t>({128}));
  kernels = findPTXKernels(head + "// .entry no(\n" + first + second);
  CHECK(kernels.size() == 2 && kernels[0].name == "first");
  CHECK(kernels[1].name == "second" && kernels[1].parameterBytes.empty());
  kernels = findPTXKernels(".entry a(\n.param .b128 x,\n.param .s16 y\n)\n"
                           ".entry b()\n.entry c\n.entry d(\n.param .tex t)");
  CHECK(kernels.size() == 4);
  CHECK(kernels[0].parameterBytes == std::vector<size_t>({16, 2}));
  CHECK(kernels[1].name == "b" && kernels[1].parameterBytes.empty());
  CHECK(kernels[2].name == "c" && kernels[2].parametersKnown);
  CHECK(!kernels[3].parametersKnown);
}

static void testFailures() {
  std::string message;
  Call call(3);
  GPUImage image = makeImage();
  image.kernelNames.push_back("lost");
  GPUProgram incomplete(image);
  fake.clear();
  EXPECT(call.run(incomplete, nullptr, message), OMNIMOE_DEVICE_ERROR,
         "kernel 'lost' is not in the program's PTX");
  CHECK(fake.count("cuModuleLoadData") == 0);

  for (auto [function, result, text] :
       {std::tuple("cuModuleLoadData", 222,
                   "the CUDA driver is too old for the program: it serves CUDA "
                   "13.0, and PTX 8.6 needs a driver of CUDA 12.7 or newer"),
        {"cuModuleLoadData", 221, "libnvidia-ptxjitcompiler.so.1"},
        {"cuModuleLoadData", 218,
         "cannot load the program: "
         "CUDA_ERROR_INVALID_PTX"},
        {"cuModuleLoadData", 2,
         "cannot load the program: "
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

/// Which kernels launchSome launches.
static std::vector<int32_t> wanted;

static void launchSome(void *const *descriptors) {
  auto *x = static_cast<int64_t *>(descriptors[0]);
  cuda::TensorMap map = {};
  float factor = 2;
  void *ofTiles[] = {&map}, *ofScale[] = {&x[1], &x[3], &factor};
  for (int32_t kernel : wanted)
    omnimoe_gpu_launch(descriptors[3], kernel, 1, 1, 1, 32, 1, 1, 0, 0,
                       kernel == 0 ? ofTiles : ofScale);
}

/// A kernel is compiled and loaded when it is first launched.
static void testLate() {
  std::string message;
  Call call(3), elsewhere(3, 1);
  const EntryPoints some = {launchSome, workspaceSize};
  auto run = [&](GPUProgram &program, std::vector<int32_t> kernels,
                 void *stream = nullptr) {
    wanted = kernels;
    fake.clear();
    return launchOnGPU(makeSignature(), some, program, call.tensors, 2,
                       call.workspace, workspaceSize(3), stream, message);
  };
  {
    GPUProgram program(makeImage());
    EXPECT(run(program, {0}), OMNIMOE_OK, "");
    CHECK(fake.count("cuModuleLoadData") == 1);
    EXPECT(run(program, {0, 1}), OMNIMOE_OK, "");
    CHECK(fake.count("cuModuleLoadData") == 1);
    CHECK(logHas("kernel=scale") && !logHas("failed="));
    EXPECT(run(program, {0, 1}), OMNIMOE_OK, "");
    CHECK(fake.count("cuModuleLoadData") == 0);
    CHECK(fake.count("cuGraphLaunch") == 1 && !logHas("failed="));
    // Each context loads it for itself.
    EXPECT(elsewhere.run(program, nullptr, message), OMNIMOE_OK, "");
    CHECK(fake.count("cuModuleLoadData") == 2);
    fake.clear();
  }
  CHECK(fake.count("cuModuleUnload") == 4);
  {
    GPUProgram program(makeImage());
    EXPECT(run(program, {0}), OMNIMOE_OK, "");
    // In a capture.
    void *stream = fake.stream(0);
    fake.capture(stream, 1);
    EXPECT(run(program, {1, 0}, stream), OMNIMOE_OK, "");
    CHECK(fake.count("cuModuleLoadData") == 1);
    CHECK(fake.count("cuLaunchKernelEx") == 2);
    CHECK(!logHas("forbidden") && !logHas("failed="));
    fake.capture(stream, 0);
  }
  {
    // Nothing is launched without it, and the next call tries again.
    GPUProgram program(makeImage());
    EXPECT(run(program, {0}), OMNIMOE_OK, "");
    fake.fail("cuModuleLoadData", 222);
    for (int i = 0; i < 2; ++i) {
      EXPECT(run(program, {0, 1}), OMNIMOE_DEVICE_ERROR,
             "PTX 8.6 needs a driver of CUDA 12.7 or newer");
      CHECK(fake.count("cuLaunchKernelEx") == 0);
    }
    fake.fail("cuModuleLoadData", 0);
    EXPECT(run(program, {0, 1}), OMNIMOE_OK, "");
  }
}

void testLoading() {
  testText();
  testFailures();
  testLate();
}
