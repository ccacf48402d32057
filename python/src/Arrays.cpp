//===- Arrays.cpp - Arrays of any framework as C tensors ------------------===//
//
// A call on one token lasts a few microseconds, so reading an array must not:
// NumPy arrays are read from their header, and tensors of frameworks with the
// C exchange interface of DLPack 1.3 (torch among them) through a function
// pointer found once per type. Everything else takes the `__dlpack__` method.
//
//===----------------------------------------------------------------------===//

#include "Arrays.h"
#include "DLPack.h"
#include "Errors.h"

#include <pybind11/numpy.h>
#include <unordered_map>

namespace py = pybind11;
using namespace omnimoe::python;

//===----------------------------------------------------------------------===//
// What is cached for the life of the process
//===----------------------------------------------------------------------===//

namespace {
/// How the tensors of one Python type are read.
struct TypeEntry {
  Kind kind = Kind::Other;
  dlpack::ExchangeAPI *exchange = nullptr;
  bool hasDLPack = false;
};

struct Cache {
  std::unordered_map<PyTypeObject *, TypeEntry> types;
  /// NumPy's number of ml_dtypes' bfloat16; -1 until one is seen.
  int bfloat16 = -1;
  PyObject *numpyTypes[4] = {};
  PyObject *torchTypes[4] = {};
  PyObject *torchEmpty = nullptr;
  PyObject *torchCPU = nullptr;
  PyObject *torchKeywords = nullptr;
};
} // namespace

/// Never freed: Python objects must not be released after the interpreter.
static Cache &cache() {
  static Cache *instance = new Cache;
  return *instance;
}

static const char *const kTypeNames[] = {"float32", "float16", "bfloat16",
                                         "int32"};

/// torch, if the program has imported it; null otherwise.
static PyObject *importedTorch() {
  PyObject *modules = PyImport_GetModuleDict();
  return PyDict_GetItemString(modules, "torch");
}

static TypeEntry findType(PyTypeObject *type) {
  TypeEntry entry;
  py::handle handle(reinterpret_cast<PyObject *>(type));
  entry.hasDLPack = py::hasattr(handle, "__dlpack__");
  if (PyObject *torch = importedTorch()) {
    py::object tensor = py::getattr(torch, "Tensor", py::none());
    if (PyType_Check(tensor.ptr()) &&
        PyType_IsSubtype(type, reinterpret_cast<PyTypeObject *>(tensor.ptr())))
      entry.kind = Kind::Torch;
  }
  if (py::hasattr(handle, "__dlpack_c_exchange_api__")) {
    py::object capsule = handle.attr("__dlpack_c_exchange_api__");
    if (PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) {
      auto *api = static_cast<dlpack::ExchangeAPI *>(
          PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
      while (api && api->version.major != 1)
        api = api->previous;
      if (api && api->describe)
        entry.exchange = api;
    }
  }
  return entry;
}

static TypeEntry typeEntry(PyTypeObject *type) {
  auto &types = cache().types;
  auto found = types.find(type);
  if (found != types.end())
    return found->second;
  TypeEntry entry = findType(type);
  if (entry.hasDLPack || entry.exchange) {
    // The key must stay that type's address, so the type is kept.
    Py_INCREF(type);
    types.emplace(type, entry);
  }
  return entry;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

static int32_t numpyType(const py::dtype &dtype) {
  if (char order = dtype.byteorder(); order == '>')
    return View::kUnknownType;
  int number = dtype.num();
  switch (number) {
  case 11: // NPY_FLOAT
    return OMNIMOE_F32;
  case 23: // NPY_HALF
    return OMNIMOE_F16;
  case 5: // NPY_INT
    return OMNIMOE_I32;
  default:
    break;
  }
  if (number < 256) // not a type that a package registered
    return View::kUnknownType;
  if (cache().bfloat16 < 0 && dtype.itemsize() == 2 &&
      py::cast<std::string>(dtype.attr("name")) == "bfloat16")
    cache().bfloat16 = number;
  return number == cache().bfloat16 ? int32_t(OMNIMOE_BF16)
                                    : View::kUnknownType;
}

static void checkRank(int64_t rank) {
  if (rank > View::kMaxRank)
    raise("ShapeError", "an array of rank " + std::to_string(rank) +
                            " was given; no argument has more than " +
                            std::to_string(View::kMaxRank) + " dimensions");
}

static void readNumPy(py::handle object, View &view) {
  auto array = py::reinterpret_borrow<py::array>(object);
  checkRank(array.ndim());
  view.data = const_cast<void *>(array.data());
  view.rank = int32_t(array.ndim());
  for (int32_t i = 0; i < view.rank; ++i)
    view.shape[i] = array.shape(i);
  constexpr int kContiguous = 0x0001, kAligned = 0x0100;
  view.contiguous =
      (array.flags() & (kContiguous | kAligned)) == (kContiguous | kAligned);
  view.type = numpyType(array.dtype());
  view.kind = Kind::NumPy;
  view.deviceType = dlpack::kCPU;
  view.deviceIndex = 0;
}

static int32_t dlpackType(dlpack::DataType type) {
  if (type.lanes != 1)
    return View::kUnknownType;
  if (type.code == dlpack::kFloat && type.bits == 32)
    return OMNIMOE_F32;
  if (type.code == dlpack::kFloat && type.bits == 16)
    return OMNIMOE_F16;
  if (type.code == dlpack::kBFloat && type.bits == 16)
    return OMNIMOE_BF16;
  if (type.code == dlpack::kInt && type.bits == 32)
    return OMNIMOE_I32;
  return View::kUnknownType;
}

static void readTensor(const dlpack::Tensor &tensor, Kind kind, View &view) {
  checkRank(tensor.rank);
  view.data = static_cast<char *>(tensor.data) + tensor.byteOffset;
  view.rank = tensor.rank;
  bool empty = false;
  for (int32_t i = 0; i < tensor.rank; ++i) {
    view.shape[i] = tensor.shape[i];
    empty |= tensor.shape[i] == 0;
  }
  view.contiguous = true;
  if (tensor.strides && !empty) {
    int64_t expected = 1;
    for (int32_t i = tensor.rank - 1; i >= 0; --i) {
      if (tensor.shape[i] != 1 && tensor.strides[i] != expected)
        view.contiguous = false;
      expected *= tensor.shape[i];
    }
  }
  view.type = dlpackType(tensor.dtype);
  view.kind = kind;
  view.deviceType = tensor.device.type;
  view.deviceIndex = tensor.device.index;
  if (!view.data && !empty)
    raise("ArgumentError", "a tensor without memory was given (a meta or fake "
                           "tensor?)");
}

/// The capsule of `object.__dlpack__()`, in the newest version it speaks.
static py::object exportCapsule(py::handle object, Kind kind) {
  py::object source = py::reinterpret_borrow<py::object>(object);
  // torch refuses to export what requires a gradient; reading is harmless.
  if (kind == Kind::Torch)
    source = source.attr("detach")();
  py::object method = source.attr("__dlpack__");
  try {
    return method(py::arg("max_version") = py::make_tuple(1, 0));
  } catch (py::error_already_set &error) {
    if (!error.matches(PyExc_TypeError))
      throw;
  }
  return method();
}

static void readCapsule(py::handle object, Kind kind, View &view) {
  py::object capsule = exportCapsule(object, kind);
  // The capsule is not consumed: it frees the tensor when the view goes.
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    auto *managed = static_cast<dlpack::ManagedTensorVersioned *>(
        PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    if (managed->version.major != 1)
      raise("ArgumentError", "a DLPack capsule of version " +
                                 std::to_string(managed->version.major) +
                                 " was given; versions up to 1 are known");
    readTensor(managed->tensor, kind, view);
  } else if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
    auto *managed = static_cast<dlpack::ManagedTensor *>(
        PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    readTensor(managed->tensor, kind, view);
  } else {
    raise("ArgumentError", "__dlpack__() gave no DLPack capsule");
  }
  view.owner = std::move(capsule);
}

bool omnimoe::python::readArray(py::handle object, View &view) {
  if (py::isinstance<py::array>(object)) {
    readNumPy(object, view);
    return true;
  }
  TypeEntry entry = typeEntry(Py_TYPE(object.ptr()));
  if (entry.exchange) {
    dlpack::Tensor tensor;
    if (entry.exchange->describe(object.ptr(), &tensor) != 0)
      throw py::error_already_set();
    readTensor(tensor, entry.kind, view);
    return true;
  }
  if (entry.hasDLPack) {
    readCapsule(object, entry.kind, view);
    return true;
  }
  if (PyType_Check(object.ptr()) ||
      !(py::hasattr(object, "__array_interface__") ||
        py::hasattr(object, "__array__")))
    return false;
  py::object array = py::module_::import("numpy").attr("asarray")(object);
  readNumPy(array, view);
  view.owner = std::move(array);
  return true;
}

void omnimoe::python::makeContiguous(py::handle object, View &view) {
  if (view.contiguous)
    return;
  py::object copy;
  Kind kind = view.kind;
  if (kind == Kind::Torch) {
    copy = object.attr("detach")().attr("contiguous")();
  } else if (kind == Kind::NumPy) {
    py::object source =
        view.owner ? view.owner : py::reinterpret_borrow<py::object>(object);
    copy = py::module_::import("numpy").attr("array")(
        source, py::arg("order") = "C", py::arg("copy") = true);
  } else {
    copy = py::module_::import("omnimoe._arrays").attr("row_major")(object);
  }
  View fresh;
  readArray(copy, fresh);
  view = std::move(fresh);
  view.kind = kind;
  if (!view.owner)
    view.owner = std::move(copy);
}

//===----------------------------------------------------------------------===//
// Words for messages
//===----------------------------------------------------------------------===//

const char *omnimoe::python::typeName(int32_t type) {
  return type < 0 || type > 3 ? "unknown" : kTypeNames[type];
}

std::string omnimoe::python::typeName(py::handle object) {
  py::object dtype = py::getattr(object, "dtype", py::none());
  auto text = py::cast<std::string>(py::str(dtype));
  if (text.rfind("torch.", 0) == 0)
    text = text.substr(6);
  return text;
}

std::string omnimoe::python::deviceName(const View &view) {
  if (view.onCPU())
    return "cpu";
  std::string name = view.deviceType == dlpack::kCUDA
                         ? "cuda"
                         : "device" + std::to_string(view.deviceType);
  return name + ":" + std::to_string(view.deviceIndex);
}

std::string omnimoe::python::shapeText(const int64_t *shape, int32_t rank) {
  std::string text = "[";
  for (int32_t i = 0; i < rank; ++i) {
    if (i)
      text += ", ";
    text += shape[i] < 0 ? "T" : std::to_string(shape[i]);
  }
  return text + "]";
}

//===----------------------------------------------------------------------===//
// Making results
//===----------------------------------------------------------------------===//

static py::dtype numpyTypeObject(int32_t type) {
  PyObject *&known = cache().numpyTypes[type];
  if (!known) {
    py::object name = py::str(kTypeNames[type]);
    if (type == OMNIMOE_BF16)
      name = py::module_::import("ml_dtypes").attr("bfloat16");
    known = py::module_::import("numpy").attr("dtype")(name).release().ptr();
  }
  return py::reinterpret_borrow<py::dtype>(known);
}

static py::object makeTorch(int32_t type, const int64_t *shape, int32_t rank) {
  Cache &known = cache();
  if (!known.torchEmpty) {
    py::module_ torch = py::module_::import("torch");
    for (int i = 0; i < 4; ++i)
      known.torchTypes[i] =
          py::object(torch.attr(kTypeNames[i])).release().ptr();
    known.torchCPU = torch.attr("device")("cpu").release().ptr();
    known.torchKeywords = py::make_tuple("dtype", "device").release().ptr();
    known.torchEmpty = py::object(torch.attr("empty")).release().ptr();
  }
  py::tuple sizes(rank);
  for (int32_t i = 0; i < rank; ++i)
    sizes[i] = py::int_(shape[i]);
  PyObject *arguments[] = {sizes.ptr(), known.torchTypes[type], known.torchCPU};
  PyObject *made =
      PyObject_Vectorcall(known.torchEmpty, arguments, 1, known.torchKeywords);
  if (!made)
    throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

py::object omnimoe::python::makeArray(Kind kind, int32_t type,
                                      const int64_t *shape, int32_t rank,
                                      View &view) {
  py::object made =
      kind == Kind::Torch
          ? makeTorch(type, shape, rank)
          : py::array(numpyTypeObject(type),
                      py::array::ShapeContainer(shape, shape + rank));
  readArray(made, view);
  return made;
}

py::object omnimoe::python::toKindOf(py::handle like, py::object array) {
  return py::module_::import("omnimoe._arrays")
      .attr("to_kind_of")(like, std::move(array));
}
