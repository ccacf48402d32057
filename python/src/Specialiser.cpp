//===- Specialiser.cpp - From arguments to the program for them -----------===//

#include "Specialiser.h"
#include "Errors.h"

#include <algorithm>

namespace py = pybind11;
using namespace omnimoe::python;

/// Token counts must agree over the arguments in `mask`; -1 if they do not.
static int64_t commonTokens(const std::vector<View> &views, uint64_t mask) {
  int64_t tokens = -1;
  for (size_t i = 0; i < views.size(); ++i) {
    if (!(mask >> i & 1))
      continue;
    if (views[i].rank == 0 || (tokens >= 0 && views[i].shape[0] != tokens))
      return -1;
    tokens = views[i].shape[0];
  }
  return std::max<int64_t>(tokens, mask ? -1 : 0);
}

const Specialiser::Entry *
Specialiser::find(const std::vector<View> &views, uint64_t mask,
                  const py::object &options, int64_t optionsHash,
                  std::vector<int64_t> &signature, uint64_t &hash) const {
  signature.clear();
  signature.push_back(int64_t(mask));
  signature.push_back(!views.empty() && views[0].onCUDA());
  for (size_t i = 0; i < views.size(); ++i) {
    const View &view = views[i];
    signature.push_back(int64_t(view.type) << 8 | view.rank);
    for (int32_t j = 0; j < view.rank; ++j)
      signature.push_back(j == 0 && (mask >> i & 1) ? -1 : view.shape[j]);
  }
  hash = uint64_t(optionsHash);
  for (int64_t value : signature)
    hash = (hash ^ uint64_t(value)) * 0x9E3779B97F4A7C15ull;
  auto [begin, end] = entries.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const Entry &entry = it->second;
    if (entry.signature == signature && entry.options.equal(options))
      return &entry;
  }
  return nullptr;
}

py::object Specialiser::call(const py::tuple &arrays, py::object options) {
  if (arrays.size() > 64)
    raise("ArgumentError",
          "expected at most 64 arrays, got " + std::to_string(arrays.size()));
  std::vector<View> views(arrays.size());
  bool readable = true;
  for (size_t i = 0; i < views.size(); ++i)
    readable &= readArray(arrays[i], views[i], i ? &views[0] : nullptr) &&
                views[i].isOnDeviceOf(views[0]) &&
                views[i].type != View::kUnknownType;

  int64_t optionsHash = PyObject_Hash(options.ptr());
  if (optionsHash == -1) { // not hashable, so wrong: `build` says how
    PyErr_Clear();
    build(arrays, options);
    raise("ArgumentError", "an option has a value that cannot be hashed");
  }
  std::vector<int64_t> signature;
  uint64_t hash = 0;
  int64_t tokens = -1;
  py::object object;
  if (readable) {
    for (uint64_t mask : masks) {
      tokens = commonTokens(views, mask);
      if (tokens < 0)
        continue;
      if (const Entry *entry =
              find(views, mask, options, optionsHash, signature, hash)) {
        object = entry->object; // keeps it while others clear the cache
        break;
      }
    }
  }

  if (object) {
    ++numHits;
  } else {
    ++numMisses;
    // Refuses what does not fit, with the argument's name.
    py::tuple built = build(arrays, options);
    object = built[0];
    auto mask = py::cast<uint64_t>(built[1]);
    tokens = commonTokens(views, mask);
    if (!readable || tokens < 0)
      raise("OmniMoEError", "arguments passed the checks but do not fit");
    if (std::find(masks.begin(), masks.end(), mask) == masks.end())
      masks.push_back(mask);
    // Another thread may have built the same meanwhile.
    if (!find(views, mask, options, optionsHash, signature, hash))
      entries.emplace(hash, Entry{signature, options, object});
  }

  for (size_t i = 0; i < views.size(); ++i)
    makeContiguous(arrays[i], views[i]);
  auto &executable = py::cast<Executable &>(object);
  return executable.run(views.data(), views.size(), tokens,
                        views.empty() ? py::handle(Py_None) : arrays[0]);
}

void Specialiser::clear() {
  // Destructors of Python objects may call back into this one.
  auto old = std::move(entries);
  entries.clear();
  masks.clear();
}

py::list Specialiser::executables() const {
  py::list list;
  for (const auto &[hash, entry] : entries)
    list.append(entry.object);
  return list;
}
