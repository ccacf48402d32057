/*===- gpu.c - Programs for a GPU
-------------------------------------------===*\
|* With the driver of test/Runtime/FakeCUDA.h, or with none. *|
\*===----------------------------------------------------------------------===*/

#include "harness.h"

#include "../Runtime/FakeCUDA.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *(*allocate)(int device, size_t bytes);
static int (*count)(const char *function);
static void (*clear)(void);

/* Finds the controls of the fake driver; 0 if there is no driver. */
static int findControls(void) {
  const char *path = getenv("OMNIMOE_CUDA_DRIVER");
  void *library = path ? dlopen(path, RTLD_NOW) : NULL;
  if (!library)
    return 0;
  *(void **)&allocate = dlsym(library, "fake_cuda_alloc");
  *(void **)&count = dlsym(library, "fake_cuda_count");
  *(void **)&clear = dlsym(library, "fake_cuda_clear");
  return allocate && count && clear;
}

static OmniMoeExecutable *compileForGPU(void) {
  OmniMoeExecutable *executable = NULL;
  OmniMoeOptions options;
  omnimoe_default_options(&options);
  options.target = "sm_90a";
  options.schedule = "token_centric";
  OK(omnimoe_compile(expertsIR, strlen(expertsIR), &options, &executable));
  if (!executable)
    exit(1);
  return executable;
}

/* The tensors of the experts program, in memory of `device`, or of the host if
   that is negative. */
enum { TENSORS = 6, TOKENS = 3 };
static const OmniMoeType types[TENSORS] = {OMNIMOE_F32, OMNIMOE_F32,
                                           OMNIMOE_F32, OMNIMOE_F32,
                                           OMNIMOE_I32, OMNIMOE_F32};
static const int64_t shapes[TENSORS][2] = {{TOKENS, HIDDEN},  {EXPERTS, HIDDEN},
                                           {EXPERTS, HIDDEN}, {TOKENS, TOP_K},
                                           {TOKENS, TOP_K},   {TOKENS, HIDDEN}};

static void makeTensors(OmniMoeTensor *tensors, int device) {
  for (int i = 0; i < TENSORS; ++i) {
    size_t bytes = 4 * (size_t)(shapes[i][0] * shapes[i][1]);
    tensors[i].data = device < 0 ? malloc(bytes) : allocate(device, bytes);
    tensors[i].type = types[i];
    tensors[i].rank = 2;
    tensors[i].shape = shapes[i];
    tensors[i].strides = NULL;
  }
}

static void testDescription(OmniMoeExecutable *executable) {
  OmniMoeString text = {NULL, 0};
  OK(omnimoe_executable_info(executable, &text));
  CHECK(strstr(text.data, "\"target\":\"sm_90a\"") != NULL);
  CHECK(strstr(text.data, "\"chip\":\"sm_90a\"") != NULL);
  omnimoe_string_destroy(text);
  OK(omnimoe_executable_ir(executable, "ptx", &text));
  CHECK(strstr(text.data, ".visible .entry") != NULL);
  omnimoe_string_destroy(text);
  OK(omnimoe_executable_ir(executable, "llvm", &text));
  CHECK(strstr(text.data, "@omnimoe_gpu_launch") != NULL);
  omnimoe_string_destroy(text);
  OK(omnimoe_stages("sm_90a", &text));
  CHECK(strstr(text.data, "\"ptx\"") != NULL);
  omnimoe_string_destroy(text);
  FAILS(omnimoe_stages("sm_13", &text), OMNIMOE_DEVICE_ERROR, "\"sm_13\"");
}

static void testRefusals(void) {
  int value = 0;
  FAILS(omnimoe_devices(NULL), OMNIMOE_INVALID_ARGUMENT, "json");
  FAILS(omnimoe_memory_device(&value, NULL), OMNIMOE_INVALID_ARGUMENT,
        "device");
  FAILS(omnimoe_copy_to_host(&value, &value, -1, NULL),
        OMNIMOE_INVALID_ARGUMENT, "bytes: expected 0 or more, got -1");
  FAILS(omnimoe_copy_to_host(NULL, &value, 4, NULL), OMNIMOE_INVALID_ARGUMENT,
        "host");
}

static void testWithoutDriver(OmniMoeExecutable *executable) {
  OmniMoeTensor tensors[TENSORS];
  OmniMoeString text = {NULL, 0};
  int32_t device = 0;
  int value = 0;
  OK(omnimoe_devices(&text));
  CHECK(strstr(text.data, "{\"devices\":[],\"missing\":\"no CUDA driver: ") ==
        text.data);
  omnimoe_string_destroy(text);
  makeTensors(tensors, -1);
  FAILS(omnimoe_executable_invoke(executable, tensors, TENSORS, NULL, 0, NULL),
        OMNIMOE_DEVICE_ERROR, "no CUDA driver: ");
  FAILS(omnimoe_memory_device(&value, &device), OMNIMOE_DEVICE_ERROR,
        "no CUDA driver: ");
  FAILS(omnimoe_copy_to_host(&value, &value, 4, NULL), OMNIMOE_DEVICE_ERROR,
        "no CUDA driver: ");
  for (int i = 0; i < TENSORS; ++i)
    free(tensors[i].data);
}

static void testInvocation(OmniMoeExecutable *executable) {
  OmniMoeTensor tensors[TENSORS], others[TENSORS], onHost[TENSORS];
  OmniMoeString text = {NULL, 0};
  int64_t bytes = -1;
  int32_t device = -2;
  void *workspace;
  int value[4] = {1, 2, 3, 4}, copy[4] = {0};

  OK(omnimoe_devices(&text));
  CHECK(strstr(text.data, "\"name\":\"cuda:1\"") != NULL);
  CHECK(strstr(text.data, "\"target\":\"sm_90a\"") != NULL);
  CHECK(strstr(text.data, "\"missing\":\"\"") != NULL);
  omnimoe_string_destroy(text);

  makeTensors(tensors, 0);
  makeTensors(others, 1);
  makeTensors(onHost, -1);
  OK(omnimoe_executable_workspace_size(executable, TOKENS, &bytes));
  workspace = allocate(0, (size_t)bytes);
  clear();
  OK(omnimoe_executable_invoke(executable, tensors, TENSORS, workspace, bytes,
                               NULL));
  CHECK(count("cuLaunchKernelEx") > 0);
  CHECK(count("cuStreamSynchronize") == 0);
  if (bytes > 0)
    FAILS(
        omnimoe_executable_invoke(executable, tensors, TENSORS, NULL, 0, NULL),
        OMNIMOE_INVALID_ARGUMENT, "workspace: expected");
  FAILS(omnimoe_executable_invoke(executable, onHost, TENSORS, workspace, bytes,
                                  NULL),
        OMNIMOE_DEVICE_ERROR,
        "x: expected memory of a GPU, got memory of the host");
  others[0] = tensors[0];
  FAILS(omnimoe_executable_invoke(executable, others, TENSORS, workspace, bytes,
                                  NULL),
        OMNIMOE_DEVICE_ERROR,
        "up: expected memory of cuda:0 as x, got memory of cuda:1");

  OK(omnimoe_memory_device(others[1].data, &device));
  CHECK(device == 1);
  OK(omnimoe_memory_device(value, &device));
  CHECK(device == -1);
  memcpy(tensors[0].data, value, sizeof(value));
  OK(omnimoe_copy_to_host(copy, tensors[0].data, sizeof(copy), NULL));
  CHECK(memcmp(copy, value, sizeof(copy)) == 0);
  for (int i = 0; i < TENSORS; ++i)
    free(onHost[i].data);
}

void testGPU(void) {
  OmniMoeExecutable *executable = compileForGPU();
  testDescription(executable);
  testRefusals();
  if (findControls())
    testInvocation(executable);
  else
    testWithoutDriver(executable);
  omnimoe_executable_destroy(executable);
}
