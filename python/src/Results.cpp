//===- Results.cpp - Arrays that calls make -------------------------------===//
//
// Callables, types and devices of the frameworks are looked up once and kept,
// since a call has a few microseconds for all that it makes.
//
//===----------------------------------------------------------------------===//

#include "Results.h"
#include "DLPack.h"
#include "Errors.h"

#include <algorithm>
#include <pybind11/numpy.h>
#include <vector>

namespace py = pybind11;
using namespace omnimoe::python;

/// A workspace's element, after the types of the C interface.
static constexpr int32_t kByte = 4;
static const char *const kTypeNames[] = {"float32", "float16", "bfloat16",
                                         "int32", "uint8"};

static constexpr uintptr_t kWorkspaceAlignment = 256;

//===----------------------------------------------------------------------===//
// NumPy
//===----------------------------------------------------------------------===//

/// Everything kept here is never freed: Python objects must not be released
/// after the interpreter.
static py::dtype numpyType(int32_t type) {
  static PyObject *types[5];
  PyObject *&known = types[type];
  if (!known) {
    py::object name = py::str(kTypeNames[type]);
    if (type == OMNIMOE_BF16)
      name = py::module_::import("ml_dtypes").attr("bfloat16");
    known = py::module_::import("numpy").attr("dtype")(name).release().ptr();
  }
  return py::reinterpret_borrow<py::dtype>(known);
}

static py::tuple toTuple(const int64_t *shape, int32_t rank) {
  py::tuple sizes(rank);
  for (int32_t i = 0; i < rank; ++i)
    sizes[i] = py::int_(shape[i]);
  return sizes;
}

//===----------------------------------------------------------------------===//
// torch
//===----------------------------------------------------------------------===//

namespace {
struct Torch {
  PyObject *types[5] = {};
  PyObject *emptyStrided = nullptr;
  PyObject *keywords = nullptr;
  PyObject *cpu = nullptr;
  /// Of each GPU, made when first asked for.
  std::vector<PyObject *> gpus;
  PyObject *deviceClass = nullptr;
  dlpack::ExchangeAPI *exchange = nullptr;
  /// For versions without the exchange interface.
  PyObject *rawStream = nullptr;
};
} // namespace

static Torch &torch() {
  static Torch *instance = nullptr;
  if (instance)
    return *instance;
  auto *made = new Torch;
  py::module_ module = py::module_::import("torch");
  for (int i = 0; i < 5; ++i)
    made->types[i] = py::object(module.attr(kTypeNames[i])).release().ptr();
  made->deviceClass = py::object(module.attr("device")).release().ptr();
  made->cpu = module.attr("device")("cpu").release().ptr();
  made->keywords = py::make_tuple("dtype", "device").release().ptr();
  // A third faster than `empty`, whose first overload never fits.
  made->emptyStrided = py::object(module.attr("empty_strided")).release().ptr();
  made->exchange = findExchange(module.attr("Tensor"));
  made->rawStream =
      py::getattr(module.attr("_C"), "_cuda_getCurrentRawStream", py::none())
          .release()
          .ptr();
  return *(instance = made);
}

static PyObject *torchGPU(int32_t index) {
  Torch &known = torch();
  if (known.gpus.size() <= size_t(index))
    known.gpus.resize(index + 1);
  if (!known.gpus[index])
    known.gpus[index] =
        py::handle(known.deviceClass)("cuda", index).release().ptr();
  return known.gpus[index];
}

static py::object makeTorch(int32_t type, const int64_t *shape, int32_t rank,
                            PyObject *device) {
  Torch &known = torch();
  int64_t strides[View::kMaxRank], stride = 1;
  for (int32_t i = rank - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
  py::tuple sizes = toTuple(shape, rank), steps = toTuple(strides, rank);
  PyObject *arguments[] = {sizes.ptr(), steps.ptr(), known.types[type], device};
  PyObject *made =
      PyObject_Vectorcall(known.emptyStrided, arguments, 2, known.keywords);
  if (!made)
    throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

static void *torchStream(int32_t device) {
  Torch &known = torch();
  void *stream = nullptr;
  if (known.exchange && known.exchange->currentStream) {
    if (known.exchange->currentStream(dlpack::kCUDA, device, &stream) != 0)
      throw py::error_already_set();
    return stream;
  }
  py::object raw = known.rawStream != Py_None
                       ? py::handle(known.rawStream)(device)
                       : py::object(py::module_::import("torch")
                                        .attr("cuda")
                                        .attr("current_stream")(device)
                                        .attr("cuda_stream"));
  return reinterpret_cast<void *>(py::cast<uintptr_t>(raw));
}

//===----------------------------------------------------------------------===//
// CuPy and others
//===----------------------------------------------------------------------===//

/// A function of omnimoe._arrays, for frameworks that are asked in Python.
static py::object helper(const char *name) {
  return py::module_::import("omnimoe._arrays").attr(name);
}

py::object Framework::allocate(int32_t type, const int64_t *shape,
                               int32_t rank) const {
  if (kind == Kind::Torch)
    return makeTorch(type, shape, rank, onGPU ? torchGPU(device) : torch().cpu);
  if (!onGPU)
    return py::array(numpyType(type),
                     py::array::ShapeContainer(shape, shape + rank));
  const char *maker = kind == Kind::CuPy ? "empty_of_cupy" : "empty_of_kind";
  return helper(maker)(object, device, toTuple(shape, rank), kTypeNames[type]);
}

py::object Framework::makeArray(int32_t type, const int64_t *shape,
                                int32_t rank, View &view) const {
  py::object made = allocate(type, shape, rank);
  readArray(made, view);
  return made;
}

py::object Framework::makeWorkspace(int64_t bytes, View &view) const {
  // torch and CuPy align to more than is needed.
  bool mayBeOdd = kind == Kind::Other;
  int64_t size = bytes + (mayBeOdd ? int64_t(kWorkspaceAlignment) : 0);
  py::object made = allocate(kByte, &size, 1);
  readArray(made, view);
  auto address = reinterpret_cast<uintptr_t>(view.data);
  if (mayBeOdd)
    address = (address + kWorkspaceAlignment - 1) & -kWorkspaceAlignment;
  view.data = reinterpret_cast<void *>(address);
  return made;
}

void *Framework::currentStream() const {
  if (kind == Kind::Torch)
    return torchStream(device);
  const char *asked = kind == Kind::CuPy ? "stream_of_cupy" : "stream_of_kind";
  return reinterpret_cast<void *>(
      py::cast<uintptr_t>(helper(asked)(object, device)));
}

py::object Framework::finish(py::object array) const {
  if (onGPU || kind != Kind::Other)
    return array;
  return helper("to_kind_of")(object, std::move(array));
}
