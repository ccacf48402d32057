//===- DLPack.h - The part of the DLPack ABI that is read -------*- C++ -*-===//
//
// Layouts and names follow the DLPack specification (dmlc.github.io/dlpack),
// versions 0.x (unversioned capsules) to 1.3 (the exchange interface in C).
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_PYTHON_DLPACK_H
#define OMNIMOE_PYTHON_DLPACK_H

#include <cstdint>

namespace omnimoe::python::dlpack {

enum DeviceType : int32_t { kCPU = 1, kCUDA = 2, kCUDAHost = 3 };
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBFloat = 4 };

struct Device {
  int32_t type;
  int32_t index;
};

struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void *data;
  Device device;
  int32_t rank;
  DataType dtype;
  int64_t *shape;
  int64_t *strides; // null: row-major
  uint64_t byteOffset;
};

struct ManagedTensor {
  Tensor tensor;
  void *context;
  void (*deleter)(ManagedTensor *self);
};

struct Version {
  uint32_t major;
  uint32_t minor;
};

struct ManagedTensorVersioned {
  Version version;
  void *context;
  void (*deleter)(ManagedTensorVersioned *self);
  uint64_t flags;
  Tensor tensor;
};

/// `type.__dlpack_c_exchange_api__` holds one of these; the functions that are
/// not called here stand as plain pointers.
struct ExchangeAPI {
  Version version;
  ExchangeAPI *previous;
  void *allocate;
  void *fromObject;
  void *toObject;
  /// Describes the tensor without owning it; 0 on success, or a Python error.
  int (*describe)(void *object, Tensor *out);
  /// The stream that work on a device is enqueued to at present.
  int (*currentStream)(int32_t deviceType, int32_t deviceIndex, void **out);
};

} // namespace omnimoe::python::dlpack

#endif // OMNIMOE_PYTHON_DLPACK_H
