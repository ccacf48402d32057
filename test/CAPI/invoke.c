/*===- invoke.c - Running compiled programs
 * ---------------------------------===*/

#include "harness.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The arguments of the experts program for one number of tokens. */
typedef struct {
  float *x, *up, *down, *weights, *y;
  int32_t *experts;
  int64_t shapes[6][2];
  OmniMoeTensor tensors[6];
} Arguments;

static float *randomValues(int64_t count) {
  float *values = malloc((size_t)(count + 1) * sizeof(float));
  for (int64_t i = 0; i < count; ++i)
    values[i] = (float)rand() / (float)RAND_MAX - 0.5f;
  return values;
}

static void setTensor(Arguments *arguments, int index, void *data,
                      OmniMoeType type, int64_t rows, int64_t columns) {
  arguments->shapes[index][0] = rows;
  arguments->shapes[index][1] = columns;
  arguments->tensors[index].data = data;
  arguments->tensors[index].type = type;
  arguments->tensors[index].rank = 2;
  arguments->tensors[index].shape = arguments->shapes[index];
  arguments->tensors[index].strides = NULL;
}

static Arguments *createArguments(int64_t tokens) {
  Arguments *a = malloc(sizeof(Arguments));
  a->x = randomValues(tokens * HIDDEN);
  a->up = randomValues(EXPERTS * HIDDEN);
  a->down = randomValues(EXPERTS * HIDDEN);
  a->weights = randomValues(tokens * TOP_K);
  a->y = randomValues(tokens * HIDDEN);
  a->experts = malloc((size_t)(tokens * TOP_K + 1) * sizeof(int32_t));
  for (int64_t i = 0; i < tokens * TOP_K; ++i)
    a->experts[i] = rand() % EXPERTS;
  setTensor(a, 0, a->x, OMNIMOE_F32, tokens, HIDDEN);
  setTensor(a, 1, a->up, OMNIMOE_F32, EXPERTS, HIDDEN);
  setTensor(a, 2, a->down, OMNIMOE_F32, EXPERTS, HIDDEN);
  setTensor(a, 3, a->weights, OMNIMOE_F32, tokens, TOP_K);
  setTensor(a, 4, a->experts, OMNIMOE_I32, tokens, TOP_K);
  setTensor(a, 5, a->y, OMNIMOE_F32, tokens, HIDDEN);
  return a;
}

static void destroyArguments(Arguments *a) {
  free(a->x);
  free(a->up);
  free(a->down);
  free(a->weights);
  free(a->y);
  free(a->experts);
  free(a);
}

/* ||y - reference|| / ||reference|| against a plain loop in double. */
static double relativeError(const Arguments *a, int64_t tokens) {
  double difference = 0, norm = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    double y[HIDDEN] = {0};
    for (int k = 0; k < TOP_K; ++k) {
      int32_t e = a->experts[t * TOP_K + k];
      double s = 0, w;
      if (e < 0 || e >= EXPERTS)
        continue;
      for (int d = 0; d < HIDDEN; ++d)
        s += (double)a->x[t * HIDDEN + d] * a->up[e * HIDDEN + d];
      w = s / (1 + exp(-s)) * a->weights[t * TOP_K + k];
      for (int d = 0; d < HIDDEN; ++d)
        y[d] += w * a->down[e * HIDDEN + d];
    }
    for (int d = 0; d < HIDDEN; ++d) {
      double delta = a->y[t * HIDDEN + d] - y[d];
      difference += delta * delta;
      norm += y[d] * y[d];
    }
  }
  return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

static OmniMoeStatus invoke(const OmniMoeExecutable *executable,
                            const Arguments *a) {
  return omnimoe_executable_invoke(executable, a->tensors, 6, NULL, 0, NULL);
}

static void testValues(const OmniMoeExecutable *executable) {
  static const int64_t sizes[] = {0, 1, 2, 7, 64, 513};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); ++i) {
    Arguments *a = createArguments(sizes[i]);
    OK(invoke(executable, a));
    CHECK(relativeError(a, sizes[i]) < 1e-5);
    destroyArguments(a);
  }
}

/* An id outside [0, N) adds nothing and reads nothing. */
static void testStrayIds(const OmniMoeExecutable *executable) {
  Arguments *a = createArguments(5);
  a->experts[0] = -1;
  a->experts[5] = EXPERTS;
  a->experts[10] = 2147483647;
  a->experts[15] = (int32_t)-2147483647;
  OK(invoke(executable, a));
  CHECK(relativeError(a, 5) < 1e-5);
  destroyArguments(a);
}

static void testRefusals(const OmniMoeExecutable *executable) {
  static const int64_t rowMajor[2] = {HIDDEN, 1}, columnMajor[2] = {1, 4};
  Arguments *a = createArguments(4);
  OmniMoeTensor saved;

  FAILS(omnimoe_executable_invoke(NULL, a->tensors, 6, NULL, 0, NULL),
        OMNIMOE_INVALID_ARGUMENT, "executable");
  FAILS(omnimoe_executable_invoke(executable, NULL, 6, NULL, 0, NULL),
        OMNIMOE_INVALID_ARGUMENT, "tensors");
  FAILS(omnimoe_executable_invoke(executable, a->tensors, 5, NULL, 0, NULL),
        OMNIMOE_INVALID_ARGUMENT, "expected 6 (5 inputs, 1 outputs), got 5");
  FAILS(omnimoe_executable_invoke(executable, a->tensors, 6, NULL, 0, a),
        OMNIMOE_INVALID_ARGUMENT, "stream");

  a->shapes[0][1] = HIDDEN - 1;
  FAILS(invoke(executable, a), OMNIMOE_SHAPE_ERROR,
        "x: expected f32 [T, 32], got f32 [4, 31]");
  a->shapes[0][1] = HIDDEN;
  a->shapes[3][0] = 3;
  FAILS(invoke(executable, a), OMNIMOE_SHAPE_ERROR,
        "weights: expected f32 [T, 4] with T = 4 as in x, got f32 [3, 4]");
  a->shapes[3][0] = 4;
  a->shapes[0][0] = -4;
  FAILS(invoke(executable, a), OMNIMOE_SHAPE_ERROR, "got f32 [-4, 32]");
  a->shapes[0][0] = 4;

  saved = a->tensors[0];
  a->tensors[0].type = OMNIMOE_BF16;
  FAILS(invoke(executable, a), OMNIMOE_SHAPE_ERROR, "got bf16 [4, 32]");
  a->tensors[0] = saved;
  a->tensors[0].rank = 1;
  FAILS(invoke(executable, a), OMNIMOE_SHAPE_ERROR, "got f32 [4]");
  a->tensors[0] = saved;
  a->tensors[0].data = NULL;
  FAILS(invoke(executable, a), OMNIMOE_INVALID_ARGUMENT, "x: data is null");
  a->tensors[0].data = (char *)a->x + 1;
  FAILS(invoke(executable, a), OMNIMOE_INVALID_ARGUMENT, "multiple of 4");
  a->tensors[0] = saved;
  a->tensors[0].strides = columnMajor;
  FAILS(invoke(executable, a), OMNIMOE_SHAPE_ERROR,
        "expected row-major strides [32, 1] for shape [4, 32], got [1, 4]");
  a->tensors[0].strides = rowMajor;
  OK(invoke(executable, a));
  CHECK(relativeError(a, 4) < 1e-5);
  a->tensors[5].data = a->x;
  FAILS(invoke(executable, a), OMNIMOE_INVALID_ARGUMENT,
        "output: shares memory with x");
  destroyArguments(a);
}

static void testWorkspace(const OmniMoeExecutable *executable) {
  Arguments *a = createArguments(64);
  int64_t bytes = -1;
  char *memory, *aligned;

  OK(omnimoe_executable_workspace_size(executable, 64, &bytes));
  CHECK(bytes >= 0);
  memory = malloc((size_t)bytes + 128);
  aligned = memory + (64 - (size_t)memory % 64);
  OK(omnimoe_executable_invoke(executable, a->tensors, 6, aligned, bytes,
                               NULL));
  CHECK(relativeError(a, 64) < 1e-5);
  if (bytes > 0)
    FAILS(omnimoe_executable_invoke(executable, a->tensors, 6, aligned,
                                    bytes - 1, NULL),
          OMNIMOE_INVALID_ARGUMENT, "workspace_bytes");
  FAILS(omnimoe_executable_invoke(executable, a->tensors, 6, aligned + 4, bytes,
                                  NULL),
        OMNIMOE_INVALID_ARGUMENT, "multiple of 64");
  FAILS(omnimoe_executable_workspace_size(executable, -1, &bytes),
        OMNIMOE_INVALID_ARGUMENT, "tokens");
  FAILS(omnimoe_executable_workspace_size(NULL, 1, &bytes),
        OMNIMOE_INVALID_ARGUMENT, "executable");
  FAILS(omnimoe_executable_workspace_size(executable, 1, NULL),
        OMNIMOE_INVALID_ARGUMENT, "bytes");
  free(memory);
  destroyArguments(a);
}

static void *invokeOften(void *executable) {
  Arguments *a = createArguments(33);
  double worst = 0;
  for (int i = 0; i < 50; ++i) {
    memset(a->y, 0xff, 33 * HIDDEN * sizeof(float));
    if (invoke(executable, a) != OMNIMOE_OK || !(relativeError(a, 33) < 1e-5))
      worst = 1;
  }
  destroyArguments(a);
  return worst > 0 ? executable : NULL;
}

static void testManyThreads(OmniMoeExecutable *executable) {
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i)
    CHECK(pthread_create(&threads[i], NULL, invokeOften, executable) == 0);
  for (int i = 0; i < 4; ++i) {
    void *failed = executable;
    CHECK(pthread_join(threads[i], &failed) == 0);
    CHECK(failed == NULL);
  }
}

void testInvoke(void) {
  static const char *const schedules[] = {"auto", "token_centric",
                                          "expert_centric", "dense"};
  OmniMoeExecutable *executable;
  OmniMoeOptions options;
  omnimoe_default_options(&options);
  for (size_t i = 0; i < sizeof(schedules) / sizeof(schedules[0]); ++i) {
    executable = NULL;
    options.schedule = schedules[i];
    OK(omnimoe_compile(expertsIR, strlen(expertsIR), &options, &executable));
    if (!executable)
      continue;
    testValues(executable);
    testStrayIds(executable);
    omnimoe_executable_destroy(executable);
  }
  executable = compileOrDie(expertsIR);
  testRefusals(executable);
  testWorkspace(executable);
  testManyThreads(executable);
  OK(omnimoe_set_num_threads(1));
  testValues(executable);
  OK(omnimoe_set_num_threads(0));
  omnimoe_executable_destroy(executable);
}
