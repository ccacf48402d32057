//===- Errors.h - Statuses as typed Python exceptions -----------*- C++ -*-===//

#ifndef OMNIMOE_PYTHON_ERRORS_H
#define OMNIMOE_PYTHON_ERRORS_H

#include "omnimoe-c/omnimoe.h"

#include <pybind11/pybind11.h>
#include <string>

namespace omnimoe::python {

/// Raises `omnimoe.errors.<className>(message)`.
[[noreturn]] void raise(const char *className, const std::string &message);

/// Raises the exception that belongs to `status`, with the library's message,
/// unless the call succeeded. Call it on the thread that made the call.
void check(OmniMoeStatus status);

/// Takes a string over from the library.
pybind11::str takeString(OmniMoeString string);

} // namespace omnimoe::python

#endif // OMNIMOE_PYTHON_ERRORS_H
