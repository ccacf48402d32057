/*===- compile.c - Compiling, caching, saving
 * -------------------------------===*/

#include "harness.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static OmniMoeStatus compile(const char *ir, const OmniMoeOptions *options) {
  OmniMoeExecutable *executable = NULL;
  OmniMoeStatus status = omnimoe_compile(ir, strlen(ir), options, &executable);
  CHECK((status == OMNIMOE_OK) == (executable != NULL));
  omnimoe_executable_destroy(executable);
  return status;
}

static OmniMoeExecutable *compileWith(const OmniMoeOptions *options) {
  OmniMoeExecutable *executable = NULL;
  OK(omnimoe_compile(expertsIR, strlen(expertsIR), options, &executable));
  if (!executable)
    exit(1);
  return executable;
}

/* Path of the only file of a folder whose name holds `part`; "" if there is no
   such file. */
static const char *findFile(const char *directory, const char *part) {
  static char path[4096];
  DIR *folder = opendir(directory);
  struct dirent *entry;
  path[0] = 0;
  while (folder && (entry = readdir(folder)))
    if (strstr(entry->d_name, part))
      snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
  if (folder)
    closedir(folder);
  return path;
}

static long fileSize(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 ? (long)status.st_size : -1;
}

static void testRefusals(void) {
  OmniMoeExecutable *executable = NULL;
  OmniMoeOptions options;
  size_t size = strlen(expertsIR);

  FAILS(omnimoe_compile(NULL, 0, NULL, &executable), OMNIMOE_INVALID_ARGUMENT,
        "ir");
  FAILS(omnimoe_compile(expertsIR, size, NULL, NULL), OMNIMOE_INVALID_ARGUMENT,
        "executable");

  omnimoe_default_options(&options);
  options.target = "abacus";
  FAILS(compile(expertsIR, &options), OMNIMOE_DEVICE_ERROR, "\"abacus\"");
  omnimoe_default_options(&options);
  options.schedule = "random";
  FAILS(compile(expertsIR, &options), OMNIMOE_INVALID_ARGUMENT,
        "token_centric");
  omnimoe_default_options(&options);
  options.threads = -2;
  FAILS(compile(expertsIR, &options), OMNIMOE_INVALID_ARGUMENT, "got -2");
  omnimoe_default_options(&options);
  options.cache_bytes = -1;
  FAILS(compile(expertsIR, &options), OMNIMOE_INVALID_ARGUMENT, "cache_bytes");

  FAILS(compile("", NULL), OMNIMOE_COMPILE_ERROR, "none");
  FAILS(compile("func.func @f(", NULL), OMNIMOE_COMPILE_ERROR, "<input>");
  FAILS(compile("func.func private @f()", NULL), OMNIMOE_COMPILE_ERROR, "none");
  FAILS(compile("func.func @f() {return} func.func @g() {return}", NULL),
        OMNIMOE_COMPILE_ERROR, "'g'");
  FAILS(compile("func.func @f(%a: f32) {return}", NULL), OMNIMOE_COMPILE_ERROR,
        "argument 0: expected a ranked tensor");
  FAILS(compile("func.func @f(%a: tensor<?xf64>) {return}", NULL),
        OMNIMOE_COMPILE_ERROR, "bf16");
  FAILS(compile("func.func @f(%a: tensor<4x?xf32>) {return}", NULL),
        OMNIMOE_COMPILE_ERROR, "leading");
  /* Verifies, but has no place on a CPU. */
  FAILS(compile("func.func @f(%a: tensor<?x8xf32>) -> tensor<?x8xf32> {\n"
                "  gpu.barrier\n  return %a : tensor<?x8xf32>\n}",
                NULL),
        OMNIMOE_COMPILE_ERROR, "reproducer: ");
}

static void testStages(void) {
  OmniMoeExecutable *executable = compileOrDie(expertsIR);
  OmniMoeString text = {NULL, 0};

  OK(omnimoe_executable_info(executable, &text));
  CHECK(strstr(text.data, "\"entry\":\"experts\"") != NULL);
  CHECK(strstr(text.data, "\"target\":\"cpu\"") != NULL);
  CHECK(strstr(text.data, "\"name\":\"weights\",\"shape\":[-1,4]") != NULL);
  CHECK(strstr(text.data, "\"schedules\":[") != NULL);
  CHECK(strstr(text.data, "\"compile_seconds\":") != NULL);
  omnimoe_string_destroy(text);
  FAILS(omnimoe_executable_info(NULL, &text), OMNIMOE_INVALID_ARGUMENT,
        "executable");
  FAILS(omnimoe_executable_info(executable, NULL), OMNIMOE_INVALID_ARGUMENT,
        "json");

  OK(omnimoe_executable_ir(executable, "input", &text));
  CHECK(strstr(text.data, "omnimoe.grouped_matmul") != NULL);
  omnimoe_string_destroy(text);
  OK(omnimoe_executable_ir(executable, "bufferize", &text));
  CHECK(strstr(text.data, "memref<") != NULL);
  omnimoe_string_destroy(text);
  OK(omnimoe_executable_ir(executable, "llvm", &text));
  CHECK(strstr(text.data, "define") && strstr(text.data, "@omnimoe_entry"));
  omnimoe_string_destroy(text);
  OK(omnimoe_executable_ir(executable, "asm", &text));
  CHECK(strstr(text.data, "omnimoe_entry:") != NULL);
  omnimoe_string_destroy(text);
  FAILS(omnimoe_executable_ir(executable, "soup", &text),
        OMNIMOE_INVALID_ARGUMENT, "got \"soup\"");
  FAILS(omnimoe_executable_ir(NULL, "asm", &text), OMNIMOE_INVALID_ARGUMENT,
        "executable");
  FAILS(omnimoe_executable_ir(executable, NULL, &text),
        OMNIMOE_INVALID_ARGUMENT, "stage");
  FAILS(omnimoe_executable_ir(executable, "asm", NULL),
        OMNIMOE_INVALID_ARGUMENT, "text");
  omnimoe_executable_destroy(executable);
}

static void testDump(const char *directory) {
  char folder[2048];
  OmniMoeOptions options;
  omnimoe_default_options(&options);
  snprintf(folder, sizeof(folder), "%s/dump/deeper", directory);
  options.dump_dir = folder;
  options.dump = "schedule, llvm";
  OK(compile(expertsIR, &options));
  CHECK(fileSize(findFile(folder, "-schedule.mlir")) > 0);
  CHECK(fileSize(findFile(folder, "-llvm.ll")) > 0);
  CHECK(strcmp(findFile(folder, "-asm.s"), "") == 0);
  options.dump = NULL;
  OK(compile(expertsIR, &options));
  CHECK(fileSize(findFile(folder, "-input.mlir")) > 0);
  CHECK(fileSize(findFile(folder, "-asm.s")) > 0);
  options.dump = "schedule,soup";
  FAILS(compile(expertsIR, &options), OMNIMOE_INVALID_ARGUMENT, "got \"soup\"");
  options.dump = "all";
  options.dump_dir = "/proc/none";
  FAILS(compile(expertsIR, &options), OMNIMOE_IO_ERROR, "/proc/none");
}

static void testCache(const char *directory) {
  char folder[2048];
  OmniMoeExecutable *first, *second;
  OmniMoeOptions options;
  OmniMoeString text;
  FILE *file;
  long size;

  omnimoe_default_options(&options);
  snprintf(folder, sizeof(folder), "%s/cache", directory);
  options.cache_dir = folder;
  first = compileWith(&options);
  CHECK(!isCached(first));
  second = compileWith(&options); /* out of memory */
  CHECK(isCached(second));
  omnimoe_executable_destroy(first);
  omnimoe_executable_destroy(second);
  first = compileWith(&options); /* off the disk */
  CHECK(isCached(first));
  omnimoe_executable_destroy(first);

  /* A truncated entry is compiled again and made whole. */
  size = fileSize(findFile(folder, ".omni"));
  CHECK(size > 0);
  file = fopen(findFile(folder, ".omni"), "wb");
  fputs("OMNIMOE\n", file);
  fclose(file);
  first = compileWith(&options);
  CHECK(!isCached(first));
  CHECK(fileSize(findFile(folder, ".omni")) == size);
  omnimoe_executable_destroy(first);

  /* Other options are another program; a small cache keeps the newest. */
  options.schedule = "token_centric";
  options.cache_bytes = 1;
  first = compileWith(&options);
  CHECK(!isCached(first));
  omnimoe_executable_destroy(first);
  options.schedule = NULL;
  first = compileWith(&options);
  CHECK(!isCached(first));
  omnimoe_executable_destroy(first);

  /* A folder that cannot be written does not keep a program from running. */
  options.cache_dir = "/proc/none";
  first = compileWith(&options);
  OK(omnimoe_executable_info(first, &text));
  CHECK(strstr(text.data, "\"cache_error\":\"/proc/none") != NULL);
  omnimoe_string_destroy(text);
  omnimoe_executable_destroy(first);
}

static void testMeasured(void) {
  OmniMoeExecutable *executable;
  OmniMoeOptions options;
  OmniMoeString text;

  omnimoe_default_options(&options);
  options.measured = "f32-n8-r1-d32-k4:1=dense=1,"
                     "f32-n16-r1-d32-k4:1=dense=1e-6:1=token_centric=2e-6";
  executable = compileWith(&options);
  OK(omnimoe_executable_info(executable, &text));
  CHECK(strstr(text.data, "\"measured\":{\"dense\":") != NULL);
  CHECK(strstr(text.data, "\"schedule\":\"dense\"") != NULL);
  omnimoe_string_destroy(text);
  omnimoe_executable_destroy(executable);
  options.measured = "f32-n16-r1-d32-k4:1=fast=1";
  FAILS(compile(expertsIR, &options), OMNIMOE_COMPILE_ERROR,
        "got 'f32-n16-r1-d32-k4:1=fast=1'");
}

static void testSave(const char *directory) {
  char path[2048];
  OmniMoeExecutable *executable = compileOrDie(expertsIR), *loaded = NULL;
  int64_t bytes = -1, bytesLoaded = -2;
  FILE *file;

  snprintf(path, sizeof(path), "%s/experts.omni", directory);
  OK(omnimoe_executable_save(executable, path));
  OK(omnimoe_executable_workspace_size(executable, 100, &bytes));
  omnimoe_executable_destroy(executable);
  OK(omnimoe_executable_load(path, &loaded));
  CHECK(loaded && isCached(loaded));
  OK(omnimoe_executable_workspace_size(loaded, 100, &bytesLoaded));
  CHECK(bytes == bytesLoaded);

  FAILS(omnimoe_executable_save(loaded, "/proc/none/x"), OMNIMOE_IO_ERROR,
        "/proc/none/x");
  FAILS(omnimoe_executable_save(NULL, path), OMNIMOE_INVALID_ARGUMENT,
        "executable");
  FAILS(omnimoe_executable_save(loaded, NULL), OMNIMOE_INVALID_ARGUMENT,
        "path");
  omnimoe_executable_destroy(loaded);

  /* One byte changed in the middle. */
  file = fopen(path, "r+b");
  fseek(file, fileSize(path) / 2, SEEK_SET);
  fputc(0xA5, file);
  fputc(0x5A, file);
  fclose(file);
  FAILS(omnimoe_executable_load(path, &loaded), OMNIMOE_IO_ERROR, "damaged");
  CHECK(loaded == NULL);
  file = fopen(path, "wb");
  fputs("something else", file);
  fclose(file);
  FAILS(omnimoe_executable_load(path, &loaded), OMNIMOE_IO_ERROR,
        "something else");
  FAILS(omnimoe_executable_load("/proc/none/x", &loaded), OMNIMOE_IO_ERROR,
        "/proc/none/x");
  FAILS(omnimoe_executable_load(NULL, &loaded), OMNIMOE_INVALID_ARGUMENT,
        "path");
  FAILS(omnimoe_executable_load(path, NULL), OMNIMOE_INVALID_ARGUMENT,
        "executable");
}

void testCompile(const char *directory) {
  testRefusals();
  testStages();
  testDump(directory);
  testCache(directory);
  testMeasured();
  testSave(directory);
}
