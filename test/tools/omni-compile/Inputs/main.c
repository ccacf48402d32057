/* Runs two compilations of one program on the same values. */

#include "experts.h"
#include "other.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 37, HIDDEN = 32, EXPERTS = 16, TOP_K = 4 };

static float x[TOKENS * HIDDEN], up[EXPERTS * HIDDEN], down[EXPERTS * HIDDEN];
static float weights[TOKENS * TOP_K], y[TOKENS * HIDDEN], z[TOKENS * HIDDEN];
static int32_t experts[TOKENS * TOP_K];

static void fill(float *values, int count) {
  for (int i = 0; i < count; ++i)
    values[i] = (float)rand() / (float)RAND_MAX - 0.5f;
}

/* An address in `memory` that is a multiple of 64. */
static void *align(void *memory) {
  uintptr_t address = (uintptr_t)memory;
  return (void *)((address + 63) / 64 * 64);
}

int main(void) {
  void *first = malloc((size_t)experts_workspace_size(TOKENS) + 64);
  void *second = malloc((size_t)other_workspace_size(TOKENS) + 64);
  float norm = 0;
  fill(x, TOKENS * HIDDEN);
  fill(up, EXPERTS * HIDDEN);
  fill(down, EXPERTS * HIDDEN);
  fill(weights, TOKENS * TOP_K);
  for (int i = 0; i < TOKENS * TOP_K; ++i)
    experts[i] = rand() % EXPERTS;
  experts_run(TOKENS, x, up, down, weights, experts, y, align(first));
  other_run(TOKENS, x, up, down, weights, experts, z, align(second));
  for (int i = 0; i < TOKENS * HIDDEN; ++i) {
    norm += y[i] * y[i];
    if (fabsf(y[i] - z[i]) > 1e-5f)
      printf("%d differs: %g, %g\n", i, (double)y[i], (double)z[i]);
  }
  if (norm > 0)
    printf("outputs agree\n");
  free(first);
  free(second);
  return 0;
}
