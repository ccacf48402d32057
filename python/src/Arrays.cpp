//===- Arrays.cpp - Arrays of any framework as C tensors ------------------===//
//
// A call on one token lasts a few microseconds, so reading an array must not:
// NumPy arrays are read from their header, and tensors of frameworks with the
// C exchange interface of DLPack 1.3 (torch among them) through a function
// pointer found once per type. Everything else takes the `__dlpack__` method,
// or the CUDA or NumPy array interface.
//
//===----------------------------------------------------------------------===//

#include "Arrays.h"
#include "DLPack.h"
#include "Errors.h"

#include <algorithm>
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
  bool hasDevice = false;
  bool hasCUDAInterface = false;
};

struct Cache {
  std::unordered_map<PyTypeObject *, TypeEntry> types;
  /// NumPy's number of ml_dtypes' bfloat16; -1 until one is seen.
  int bfloat16 = -1;
};
} // namespace

/// Never freed: Python objects must not be released after the interpreter.
static Cache &cache() {
  static Cache *instance = new Cache;
  return *instance;
}

static const char *const kTypeNames[] = {"float32", "float16", "bfloat16",
                                         "int32"};

PyObject *omnimoe::python::importedModule(const char *name) {
  return PyDict_GetItemString(PyImport_GetModuleDict(), name);
}

/// Whether `type` is the class `name` of a module that is imported, or derived
/// from it.
static bool isOf(PyTypeObject *type, const char *module, const char *name) {
  PyObject *imported = importedModule(module);
  if (!imported)
    return false;
  py::object base = py::getattr(imported, name, py::none());
  return PyType_Check(base.ptr()) &&
         PyType_IsSubtype(type, reinterpret_cast<PyTypeObject *>(base.ptr()));
}

dlpack::ExchangeAPI *omnimoe::python::findExchange(py::handle type) {
  if (!py::hasattr(type, "__dlpack_c_exchange_api__"))
    return nullptr;
  py::object capsule = type.attr("__dlpack_c_exchange_api__");
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api"))
    return nullptr;
  auto *api = static_cast<dlpack::ExchangeAPI *>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (api && api->version.major != 1)
    api = api->previous;
  return api;
}

static TypeEntry findType(PyTypeObject *type) {
  TypeEntry entry;
  py::handle handle(reinterpret_cast<PyObject *>(type));
  entry.hasDLPack = py::hasattr(handle, "__dlpack__");
  entry.hasDevice = py::hasattr(handle, "__dlpack_device__");
  entry.hasCUDAInterface = py::hasattr(handle, "__cuda_array_interface__");
  if (isOf(type, "torch", "Tensor"))
    entry.kind = Kind::Torch;
  else if (isOf(type, "cupy", "ndarray"))
    entry.kind = Kind::CuPy;
  if (dlpack::ExchangeAPI *api = findExchange(handle); api && api->describe)
    entry.exchange = api;
  return entry;
}

static TypeEntry typeEntry(PyTypeObject *type) {
  auto &types = cache().types;
  auto found = types.find(type);
  if (found != types.end())
    return found->second;
  TypeEntry entry = findType(type);
  if (entry.hasDLPack || entry.exchange || entry.hasCUDAInterface) {
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
  view.itemBytes = int32_t(array.itemsize());
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

/// Whether strides are those of a row-major array.
static bool isRowMajor(const int64_t *shape, const int64_t *strides,
                       int32_t rank) {
  int64_t expected = 1;
  for (int32_t i = rank - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != expected)
      return false;
    expected *= shape[i];
  }
  return true;
}

/// Programs for a GPU read 16 bytes at once.
static bool isAligned(const View &view) {
  constexpr uintptr_t kGPUAlignment = 16;
  return !view.onCUDA() ||
         reinterpret_cast<uintptr_t>(view.data) % kGPUAlignment == 0;
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
  view.type = dlpackType(tensor.dtype);
  view.itemBytes = (tensor.dtype.bits * tensor.dtype.lanes + 7) / 8;
  view.kind = kind;
  view.deviceType = tensor.device.type;
  view.deviceIndex = tensor.device.index;
  view.contiguous =
      empty || ((!tensor.strides ||
                 isRowMajor(tensor.shape, tensor.strides, tensor.rank)) &&
                isAligned(view));
  if (!view.data && !empty)
    raise("ArgumentError", "a tensor without memory was given (a meta or fake "
                           "tensor?)");
}

/// DLPack's number of the stream that an array of a GPU will be used on. -1
/// means that the producer has nothing to wait for: its own current stream.
static int64_t exportStream(Kind kind, const View *user) {
  constexpr int64_t kNoWait = -1, kLegacyDefault = 1;
  Kind users = user ? user->kind : kind;
  return users == kind && kind != Kind::Other ? kNoWait : kLegacyDefault;
}

/// The capsule of `object.__dlpack__()`, in the newest version it speaks.
static py::object exportCapsule(py::handle object, const TypeEntry &entry,
                                const View *user) {
  py::object source = py::reinterpret_borrow<py::object>(object);
  // torch refuses to export what requires a gradient; reading is harmless.
  if (entry.kind == Kind::Torch)
    source = source.attr("detach")();
  py::dict keywords;
  if (entry.hasDevice) {
    py::tuple device = source.attr("__dlpack_device__")();
    if (py::cast<int>(py::int_(device[0])) == dlpack::kCUDA)
      keywords["stream"] = exportStream(entry.kind, user);
  }
  py::object method = source.attr("__dlpack__");
  try {
    return method(py::arg("max_version") = py::make_tuple(1, 0), **keywords);
  } catch (py::error_already_set &error) {
    if (!error.matches(PyExc_TypeError))
      throw;
  }
  return method(**keywords);
}

static void readCapsule(py::handle object, const TypeEntry &entry,
                        const View *user, View &view) {
  Kind kind = entry.kind;
  py::object capsule = exportCapsule(object, entry, user);
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

/// OmniMoeType of a type such as "<f4".
static int32_t interfaceType(const std::string &text) {
  if (text == "<f4")
    return OMNIMOE_F32;
  if (text == "<f2")
    return OMNIMOE_F16;
  return text == "<i4" ? int32_t(OMNIMOE_I32) : View::kUnknownType;
}

/// Reads `object.__cuda_array_interface__`.
static void readCUDAInterface(py::handle object, View &view) {
  py::dict interface = object.attr("__cuda_array_interface__");
  py::tuple shape = interface["shape"], data = interface["data"];
  checkRank(int64_t(shape.size()));
  view.rank = int32_t(shape.size());
  for (int32_t i = 0; i < view.rank; ++i)
    view.shape[i] = py::cast<int64_t>(shape[i]);
  view.data = reinterpret_cast<void *>(py::cast<uintptr_t>(data[0]));
  auto type = py::cast<std::string>(interface["typestr"]);
  view.type = interfaceType(type);
  view.itemBytes = std::atoi(type.c_str() + std::min<size_t>(2, type.size()));
  view.kind = Kind::Other;
  bool empty = view.numElements() == 0;
  view.deviceType = dlpack::kCUDA;
  view.deviceIndex = 0;
  if (!empty)
    check(omnimoe_memory_device(view.data, &view.deviceIndex));
  if (view.deviceIndex < 0)
    raise("DeviceError", "__cuda_array_interface__ gave memory of the host");
  py::object strides = interface.contains("strides")
                           ? py::object(interface["strides"])
                           : py::none();
  view.contiguous = empty || isAligned(view);
  if (strides.is_none() || empty)
    return;
  int64_t elements[View::kMaxRank];
  for (int32_t i = 0; i < view.rank; ++i)
    elements[i] =
        py::cast<int64_t>(strides[py::int_(i)]) / std::max(view.itemBytes, 1);
  view.contiguous &= isRowMajor(view.shape, elements, view.rank);
}

bool omnimoe::python::readArray(py::handle object, View &view,
                                const View *user) {
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
    readCapsule(object, entry, user, view);
    return true;
  }
  if (entry.hasCUDAInterface && !PyType_Check(object.ptr())) {
    readCUDAInterface(object, view);
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
  if (view.onCUDA()) {
    copy =
        py::module_::import("omnimoe._arrays").attr("row_major_on_gpu")(object);
  } else if (kind == Kind::Torch) {
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
