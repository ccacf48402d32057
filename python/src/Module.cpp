//===- Module.cpp - The module omnimoe._core ------------------------------===//
//
// The C API as Python objects. What a user sees is in python/omnimoe/*.py;
// nothing here is public.
//
//===----------------------------------------------------------------------===//

#include "Errors.h"
#include "Executable.h"
#include "Specialiser.h"

#include <pybind11/stl.h>

namespace py = pybind11;
using namespace omnimoe::python;

/// (kind, type, shape, device) of an array, or None for anything else.
static py::object describe(py::handle object) {
  View view;
  if (!readArray(object, view))
    return py::none();
  py::tuple shape(view.rank);
  for (int32_t i = 0; i < view.rank; ++i)
    shape[i] = py::int_(view.shape[i]);
  static const char *const kinds[] = {"numpy", "torch", "cupy", "other"};
  std::string type =
      view.type < 0 ? typeName(object) : std::string(typeName(view.type));
  return py::make_tuple(kinds[int(view.kind)], type, shape, deviceName(view));
}

/// (position, id) of the first id outside [0, limit), or None.
static py::object findInvalidId(py::handle object, int64_t limit) {
  View view;
  if (!readArray(object, view) || view.type != OMNIMOE_I32)
    raise("ShapeError", "experts: expected an int32 array");
  makeContiguous(object, view);
  int64_t count = view.numElements();
  const auto *ids = static_cast<const int32_t *>(view.data);
  std::vector<int32_t> copy;
  if (view.onCUDA()) {
    copy.resize(size_t(count));
    void *stream = Framework(view, object).currentStream();
    OmniMoeStatus status;
    {
      py::gil_scoped_release unlocked;
      status = omnimoe_copy_to_host(copy.data(), ids, 4 * count, stream);
    }
    check(status);
    ids = copy.data();
  }
  for (int64_t i = 0; i < count; ++i)
    if (ids[i] < 0 || ids[i] >= limit)
      return py::make_tuple(i, ids[i]);
  return py::none();
}

/// Waits for what is enqueued on the stream that `array` is used on.
static void synchronize(py::handle array) {
  View view;
  if (!readArray(array, view) || !view.onCUDA() || !view.numElements())
    return;
  char byte;
  void *stream = Framework(view, array).currentStream();
  OmniMoeStatus status;
  {
    py::gil_scoped_release unlocked;
    status = omnimoe_copy_to_host(&byte, view.data, 1, stream);
  }
  check(status);
}

static py::str text(OmniMoeStatus (*function)(OmniMoeString *)) {
  OmniMoeString string{nullptr, 0};
  check(function(&string));
  return takeString(string);
}

static py::str runPipeline(const std::string &ir, const std::string &pipeline) {
  OmniMoeString result{nullptr, 0};
  OmniMoeStatus status;
  {
    py::gil_scoped_release unlocked;
    status =
        omnimoe_run_pipeline(ir.data(), ir.size(), pipeline.c_str(), &result);
  }
  check(status);
  return takeString(result);
}

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C API of omnimoe; use the package omnimoe instead.";

  py::class_<Executable>(module, "Executable")
      .def(py::init<const std::string &, const std::string &,
                    const std::string &, int, bool, const std::string &,
                    const std::string &, const std::string &,
                    const std::string &>(),
           py::arg("ir"), py::kw_only(), py::arg("target"), py::arg("schedule"),
           py::arg("threads"), py::arg("deterministic"), py::arg("cache_dir"),
           py::arg("dump_dir"), py::arg("dump"), py::arg("measured"))
      .def(py::init<const std::string &>(), py::kw_only(), py::arg("path"))
      .def("__call__", &Executable::call)
      .def("invoke", &Executable::invoke, py::kw_only(),
           py::arg("workspace") = py::none(),
           "Runs on `*inputs, *outputs`, all of them the caller's: nothing is "
           "allocated\nbut the workspace, and that only if `workspace` is not "
           "given: a writable buffer\nof `workspace_size(T)` bytes from its "
           "first address that is a multiple of 64 on, so\n63 more always "
           "suffice. For a GPU, an array on the same device, aligned to 256; "
           "it is in use\nuntil the work of the current stream is done.")
      .def("workspace_size", &Executable::workspaceSize, py::arg("tokens"),
           "Bytes of workspace that a call on `tokens` tokens needs.")
      .def("_ir", &Executable::ir)
      .def("_info", &Executable::info)
      .def("_save", &Executable::save)
      .def("_set_names", &Executable::setNames);

  py::class_<Specialiser>(module, "Specialiser")
      .def(py::init<py::object>())
      .def("__call__", &Specialiser::call)
      .def("clear", &Specialiser::clear)
      .def("executables", &Specialiser::executables)
      .def_property_readonly("hits", &Specialiser::hits)
      .def_property_readonly("misses", &Specialiser::misses)
      .def("__len__", &Specialiser::size);

  module.def("describe", &describe);
  module.def("find_invalid_id", &findInvalidId);
  module.def("run_pipeline", &runPipeline);
  module.def("synchronize", &synchronize);
  module.def("version", [] { return std::string(omnimoe_version()); });
  module.def("targets", [] { return text(omnimoe_targets); });
  module.def("devices", [] { return text(omnimoe_devices); });
  module.def(
      "stages",
      [](const std::string &target) {
        OmniMoeString json{nullptr, 0};
        check(omnimoe_stages(target.c_str(), &json));
        return takeString(json);
      },
      py::arg("target") = "cpu");
  module.def("set_num_threads",
             [](int threads) { check(omnimoe_set_num_threads(threads)); });
  module.def("get_num_threads", [] { return omnimoe_get_num_threads(); });
}
