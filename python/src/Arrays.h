//===- Arrays.h - Arrays of any framework as C tensors ----------*- C++ -*-===//

#ifndef OMNIMOE_PYTHON_ARRAYS_H
#define OMNIMOE_PYTHON_ARRAYS_H

#include "omnimoe-c/omnimoe.h"

#include <pybind11/pybind11.h>
#include <string>

namespace omnimoe::python {

/// Whose arrays results are made as.
enum class Kind : uint8_t { NumPy, Torch, Other };

/// What is known of an array without copying it.
struct View {
  static constexpr int kMaxRank = 8;
  static constexpr int32_t kUnknownType = -1;

  void *data = nullptr;
  int32_t type = kUnknownType; ///< an OmniMoeType
  int32_t rank = 0;
  int64_t shape[kMaxRank];
  bool contiguous = true; ///< row-major and aligned to its elements
  Kind kind = Kind::NumPy;
  int32_t deviceType = 1; ///< DLPack's number of the device type
  int32_t deviceIndex = 0;
  pybind11::object owner; ///< keeps the memory alive

  bool onCPU() const { return deviceType == 1 || deviceType == 3; }
  /// The same array as the C interface wants it; the view must outlive it.
  OmniMoeTensor tensor() const {
    return {data, OmniMoeType(type), rank, shape, nullptr};
  }
};

/// Reads an array: NumPy's, anything that speaks DLPack, or anything with the
/// NumPy array interface. False, with no Python error, if it is none of these.
bool readArray(pybind11::handle object, View &view);

/// Copies a view's array to row-major memory if it is not in it.
void makeContiguous(pybind11::handle object, View &view);

/// "float32", "int64", ... of an array that `readArray` accepted.
std::string typeName(pybind11::handle object);
const char *typeName(int32_t type);
/// "cpu", "cuda:0", ...
std::string deviceName(const View &view);
/// "[3, 512]"; -1 prints as "T".
std::string shapeText(const int64_t *shape, int32_t rank);

/// A new array on the CPU in the kind of `like`; `view` receives its memory.
pybind11::object makeArray(Kind kind, int32_t type, const int64_t *shape,
                           int32_t rank, View &view);
/// Turns a NumPy result into the kind of `like`, for kinds other than NumPy
/// and torch.
pybind11::object toKindOf(pybind11::handle like, pybind11::object array);

} // namespace omnimoe::python

#endif // OMNIMOE_PYTHON_ARRAYS_H
