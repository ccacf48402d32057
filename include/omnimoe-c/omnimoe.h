/*===- omnimoe.h - C interface of the omnimoe compiler
----------------------===*\
|* Everything that another language needs: parse IR, run a named pipeline, *|
|* compile, save and load a program, ask for its workspace, run it. Handles are
*|
|* opaque, every call returns a status, and no exception or C++ type crosses. *|
|* All functions may be called from several threads at once; one executable may
*|
|* be invoked by several threads at once as long as their workspaces differ. *|
\*===----------------------------------------------------------------------===*/

#ifndef OMNIMOE_C_OMNIMOE_H
#define OMNIMOE_C_OMNIMOE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define OMNIMOE_EXPORT __attribute__((visibility("default")))
#else
#define OMNIMOE_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum OmniMoeStatus {
  OMNIMOE_OK = 0,
  OMNIMOE_INVALID_ARGUMENT = 1, /* a null pointer, an unknown option value    */
  OMNIMOE_SHAPE_ERROR = 2,      /* rank, size, element type or strides differ */
  OMNIMOE_COMPILE_ERROR = 3,    /* IR that does not parse, verify or lower    */
  OMNIMOE_DEVICE_ERROR = 4,     /* no such target, driver or device           */
  OMNIMOE_IO_ERROR = 5,         /* a file that cannot be read or written      */
  OMNIMOE_INTERNAL_ERROR = 6
} OmniMoeStatus;

typedef enum OmniMoeType {
  OMNIMOE_F32 = 0,
  OMNIMOE_F16 = 1,
  OMNIMOE_BF16 = 2,
  OMNIMOE_I32 = 3
} OmniMoeType;

/* An array of the caller. `strides` are in elements; NULL means row-major. */
typedef struct OmniMoeTensor {
  void *data;
  OmniMoeType type;
  int32_t rank;
  const int64_t *shape;
  const int64_t *strides;
} OmniMoeTensor;

/* How to compile. Initialise with omnimoe_default_options. */
typedef struct OmniMoeOptions {
  const char *target;   /* "cpu" (the host), "sm_90a"; NULL or "auto": what the
                           module's omnimoe.target says, else "cpu" */
  const char *schedule; /* "auto", "token_centric", ...; NULL: "auto" */
  int32_t threads; /* threads to plan for; 0: all of the target's         */
  int32_t deterministic; /* 1: bitwise repeatable */
  const char *cache_dir; /* disk cache to read and fill; NULL: none */
  int64_t cache_bytes; /* size the cache is trimmed to; 0: 512 MiB            */
  const char *dump_dir; /* folder for the IR of the stages; NULL: none */
  const char *dump; /* comma-separated stages, or "all"; NULL: "all"       */
  const char *measured; /* seconds that schedules were measured to take, as
                           omnimoe-select-schedule takes them, separated by
                           commas; NULL: all are estimated */
} OmniMoeOptions;

typedef struct OmniMoeExecutable OmniMoeExecutable;

/* Text owned by the caller; free with omnimoe_string_destroy. */
typedef struct OmniMoeString {
  char *data;
  size_t size;
} OmniMoeString;

/* Message of the last call that failed on this thread; "" if none did. */
OMNIMOE_EXPORT const char *omnimoe_last_error(void);
OMNIMOE_EXPORT const char *omnimoe_version(void);
OMNIMOE_EXPORT void omnimoe_string_destroy(OmniMoeString string);
OMNIMOE_EXPORT void omnimoe_default_options(OmniMoeOptions *options);

/* The targets this build can compile for, as a JSON list of
   {"name", "chip", "units", "attribute"}. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_targets(OmniMoeString *json);

/* The GPUs of this machine, as JSON: {"devices": [{"name": "cuda:0",
   "description": "NVIDIA H100", "capability": [9, 0], "units": 132, "target":
   "sm_90a"}], "missing": "no CUDA driver: ..."}. "target" is what programs for
   the device are compiled for, null if none can be. "missing" says why there
   are no devices, and is "" if there are. Starts the CUDA driver. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_devices(OmniMoeString *json);

/* The GPU whose memory an address is, counted as in "cuda:0"; -1 for memory of
   the host. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_memory_device(const void *memory,
                                                   int32_t *device);

/* Copies `bytes` bytes of a GPU's memory to `host`, after what is enqueued on
   `stream`, and waits for them. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_copy_to_host(void *host,
                                                  const void *memory,
                                                  int64_t bytes, void *stream);

/* Threads that compiled programs use; 0 restores the machine's. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_set_num_threads(int32_t threads);
OMNIMOE_EXPORT int32_t omnimoe_get_num_threads(void);

/* Parses `ir`, runs `pipeline` (mlir pass pipeline syntax, such as
   "omnimoe-to-llvm{threads=1}") and prints the result. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_run_pipeline(const char *ir, size_t size,
                                                  const char *pipeline,
                                                  OmniMoeString *result);

/* Compiles the one public function of a module. On a cache hit nothing is
   parsed. A failure's message holds the diagnostics and the path of a
   reproducer. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_compile(const char *ir, size_t size,
                                             const OmniMoeOptions *options,
                                             OmniMoeExecutable **executable);
OMNIMOE_EXPORT void omnimoe_executable_destroy(OmniMoeExecutable *executable);
OMNIMOE_EXPORT OmniMoeStatus
omnimoe_executable_save(const OmniMoeExecutable *executable, const char *path);
OMNIMOE_EXPORT OmniMoeStatus
omnimoe_executable_load(const char *path, OmniMoeExecutable **executable);

/* What the program is, as JSON: {"entry", "target", "chip", "inputs": [{"type":
   "f32", "shape": [-1, 512]}], "outputs": [...], "schedules": [{"block",
   "schedule", "min_tokens", "max_tokens", "tokens", "estimates": {...},
   "measured": {...}}], "cached": bool, "compile_seconds": number}. -1 stands
   for T, the number of tokens. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_executable_info(
    const OmniMoeExecutable *executable, OmniMoeString *json);

/* The stages of compiling for `target` (NULL: "cpu"), in order, as a JSON list.
   Among them are "ptx" for a GPU and, for what runs on the host, "llvm" (LLVM
   IR) and "asm". */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_stages(const char *target,
                                            OmniMoeString *json);

/* The program as it stood after a stage. Compiles again from the kept source.
 */
OMNIMOE_EXPORT OmniMoeStatus
omnimoe_executable_ir(const OmniMoeExecutable *executable, const char *stage,
                      OmniMoeString *text);

/* Bytes of workspace that an invocation on T tokens needs. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_executable_workspace_size(
    const OmniMoeExecutable *executable, int64_t tokens, int64_t *bytes);

/* Runs the program: inputs in order, then outputs. Every tensor is checked
   against the program's signature first. With `workspace` NULL the call brings
   its own. `stream` is the CUDA stream of a GPU program, else NULL.
   A program for a GPU runs on the device whose memory its tensors are, which
   have to be aligned to 16 bytes. The call enqueues its kernels and returns. It
   neither allocates nor waits, and may be captured into a CUDA graph, but the
   first call on a device loads the kernels. The workspace is memory of that
   device, aligned to 256 bytes, and never NULL where one is needed; it is in
   use until what is enqueued has run. */
OMNIMOE_EXPORT OmniMoeStatus omnimoe_executable_invoke(
    const OmniMoeExecutable *executable, const OmniMoeTensor *tensors,
    size_t num_tensors, void *workspace, int64_t workspace_bytes, void *stream);

#ifdef __cplusplus
}
#endif

#endif /* OMNIMOE_C_OMNIMOE_H */
