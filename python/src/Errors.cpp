//===- Errors.cpp - Statuses as typed Python exceptions -------------------===//

#include "Errors.h"

namespace py = pybind11;
using namespace omnimoe::python;

void omnimoe::python::raise(const char *className, const std::string &message) {
  py::object type = py::module_::import("omnimoe.errors").attr(className);
  py::object error = type(message);
  PyErr_SetObject(type.ptr(), error.ptr());
  throw py::error_already_set();
}

static const char *className(OmniMoeStatus status) {
  switch (status) {
  case OMNIMOE_INVALID_ARGUMENT:
    return "ArgumentError";
  case OMNIMOE_SHAPE_ERROR:
    return "ShapeError";
  case OMNIMOE_COMPILE_ERROR:
    return "CompileError";
  case OMNIMOE_DEVICE_ERROR:
    return "DeviceError";
  case OMNIMOE_IO_ERROR:
    return "FileError";
  default:
    return "OmniMoEError";
  }
}

void omnimoe::python::check(OmniMoeStatus status) {
  if (status != OMNIMOE_OK)
    raise(className(status), omnimoe_last_error());
}

py::str omnimoe::python::takeString(OmniMoeString string) {
  // Diagnostics may quote bytes of a file that are not UTF-8.
  PyObject *text =
      PyUnicode_DecodeUTF8(string.data, Py_ssize_t(string.size), "replace");
  omnimoe_string_destroy(string);
  if (!text)
    throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}
