//===- Specialiser.h - From arguments to the program for them ---*- C++ -*-===//

#ifndef OMNIMOE_PYTHON_SPECIALISER_H
#define OMNIMOE_PYTHON_SPECIALISER_H

#include "Executable.h"

#include <unordered_map>

namespace omnimoe::python {

/// Finds the program compiled for the element types and static shapes of the
/// arguments of one public function, and runs it; asks Python to compile one
/// the first time. This is the whole of a call's overhead, so it works on
/// headers of arrays and a hash table.
///
/// Which leading sizes are T is known only after `build` has seen the
/// arguments, so an entry is found under the mask (bit i: argument i's leading
/// size is T) that `build` returned with it.
class Specialiser {
public:
  /// `build(arrays, options)` checks the arguments and returns
  /// `(executable, mask)`.
  explicit Specialiser(pybind11::object build) : build(std::move(build)) {}

  pybind11::object call(const pybind11::tuple &arrays,
                        pybind11::object options);
  void clear();
  size_t size() const { return entries.size(); }
  uint64_t hits() const { return numHits; }
  uint64_t misses() const { return numMisses; }
  pybind11::list executables() const;

private:
  struct Entry {
    std::vector<int64_t> signature;
    pybind11::object options;
    pybind11::object object;
  };

  const Entry *find(const std::vector<View> &views, uint64_t mask,
                    const pybind11::object &options, int64_t optionsHash,
                    std::vector<int64_t> &signature, uint64_t &hash) const;

  pybind11::object build;
  std::vector<uint64_t> masks;
  std::unordered_multimap<uint64_t, Entry> entries;
  uint64_t numHits = 0;
  uint64_t numMisses = 0;
};

} // namespace omnimoe::python

#endif // OMNIMOE_PYTHON_SPECIALISER_H
