//===- LLVMLayout.h - Layouts as in the installed LLVM ----------*- C++ -*-===//
//
// Included before all else. LLVM's packages are built without assertions, ours
// in development with them, and what a statistic holds follows NDEBUG. It must
// be what the installed libraries think it is, or passes count in memory that
// nobody has initialised.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_LLVMLAYOUT_H
#define OMNIMOE_LIB_LLVMLAYOUT_H

#ifndef NDEBUG
#define NDEBUG
#include "llvm/ADT/Statistic.h"
#undef NDEBUG
#include <cassert>
#endif

#endif // OMNIMOE_LIB_LLVMLAYOUT_H
