//===- CUDADriver.h - NVIDIA's driver, found at run time --------*- C++ -*-===//
//
// The functions of the CUDA driver that programs need, in a table that is
// filled from libcuda.so.1 when a GPU is first used, so that one build serves
// machines with and without a GPU. Types and numbers are those of the driver's
// ABI. Links no LLVM.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_RUNTIME_CUDADRIVER_H
#define OMNIMOE_RUNTIME_CUDADRIVER_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace mlir::omnimoe::runtime::cuda {

/// CUresult; 0 is success.
using Result = int32_t;
/// CUdevice, the ordinal of a device.
using Device = int32_t;
using DevicePointer = uint64_t;
using Context = struct ContextObject *;
using Module = struct ModuleObject *;
using Function = struct FunctionObject *;
using Stream = void *;
using Event = struct EventObject *;
using Graph = struct GraphObject *;
using GraphExec = struct GraphExecObject *;
using GraphNode = struct GraphNodeObject *;

inline constexpr Result kSuccess = 0, kInvalidValue = 1, kDeinitialized = 4,
                        kStubLibrary = 34, kNoDevice = 100, kInvalidPTX = 218,
                        kJITCompilerNotFound = 221,
                        kUnsupportedPTXVersion = 222, kNotFound = 500;

/// CUdevice_attribute.
enum DeviceAttribute : int32_t {
  kMultiprocessors = 16,
  kCapabilityMajor = 75,
  kCapabilityMinor = 76,
  kMaxSharedBytesPerBlock = 97,
};

/// CUpointer_attribute, and CUmemorytype for the first.
enum PointerAttribute : int32_t { kMemoryType = 2, kDeviceOrdinal = 9 };
enum MemoryType : uint32_t { kHostMemory = 1, kDeviceMemory = 2, kUnified = 4 };

/// CUfunction_attribute.
enum FunctionAttribute : int32_t {
  kStaticSharedBytes = 1,
  kMaxDynamicSharedBytes = 8,
};

/// CUjit_option and CUjitInputType.

/// CUstreamCaptureMode and CUstreamCaptureStatus.
enum CaptureMode : int32_t { kCaptureRelaxed = 2 };
enum CaptureStatus : int32_t { kNotCapturing = 0 };

/// CUstream_flags and CUevent_flags.
inline constexpr uint32_t kNonBlocking = 1, kNoTiming = 2;

/// CUtensorMap.
struct alignas(64) TensorMap {
  unsigned char bytes[128];
};

/// CUlaunchAttributeID.
enum LaunchAttributeID : int32_t { kProgrammaticStreamSerialization = 6 };

/// CUlaunchAttribute.
struct LaunchAttribute {
  LaunchAttributeID id;
  alignas(8) union {
    int32_t value;
    unsigned char bytes[64];
  };
};

/// Blocks, threads of a block, and its dynamic shared memory in bytes.
struct LaunchSizes {
  uint32_t gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes;
};

/// CUlaunchConfig.
struct LaunchConfig {
  LaunchSizes sizes;
  Stream stream;
  LaunchAttribute *attributes;
  uint32_t numAttributes;
};

/// CUDA_KERNEL_NODE_PARAMS_v2.
struct KernelNodeParams {
  Function function;
  LaunchSizes sizes;
  void **parameters, **extra;
  void *kernel;
  Context context;
};

/// A function of the table: its name here, its symbol, what it takes.
#define OMNIMOE_CUDA_FUNCTIONS(X)                                              \
  X(init, "cuInit", (uint32_t flags))                                          \
  X(driverGetVersion, "cuDriverGetVersion", (int32_t *version))                \
  X(getErrorName, "cuGetErrorName", (Result result, const char **name))        \
  X(getErrorString, "cuGetErrorString", (Result result, const char **text))    \
  X(deviceGetCount, "cuDeviceGetCount", (int32_t *count))                      \
  X(deviceGetName, "cuDeviceGetName",                                          \
    (char *name, int32_t length, Device device))                               \
  X(deviceGetAttribute, "cuDeviceGetAttribute",                                \
    (int32_t *value, DeviceAttribute attribute, Device device))                \
  X(devicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain",                        \
    (Context * context, Device device))                                        \
  X(ctxGetCurrent, "cuCtxGetCurrent", (Context * context))                     \
  X(ctxGetDevice, "cuCtxGetDevice", (Device * device))                         \
  X(ctxPushCurrent, "cuCtxPushCurrent_v2", (Context context))                  \
  X(ctxPopCurrent, "cuCtxPopCurrent_v2", (Context * context))                  \
  X(moduleLoadData, "cuModuleLoadData", (Module * module, const void *image))  \
  X(moduleUnload, "cuModuleUnload", (Module module))                           \
  X(moduleGetFunction, "cuModuleGetFunction",                                  \
    (Function * function, Module module, const char *name))                    \
  X(funcGetAttribute, "cuFuncGetAttribute",                                    \
    (int32_t *value, FunctionAttribute attribute, Function function))          \
  X(funcSetAttribute, "cuFuncSetAttribute",                                    \
    (Function function, FunctionAttribute attribute, int32_t value))           \
  X(launchKernel, "cuLaunchKernelEx",                                          \
    (const LaunchConfig *config, Function function, void **parameters,         \
     void **extra))                                                            \
  X(pointerGetAttributes, "cuPointerGetAttributes",                            \
    (uint32_t count, PointerAttribute *attributes, void **values,              \
     DevicePointer pointer))                                                   \
  X(threadExchangeStreamCaptureMode, "cuThreadExchangeStreamCaptureMode",      \
    (CaptureMode * mode))                                                      \
  X(streamIsCapturing, "cuStreamIsCapturing",                                  \
    (Stream stream, CaptureStatus * status))                                   \
  X(streamGetCaptureInfo, "cuStreamGetCaptureInfo_v2",                         \
    (Stream stream, CaptureStatus * status, uint64_t *id, void **graph,        \
     const void **dependencies, size_t *numDependencies))                      \
  X(streamCreate, "cuStreamCreate", (Stream * stream, uint32_t flags))         \
  X(streamWaitEvent, "cuStreamWaitEvent",                                      \
    (Stream stream, Event event, uint32_t flags))                              \
  X(eventCreate, "cuEventCreate", (Event * event, uint32_t flags))             \
  X(eventRecord, "cuEventRecord", (Event event, Stream stream))                \
  X(streamSynchronize, "cuStreamSynchronize", (Stream stream))                 \
  X(memcpyDtoDAsync, "cuMemcpyDtoDAsync_v2",                                   \
    (DevicePointer target, DevicePointer source, size_t bytes, Stream stream)) \
  X(memcpyDtoHAsync, "cuMemcpyDtoHAsync_v2",                                   \
    (void *host, DevicePointer device, size_t bytes, Stream stream))           \
  X(tensorMapEncodeTiled, "cuTensorMapEncodeTiled",                            \
    (TensorMap * map, int32_t type, uint32_t rank, void *base,                 \
     const uint64_t *sizes, const uint64_t *strides, const uint32_t *box,      \
     const uint32_t *elementStrides, int32_t interleave, int32_t swizzle,      \
     int32_t l2Promotion, int32_t outOfBounds))

/// Functions that newer drivers have, or that programs can do without.
#define OMNIMOE_CUDA_GRAPH_FUNCTIONS(X)                                        \
  X(streamDestroy, "cuStreamDestroy_v2", (Stream stream))                      \
  X(streamBeginCapture, "cuStreamBeginCapture_v2",                             \
    (Stream stream, CaptureMode mode))                                         \
  X(streamEndCapture, "cuStreamEndCapture", (Stream stream, Graph * graph))    \
  X(graphGetNodes, "cuGraphGetNodes",                                          \
    (Graph graph, GraphNode * nodes, size_t *count))                           \
  X(graphKernelNodeGetParams, "cuGraphKernelNodeGetParams_v2",                 \
    (GraphNode node, KernelNodeParams * params))                               \
  X(graphInstantiate, "cuGraphInstantiateWithFlags",                           \
    (GraphExec * executable, Graph graph, uint64_t flags))                     \
  X(graphExecKernelNodeSetParams, "cuGraphExecKernelNodeSetParams_v2",         \
    (GraphExec executable, GraphNode node, const KernelNodeParams *params))    \
  X(graphLaunch, "cuGraphLaunch", (GraphExec executable, Stream stream))       \
  X(graphExecDestroy, "cuGraphExecDestroy", (GraphExec executable))            \
  X(graphDestroy, "cuGraphDestroy", (Graph graph))

struct Driver {
#define OMNIMOE_CUDA_MEMBER(name, symbol, arguments) Result(*name) arguments;
  OMNIMOE_CUDA_FUNCTIONS(OMNIMOE_CUDA_MEMBER)
  OMNIMOE_CUDA_GRAPH_FUNCTIONS(OMNIMOE_CUDA_MEMBER)
#undef OMNIMOE_CUDA_MEMBER
  /// Whether it has all of the latter.
  bool hasGraphs;
  /// The newest CUDA it serves: 1000 * major + 10 * minor.
  int32_t version;

  /// "CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access ...)"
  std::string describe(Result result) const;
};

/// The driver, loaded and initialized by the first call; null, with what is
/// missing in `message`, if there is no library, it has no GPU, or it is too
/// old. OMNIMOE_CUDA_DRIVER names another library than libcuda.so.1.
const Driver *getDriver(std::string &message);

/// Whether the process is ending, so that the driver may be gone already.
bool isProcessEnding();

/// "12.7" of 12070.
std::string toVersionText(int32_t version);

/// Makes a context of a device current on this thread: the caller's own if it
/// is of that device, else the primary one, which frameworks use.
class ContextScope {
public:
  ContextScope(const Driver &driver, Device device);
  /// Makes this very context current.
  ContextScope(const Driver &driver, Context context);
  ~ContextScope();
  ContextScope(const ContextScope &) = delete;
  ContextScope &operator=(const ContextScope &) = delete;

  Result getResult() const { return result; }
  Context getContext() const { return context; }

private:
  const Driver &driver;
  Context context = nullptr;
  bool pushed = false;
  Result result = kSuccess;
};

/// Lets this thread make calls that a stream capture elsewhere would forbid,
/// such as loading kernels.
class RelaxedCapture {
public:
  explicit RelaxedCapture(const Driver &driver);
  ~RelaxedCapture();
  RelaxedCapture(const RelaxedCapture &) = delete;
  RelaxedCapture &operator=(const RelaxedCapture &) = delete;

private:
  const Driver &driver;
  CaptureMode mode = kCaptureRelaxed;
  bool changed;
};

} // namespace mlir::omnimoe::runtime::cuda

#endif // OMNIMOE_RUNTIME_CUDADRIVER_H
