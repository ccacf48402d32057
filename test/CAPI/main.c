/*===- main.c - Test of the C interface
 * --------------------------------------===*/

#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int failures = 0;

void check(int holds, const char *condition, const char *file, int line) {
  if (holds)
    return;
  ++failures;
  printf("%s:%d: failed: %s\n", file, line, condition);
}

void expect(OmniMoeStatus got, OmniMoeStatus expected, const char *text,
            const char *file, int line) {
  const char *message = omnimoe_last_error();
  if (got == expected && (got == OMNIMOE_OK || strstr(message, text)))
    return;
  ++failures;
  printf("%s:%d: failed: expected status %d with \"%s\", got %d with \"%s\"\n",
         file, line, (int)expected, text, (int)got,
         got == OMNIMOE_OK ? "" : message);
}

const char *const expertsIR =
    "#id = affine_map<(t, k) -> (t, k)>\n"
    "func.func @experts(\n"
    "    %x: tensor<?x32xf32> {omnimoe.name = \"x\"},\n"
    "    %up: tensor<16x32xf32> {omnimoe.name = \"up\"},\n"
    "    %down: tensor<16x32xf32> {omnimoe.name = \"down\"},\n"
    "    %weights: tensor<?x4xf32> {omnimoe.name = \"weights\"},\n"
    "    %experts: tensor<?x4xi32> {omnimoe.name = \"experts\"})\n"
    "    -> tensor<?x32xf32> {\n"
    "  %c0 = arith.constant 0 : index\n"
    "  %zero = arith.constant 0.0 : f32\n"
    "  %one = arith.constant 1.0 : f32\n"
    "  %T = tensor.dim %x, %c0 : tensor<?x32xf32>\n"
    "  %s0 = tensor.empty(%T) : tensor<?x4xf32>\n"
    "  %s = omnimoe.grouped_matmul ins(%x, %up, %experts : tensor<?x32xf32>,"
    "         tensor<16x32xf32>, tensor<?x4xi32>)\n"
    "         outs(%s0 : tensor<?x4xf32>) -> tensor<?x4xf32>\n"
    "  %a0 = tensor.empty(%T) : tensor<?x4xf32>\n"
    "  %a = linalg.generic {indexing_maps = [#id, #id, #id],\n"
    "         iterator_types = [\"parallel\", \"parallel\"]}\n"
    "         ins(%s, %weights : tensor<?x4xf32>, tensor<?x4xf32>)\n"
    "         outs(%a0 : tensor<?x4xf32>) {\n"
    "  ^bb0(%v: f32, %g: f32, %o: f32):\n"
    "    %n = arith.negf %v : f32\n"
    "    %e = math.exp %n : f32\n"
    "    %d = arith.addf %e, %one : f32\n"
    "    %q = arith.divf %v, %d : f32\n"
    "    %r = arith.mulf %q, %g : f32\n"
    "    linalg.yield %r : f32\n"
    "  } -> tensor<?x4xf32>\n"
    "  %y0 = tensor.empty(%T) : tensor<?x32xf32>\n"
    "  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x32xf32>)"
    "          -> tensor<?x32xf32>\n"
    "  %y = omnimoe.combine to_tokens ins(%a, %down, %experts :"
    "         tensor<?x4xf32>, tensor<16x32xf32>, tensor<?x4xi32>)\n"
    "         outs(%y1 : tensor<?x32xf32>) -> tensor<?x32xf32>\n"
    "  return %y : tensor<?x32xf32>\n"
    "}\n";

OmniMoeExecutable *compileOrDie(const char *ir) {
  OmniMoeExecutable *executable = NULL;
  if (omnimoe_compile(ir, strlen(ir), NULL, &executable) == OMNIMOE_OK)
    return executable;
  printf("failed: cannot compile: %s\n", omnimoe_last_error());
  exit(1);
}

int isCached(const OmniMoeExecutable *executable) {
  OmniMoeString info = {NULL, 0};
  int cached;
  OK(omnimoe_executable_info(executable, &info));
  cached = info.data && strstr(info.data, "\"cached\":true") != NULL;
  omnimoe_string_destroy(info);
  return cached;
}

static void testBasics(void) {
  OmniMoeString text = {NULL, 0};
  OmniMoeOptions options;

  CHECK(strlen(omnimoe_version()) >= 5);
  CHECK(strcmp(omnimoe_last_error(), "") == 0);

  memset(&options, 0xff, sizeof(options));
  omnimoe_default_options(&options);
  CHECK(options.target == NULL && options.schedule == NULL);
  CHECK(options.threads == 0 && options.deterministic == 0);
  CHECK(options.cache_dir == NULL && options.cache_bytes == 0);
  CHECK(options.dump_dir == NULL && options.dump == NULL);

  OK(omnimoe_targets(&text));
  CHECK(strstr(text.data, "\"name\":\"cpu\"") != NULL);
  CHECK(strstr(text.data, "#omnimoe.target<chip") != NULL);
  CHECK(strlen(text.data) == text.size);
  omnimoe_string_destroy(text);
  FAILS(omnimoe_targets(NULL), OMNIMOE_INVALID_ARGUMENT, "json");

  OK(omnimoe_stages(NULL, &text));
  CHECK(strstr(text.data, "[\"input\",\"schedule\"") == text.data);
  CHECK(strstr(text.data, "\"llvm\",\"asm\"]") != NULL);
  omnimoe_string_destroy(text);
  FAILS(omnimoe_stages(NULL, NULL), OMNIMOE_INVALID_ARGUMENT, "json");

  omnimoe_string_destroy((OmniMoeString){NULL, 0});
  omnimoe_executable_destroy(NULL);
}

static void testThreads(void) {
  int32_t machine = omnimoe_get_num_threads();
  CHECK(machine >= 1);
  OK(omnimoe_set_num_threads(1));
  CHECK(omnimoe_get_num_threads() == 1);
  OK(omnimoe_set_num_threads(3));
  CHECK(omnimoe_get_num_threads() == 3);
  FAILS(omnimoe_set_num_threads(-1), OMNIMOE_INVALID_ARGUMENT, "got -1");
  CHECK(omnimoe_get_num_threads() == 3);
  OK(omnimoe_set_num_threads(0));
  CHECK(omnimoe_get_num_threads() == machine);
}

static void testPipeline(void) {
  OmniMoeString text = {NULL, 0};
  size_t size = strlen(expertsIR);
  OK(omnimoe_run_pipeline(expertsIR, size, "omnimoe-to-llvm{threads=1}",
                          &text));
  CHECK(text.data && strstr(text.data, "omnimoe_entry") != NULL);
  omnimoe_string_destroy(text);
  FAILS(omnimoe_run_pipeline(expertsIR, size, "no-such-pass", &text),
        OMNIMOE_INVALID_ARGUMENT, "no-such-pass");
  FAILS(omnimoe_run_pipeline("nonsense", 8, "omnimoe-to-llvm", &text),
        OMNIMOE_COMPILE_ERROR, "error");
  FAILS(omnimoe_run_pipeline(NULL, 0, "omnimoe-to-llvm", &text),
        OMNIMOE_INVALID_ARGUMENT, "ir");
  FAILS(omnimoe_run_pipeline(expertsIR, size, NULL, &text),
        OMNIMOE_INVALID_ARGUMENT, "pipeline");
  FAILS(omnimoe_run_pipeline(expertsIR, size, "omnimoe-to-llvm", NULL),
        OMNIMOE_INVALID_ARGUMENT, "result");
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  testBasics();
  testThreads();
  testPipeline();
  testCompile(argv[1]);
  testInvoke();
  testGPU();
  if (failures == 0)
    printf("all checks passed\n");
  return failures != 0;
}
