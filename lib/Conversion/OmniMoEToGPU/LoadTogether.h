//===- LoadTogether.h - Several loads of a thread at once -------*- C++ -*-===//
//
// A loop whose turns wait for memory takes several numbers a turn, and asks for
// what it needs of all of them before it uses any.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_LOADTOGETHER_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_LOADTOGETHER_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// A number of several that a thread looks at together, if it exists, and one
/// that does.
struct Position {
  Value exists, readable;
};

/// `count` numbers from `from` on, `step` apart, below `end`; the first exists.
SmallVector<Position> getPositions(KernelBuilder &k, Value from, Value end,
                                   int64_t step, int64_t count);

/// What `load` finds at each of them, as i32.
SmallVector<Value> loadTogether(KernelBuilder &k, ArrayRef<Value> places,
                                llvm::function_ref<Value(Value)> load);
SmallVector<Value> loadTogether(KernelBuilder &k, ArrayRef<Position> positions,
                                llvm::function_ref<Value(Value)> load);

/// `values`, of one type of 16 or 32 bits, all of which have been loaded before
/// what follows.
SmallVector<Value> holdLoaded(KernelBuilder &k, ArrayRef<Value> values);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_LOADTOGETHER_H
