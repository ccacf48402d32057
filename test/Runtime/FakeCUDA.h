/*===- FakeCUDA.h - Controls of a driver without a GPU -----------*- C -*-===*\
|* A library with the functions of the CUDA driver that the runtime calls. It *|
|* keeps the rules of contexts, handles and stream capture, writes down every *|
|* call, and runs no kernel; device memory is host memory that it knows of. *|
|* OMNIMOE_CUDA_DRIVER makes the runtime load it. FAKE_CUDA sets it up: *|
|* "devices=2,capability=90,version=13000,fail=cuModuleLoadData:222". *|
\*===----------------------------------------------------------------------===*/

#ifndef OMNIMOE_TEST_RUNTIME_FAKECUDA_H
#define OMNIMOE_TEST_RUNTIME_FAKECUDA_H

#include <stddef.h>

#define FAKE_CUDA_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* The calls since the last clear, one a line: the function and, after a launch,
   "kernel=NAME device=0 stream=0x2 grid=4,1,1 block=128,1,1 shared=0 overlaps
   parameters=0x10,0x2a". A call that a capture forbids ends in "forbidden
   failed=900", any other that fails in "failed=" and its result. */
FAKE_CUDA_EXPORT const char *fake_cuda_log(void);
FAKE_CUDA_EXPORT void fake_cuda_clear(void);
/* How often a function was called since the last clear. */
FAKE_CUDA_EXPORT int fake_cuda_count(const char *function);

/* Memory of a device, aligned to 256 bytes. */
FAKE_CUDA_EXPORT void *fake_cuda_alloc(int device, size_t bytes);
FAKE_CUDA_EXPORT void fake_cuda_free(void *memory);

/* A stream of a device, and whether it captures. */
FAKE_CUDA_EXPORT void *fake_cuda_stream(int device);
FAKE_CUDA_EXPORT void fake_cuda_capture(void *stream, int on);

/* Lets a function fail from now on; 0 ends that. */
FAKE_CUDA_EXPORT void fake_cuda_fail(const char *function, int result);

#ifdef __cplusplus
}
#endif

#endif
