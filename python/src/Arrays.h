//===- Arrays.h - Arrays of any framework as C tensors ----------*- C++ -*-===//

#ifndef OMNIMOE_PYTHON_ARRAYS_H
#define OMNIMOE_PYTHON_ARRAYS_H

#include "omnimoe-c/omnimoe.h"

#include <pybind11/pybind11.h>
#include <string>

namespace omnimoe::python {

namespace dlpack {
struct ExchangeAPI;
} // namespace dlpack

/// Whose arrays results are made as.
enum class Kind : uint8_t { NumPy, Torch, CuPy, Other };

/// What is known of an array without copying it.
struct View {
  static constexpr int kMaxRank = 8;
  static constexpr int32_t kUnknownType = -1;

  void *data = nullptr;
  int32_t type = kUnknownType; ///< an OmniMoeType
  int32_t rank = 0;
  int64_t shape[kMaxRank];
  int32_t itemBytes = 0;
  /// Row-major, and aligned as programs on its device want it.
  bool contiguous = true;
  Kind kind = Kind::NumPy;
  int32_t deviceType = 1; ///< DLPack's number of the device type
  int32_t deviceIndex = 0;
  pybind11::object owner; ///< keeps the memory alive

  bool onCPU() const { return deviceType == 1 || deviceType == 3; }
  bool onCUDA() const { return deviceType == 2 || deviceType == 13; }
  bool isOnDeviceOf(const View &other) const {
    return onCPU()
               ? other.onCPU()
               : onCUDA() && other.onCUDA() && deviceIndex == other.deviceIndex;
  }
  int64_t numElements() const {
    int64_t count = 1;
    for (int32_t i = 0; i < rank; ++i)
      count *= shape[i];
    return count;
  }
  /// The same array as the C interface wants it; the view must outlive it.
  OmniMoeTensor tensor() const {
    return {data, OmniMoeType(type), rank, shape, nullptr};
  }
};

/// Reads an array: NumPy's, anything that speaks DLPack, or anything with the
/// CUDA or the NumPy array interface. False, with no Python error, if it is
/// none of these. `user` is the array on whose framework's current stream a
/// memory of a GPU will be used; null: the array itself.
bool readArray(pybind11::handle object, View &view, const View *user = nullptr);

/// Copies a view's array to row-major memory if it is not in it.
void makeContiguous(pybind11::handle object, View &view);

/// "float32", "int64", ... of an array that `readArray` accepted.
std::string typeName(pybind11::handle object);
const char *typeName(int32_t type);
/// "cpu", "cuda:0", ...
std::string deviceName(const View &view);
/// "[3, 512]"; -1 prints as "T".
std::string shapeText(const int64_t *shape, int32_t rank);

/// DLPack's exchange interface of a type of arrays; null if it has none.
dlpack::ExchangeAPI *findExchange(pybind11::handle type);

/// A module that the program has imported by itself; null if it has not.
PyObject *importedModule(const char *name);

} // namespace omnimoe::python

#endif // OMNIMOE_PYTHON_ARRAYS_H
