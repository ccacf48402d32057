//===- Results.h - Arrays that calls make -----------------------*- C++ -*-===//

#ifndef OMNIMOE_PYTHON_RESULTS_H
#define OMNIMOE_PYTHON_RESULTS_H

#include "Arrays.h"

namespace omnimoe::python {

/// Makes arrays as those of one framework on one device: the array that it is
/// made for, which stands first in a call.
class Framework {
public:
  Framework(const View &first, pybind11::handle object)
      : kind(first.kind), onGPU(first.onCUDA()), device(first.deviceIndex),
        object(object) {}

  /// A new array; `view` receives its memory.
  pybind11::object makeArray(int32_t type, const int64_t *shape, int32_t rank,
                             View &view) const;
  /// `bytes` bytes of the GPU, aligned to 256. They may be let go of as soon as
  /// what uses them is enqueued, since the framework gives them to later work
  /// of the same stream only, and can be had while a stream captures.
  pybind11::object makeWorkspace(int64_t bytes, View &view) const;
  /// The stream that the framework enqueues to at present.
  void *currentStream() const;
  /// What the caller gets of a result: an array of a framework that can only
  /// take those of others over is made of one of NumPy's.
  pybind11::object finish(pybind11::object array) const;

private:
  pybind11::object allocate(int32_t type, const int64_t *shape,
                            int32_t rank) const;

  Kind kind;
  bool onGPU;
  int32_t device;
  pybind11::handle object;
};

} // namespace omnimoe::python

#endif // OMNIMOE_PYTHON_RESULTS_H
