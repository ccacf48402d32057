//===- SortKeys.h - Sorting by the lanes of a warp ---------------*- C++
//-*-===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SORTKEYS_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SORTKEYS_H

#include "Utils/KernelBuilder.h"

namespace mlir::omnimoe {

/// Integers (i32) that order as floats do, and back. Its own inverse on bits.
Value emitOrderedBits(KernelBuilder &k, Value value);
Value emitOrderedValue(KernelBuilder &k, Value bits);

/// Keys (i64) that go by value (f32, not NaN), highest first, and among equal
/// values by id (i32), lowest first.
Value emitKey(KernelBuilder &k, Value value, Value id);
Value emitKeyValue(KernelBuilder &k, Value key);
Value emitKeyId(KernelBuilder &k, Value key);
/// What goes behind all keys.
Value emitPadding(KernelBuilder &k);

/// Sorts the keys that groups of `lanes` neighbouring lanes hold, highest
/// first: lane l of a group, of which `lane` is the number, gets places l * n
/// to l * n + n - 1 with n = keys.size(), as `getKeysPerLane` says. `buffer` is
/// shared memory of the group, for as many i64. All lanes of the warp take
/// part.
void sortKeys(KernelBuilder &k, SmallVectorImpl<Value> &keys, Value lane,
              int64_t lanes, Value buffer);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_SORTKEYS_H
