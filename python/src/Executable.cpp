//===- Executable.cpp - A compiled program as a Python object -------------===//

#include "Executable.h"
#include "Errors.h"

#include <algorithm>

namespace py = pybind11;
using namespace omnimoe::python;

//===----------------------------------------------------------------------===//
// Making
//===----------------------------------------------------------------------===//

static const char *orNull(const std::string &text) {
  return text.empty() ? nullptr : text.c_str();
}

Executable::Executable(const std::string &ir, const std::string &target,
                       const std::string &schedule, int threads,
                       bool deterministic, const std::string &cacheDir,
                       const std::string &dumpDir, const std::string &dump,
                       const std::string &measured) {
  OmniMoeOptions options;
  omnimoe_default_options(&options);
  options.target = orNull(target);
  options.schedule = orNull(schedule);
  options.threads = threads;
  options.deterministic = deterministic;
  options.cache_dir = orNull(cacheDir);
  options.dump_dir = orNull(dumpDir);
  options.dump = orNull(dump);
  options.measured = orNull(measured);
  OmniMoeStatus status;
  {
    py::gil_scoped_release unlocked;
    status = omnimoe_compile(ir.data(), ir.size(), &options, &handle);
  }
  check(status);
  readSignature();
}

Executable::Executable(const std::string &path) {
  OmniMoeStatus status;
  {
    py::gil_scoped_release unlocked;
    status = omnimoe_executable_load(path.c_str(), &handle);
  }
  check(status);
  readSignature();
}

Executable::~Executable() { omnimoe_executable_destroy(handle); }

static int32_t typeFromText(const std::string &text) {
  static const char *const names[] = {"f32", "f16", "bf16", "i32"};
  for (int32_t type = 0; type < 4; ++type)
    if (text == names[type])
      return type;
  raise("OmniMoEError", "the program has an argument of unknown type " + text);
}

static std::vector<TensorSpec> specsFrom(const py::object &list,
                                         const char *what) {
  std::vector<TensorSpec> specs;
  for (py::handle item : list) {
    TensorSpec spec;
    spec.name = std::string(what) + " #" + std::to_string(specs.size());
    auto entry = py::reinterpret_borrow<py::dict>(item);
    if (entry.contains("name"))
      if (auto name = py::cast<std::string>(entry["name"]); !name.empty())
        spec.name = name;
    spec.type = typeFromText(py::cast<std::string>(entry["type"]));
    for (py::handle size : entry["shape"])
      spec.shape.push_back(py::cast<int64_t>(size));
    if (spec.shape.size() > size_t(View::kMaxRank))
      raise("OmniMoEError", spec.name + " of the program has rank " +
                                std::to_string(spec.shape.size()) +
                                "; at most " + std::to_string(View::kMaxRank) +
                                " is possible");
    specs.push_back(std::move(spec));
  }
  return specs;
}

void Executable::readSignature() {
  py::object parsed = py::module_::import("json").attr("loads")(info());
  inputs = specsFrom(parsed["inputs"], "argument");
  outputs = specsFrom(parsed["outputs"], "result");
  target = py::cast<std::string>(parsed["target"]);
  forGPU = target != "cpu";
}

void Executable::setNames(const std::vector<std::string> &names) {
  for (size_t i = 0; i < names.size() && i < inputs.size(); ++i)
    inputs[i].name = names[i];
}

//===----------------------------------------------------------------------===//
// Asking
//===----------------------------------------------------------------------===//

py::str Executable::ir(const std::string &stage) const {
  OmniMoeString text{nullptr, 0};
  OmniMoeStatus status;
  {
    py::gil_scoped_release unlocked;
    status = omnimoe_executable_ir(handle, stage.c_str(), &text);
  }
  check(status);
  return takeString(text);
}

py::str Executable::info() const {
  OmniMoeString text{nullptr, 0};
  check(omnimoe_executable_info(handle, &text));
  return takeString(text);
}

int64_t Executable::workspaceSize(int64_t tokens) const {
  int64_t bytes = 0;
  check(omnimoe_executable_workspace_size(handle, tokens, &bytes));
  return bytes;
}

void Executable::save(const std::string &path) const {
  OmniMoeStatus status;
  {
    py::gil_scoped_release unlocked;
    status = omnimoe_executable_save(handle, path.c_str());
  }
  check(status);
}

//===----------------------------------------------------------------------===//
// Checking arguments
//===----------------------------------------------------------------------===//

std::string TensorSpec::text() const {
  return std::string(typeName(type)) + " " +
         shapeText(shape.data(), int32_t(shape.size()));
}

[[noreturn]] static void refuse(py::handle object, const TensorSpec &spec,
                                const View &view) {
  raise("ShapeError", spec.name + ": expected " + spec.text() + ", got " +
                          (view.type < 0 ? typeName(object)
                                         : std::string(typeName(view.type))) +
                          " " + shapeText(view.shape, view.rank));
}

void Executable::checkDevice(const TensorSpec &spec, const View &view,
                             const View *first) const {
  if (forGPU ? view.onCUDA() && (!first || view.isOnDeviceOf(*first))
             : view.onCPU())
    return;
  std::string expected = !forGPU ? "cpu"
                         : first ? deviceName(*first) + " as " + inputs[0].name
                                 : "a GPU";
  std::string message = spec.name + ": expected an array on " + expected +
                        ", got one on " + deviceName(view);
  if (forGPU && !first)
    message += py::cast<std::string>(
        py::module_::import("omnimoe.targets").attr("_missing")(target));
  raise("DeviceError", message);
}

void Executable::readArgument(py::handle object, const TensorSpec &spec,
                              View &view, const View *first, int64_t &tokens,
                              std::string &tokensFrom) {
  if (!readArray(object, view, first))
    raise("ArgumentError",
          spec.name + ": expected an array (NumPy, torch, or DLPack), got " +
              Py_TYPE(object.ptr())->tp_name);
  checkDevice(spec, view, first);
  if (view.type != spec.type || size_t(view.rank) != spec.shape.size())
    refuse(object, spec, view);
  for (int32_t i = 0; i < view.rank; ++i) {
    if (spec.shape[i] >= 0) {
      if (view.shape[i] != spec.shape[i])
        refuse(object, spec, view);
    } else if (tokens < 0) {
      tokens = view.shape[i];
      tokensFrom = spec.name;
    } else if (view.shape[i] != tokens) {
      raise("ShapeError", spec.name +
                              ": expected T = " + std::to_string(tokens) +
                              " tokens as in " + tokensFrom + ", got " +
                              std::to_string(view.shape[i]));
    }
  }
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

void Executable::invokeTensors(const std::vector<OmniMoeTensor> &tensors,
                               void *workspace, int64_t workspaceBytes,
                               void *stream) {
  OmniMoeStatus status;
  {
    py::gil_scoped_release unlocked;
    status = omnimoe_executable_invoke(handle, tensors.data(), tensors.size(),
                                       workspace, workspaceBytes, stream);
  }
  check(status);
}

py::object Executable::run(View *views, size_t count, int64_t tokens,
                           py::handle like) {
  std::vector<OmniMoeTensor> tensors;
  tensors.reserve(count + outputs.size());
  for (size_t i = 0; i < count; ++i)
    tensors.push_back(views[i].tensor());

  if (forGPU && !count)
    raise("DeviceError", "expected an argument, whose device the program is "
                         "to run on; the program has none");
  Framework framework(count ? views[0] : View(), like);
  std::vector<View> made(outputs.size());
  py::tuple results(outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const TensorSpec &spec = outputs[i];
    int64_t shape[View::kMaxRank];
    auto rank = int32_t(spec.shape.size());
    for (int32_t j = 0; j < rank; ++j)
      shape[j] = spec.shape[j] < 0 ? tokens : spec.shape[j];
    results[i] = framework.makeArray(spec.type, shape, rank, made[i]);
    tensors.push_back(made[i].tensor());
  }
  if (forGPU) {
    View workspace;
    py::object owner;
    int64_t needed = workspaceSize(tokens);
    if (needed > 0)
      owner = framework.makeWorkspace(needed, workspace);
    invokeTensors(tensors, workspace.data, needed, framework.currentStream());
  } else {
    invokeTensors(tensors, nullptr, 0, nullptr);
  }

  for (size_t i = 0; i < outputs.size(); ++i)
    results[i] = framework.finish(results[i]);
  if (outputs.size() == 1)
    return results[0];
  return std::move(results);
}

py::object Executable::call(const py::args &arrays) {
  if (arrays.size() != inputs.size())
    raise("ArgumentError", "expected " + std::to_string(inputs.size()) +
                               " arrays, got " + std::to_string(arrays.size()));
  std::vector<View> views(inputs.size());
  int64_t tokens = -1;
  std::string tokensFrom;
  for (size_t i = 0; i < inputs.size(); ++i)
    readArgument(arrays[i], inputs[i], views[i], i ? &views[0] : nullptr,
                 tokens, tokensFrom);
  for (size_t i = 0; i < inputs.size(); ++i)
    makeContiguous(arrays[i], views[i]);
  return run(views.data(), views.size(), tokens < 0 ? 0 : tokens,
             views.empty() ? py::handle(Py_None) : arrays[0]);
}

void Executable::invoke(const py::args &arrays, py::handle workspace) {
  size_t expected = inputs.size() + outputs.size();
  if (arrays.size() != expected)
    raise("ArgumentError", "expected " + std::to_string(inputs.size()) +
                               " inputs and " + std::to_string(outputs.size()) +
                               " outputs, got " +
                               std::to_string(arrays.size()) + " arrays");
  std::vector<View> views(expected);
  int64_t tokens = -1;
  std::string tokensFrom;
  for (size_t i = 0; i < expected; ++i) {
    bool isInput = i < inputs.size();
    const TensorSpec &spec = isInput ? inputs[i] : outputs[i - inputs.size()];
    readArgument(arrays[i], spec, views[i], i ? &views[0] : nullptr, tokens,
                 tokensFrom);
    if (!views[i].contiguous) {
      if (!isInput)
        raise("ShapeError", spec.name + ": expected a row-major contiguous "
                                        "array to write to");
      makeContiguous(arrays[i], views[i]);
    }
    if (!isInput && views[i].kind == Kind::NumPy &&
        !py::cast<bool>(arrays[i].attr("flags").attr("writeable")))
      raise("ArgumentError", spec.name + ": expected an array that can be "
                                         "written to");
  }
  std::vector<OmniMoeTensor> tensors;
  for (const View &view : views)
    tensors.push_back(view.tensor());

  tokens = std::max<int64_t>(tokens, 0);
  void *memory = nullptr;
  int64_t bytes = 0;
  if (!forGPU) {
    py::object owner;
    if (!workspace.is_none())
      owner = readWorkspace(workspace, View(), workspaceSize(tokens), memory,
                            bytes);
    return invokeTensors(tensors, memory, bytes, nullptr);
  }
  if (views.empty())
    raise("DeviceError", "expected an array, whose device the program is to "
                         "run on; the program has none");
  Framework framework(views[0], arrays[0]);
  int64_t needed = workspaceSize(tokens);
  py::object owner;
  View made;
  if (!workspace.is_none()) {
    owner = readWorkspace(workspace, views[0], needed, memory, bytes);
  } else if (needed > 0) {
    owner = framework.makeWorkspace(needed, made);
    memory = made.data;
    bytes = needed;
  }
  invokeTensors(tensors, memory, bytes, framework.currentStream());
}

py::object Executable::readWorkspace(py::handle workspace, const View &first,
                                     int64_t needed, void *&memory,
                                     int64_t &bytes) const {
  View view;
  py::object owner;
  if (!forGPU && PyObject_CheckBuffer(workspace.ptr())) {
    auto buffer = py::reinterpret_borrow<py::buffer>(workspace);
    py::buffer_info info = buffer.request(/*writable=*/true);
    memory = info.ptr;
    bytes = info.size * info.itemsize;
    // Keeps the memory where it is while the program runs.
    owner = py::reinterpret_steal<py::object>(
        PyMemoryView_FromObject(workspace.ptr()));
  } else if (forGPU && readArray(workspace, view, &first)) {
    checkDevice({"workspace", 0, {}}, view, &first);
    if (!view.contiguous)
      raise("ArgumentError", "workspace: expected contiguous memory");
    memory = view.data;
    bytes = view.numElements() * view.itemBytes;
    owner = view.owner;
  } else {
    raise("ArgumentError",
          std::string("workspace: expected ") +
              (forGPU ? "an array on a GPU" : "a writable buffer") + ", got " +
              Py_TYPE(workspace.ptr())->tp_name);
  }
  // Programs want it aligned; Python's buffers need not be.
  const uintptr_t alignment = forGPU ? 256 : 64;
  auto skipped = int64_t(-reinterpret_cast<uintptr_t>(memory) % alignment);
  if (bytes - skipped < needed)
    raise("ArgumentError",
          "workspace: expected at least " + std::to_string(needed) +
              " bytes from an address that is a multiple of " +
              std::to_string(alignment) + ", got " +
              std::to_string(std::max<int64_t>(bytes - skipped, 0)));
  memory = static_cast<char *>(memory) + skipped;
  bytes -= skipped;
  return owner;
}
