//===- KnownDivisor.h - What sizes and offsets are multiples of --*- C++
//-*-===//
//
// A thread may take several neighbouring elements of a row in one access if
// rows, and the place where a tile begins in them, are multiples of that.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_KNOWNDIVISOR_H
#define OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_KNOWNDIVISOR_H

#include "mlir/IR/OpDefinition.h"

namespace mlir::omnimoe {

/// A number that `value` is always a multiple of; 0 if it is zero.
int64_t getKnownDivisor(OpFoldResult value);

/// The largest power of two, up to `limit`, such that every piece of so many
/// elements that starts at a multiple of it lies inside of a row of `memref` or
/// outside of it, and starts at a multiple of it in memory, counted from the
/// start of the buffer.
int64_t getAlignedElements(Value memref, int64_t limit);

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_OMNIMOETOGPU_KNOWNDIVISOR_H
