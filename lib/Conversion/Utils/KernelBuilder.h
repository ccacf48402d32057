//===- KernelBuilder.h - Helpers to emit loops ------------------*- C++ -*-===//
//
// A builder that reads like the kernel it writes: arithmetic by short names,
// loops by lambda, and scratch memory laid out in one block.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_CONVERSION_UTILS_KERNELBUILDER_H
#define OMNIMOE_LIB_CONVERSION_UTILS_KERNELBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"

namespace mlir::omnimoe {

/// Whether kernels can be built from vectors of that many bits: two lanes of
/// f32 at least, and blocks of lanes that tile each other.
inline bool isSupportedVectorWidth(int64_t vectorBits) {
  return vectorBits >= 64 && vectorBits <= 2048 &&
         llvm::isPowerOf2_64(vectorBits);
}

class KernelBuilder : public ImplicitLocOpBuilder {
public:
  KernelBuilder(Location loc, const OpBuilder &builder)
      : ImplicitLocOpBuilder(loc, builder) {}

  //===--- Constants ----------------------------------------------------===//

  Value index(int64_t value);
  /// An integer constant of `type`, which may be a vector (a splat then).
  Value integer(Type type, int64_t value);
  Value i32(int64_t value) { return integer(getI32Type(), value); }
  /// A float constant of `type`, which may be a vector (a splat then).
  Value real(Type type, double value);
  /// The integers 0, 1, 2, ... of an integer vector type.
  Value laneNumbers(VectorType type);
  /// A mask of `lanes` lanes whose first `active` are set.
  Value prefixMask(int64_t lanes, int64_t active);

  //===--- Arithmetic on integers and indices ---------------------------===//

  Value add(Value a, Value b);
  Value add(Value a, int64_t b) { return add(a, like(a, b)); }
  Value sub(Value a, Value b);
  Value sub(Value a, int64_t b) { return sub(a, like(a, b)); }
  Value mul(Value a, Value b);
  Value mul(Value a, int64_t b) { return mul(a, like(a, b)); }
  Value min(Value a, Value b);
  Value max(Value a, Value b);
  Value compare(arith::CmpIPredicate predicate, Value a, Value b);
  Value both(Value a, Value b);
  Value either(Value a, Value b);
  Value choose(Value condition, Value a, Value b);
  Value toIndex(Value a);
  Value toI32(Value a);
  /// 0 or 1 as an index.
  Value bitToIndex(Value bit);

  //===--- Memory -------------------------------------------------------===//

  Value load(Value memref, ValueRange indices);
  void store(Value value, Value memref, ValueRange indices);
  /// `alignment` is the vector's, in bytes; without it, an element's.
  Value loadVector(VectorType type, Value memref, ValueRange indices,
                   llvm::MaybeAlign alignment = {});
  void storeVector(Value value, Value memref, ValueRange indices,
                   llvm::MaybeAlign alignment = {});
  /// One value in all lanes of `type`.
  Value broadcast(VectorType type, Value value);

  //===--- Control flow -------------------------------------------------===//

  using LoopBody = llvm::function_ref<SmallVector<Value>(Value, ValueRange)>;
  using WhileBody = llvm::function_ref<SmallVector<Value>(ValueRange)>;

  /// `for (iv = from; iv < to; iv += step)` that carries `inits`; the body
  /// returns the values for the next turn.
  ResultRange loop(Value from, Value to, Value step, ValueRange inits,
                   LoopBody body);
  ResultRange loop(Value from, Value to, int64_t step, ValueRange inits,
                   LoopBody body) {
    return loop(from, to, index(step), inits, body);
  }
  /// The same, of which the code generator makes no copies for several turns:
  /// for bodies that use the registers of a thread up.
  ResultRange rolledLoop(Value from, Value to, Value step, ValueRange inits,
                         LoopBody body);
  /// The same, carrying nothing.
  void loop(Value from, Value to, Value step,
            llvm::function_ref<void(Value)> body);
  void loop(Value from, Value to, int64_t step,
            llvm::function_ref<void(Value)> body) {
    loop(from, to, index(step), body);
  }

  /// `while (condition(values)) values = body(values)`.
  ResultRange loopWhile(ValueRange inits,
                        llvm::function_ref<Value(ValueRange)> condition,
                        WhileBody body);

  void when(Value condition, llvm::function_ref<void()> thenBody,
            llvm::function_ref<void()> elseBody = nullptr);

  using BranchBody = llvm::function_ref<SmallVector<Value>()>;
  /// The values, of `types`, of the branch that is taken.
  ResultRange branch(TypeRange types, Value condition, BranchBody thenBody,
                     BranchBody elseBody);

private:
  Value like(Value value, int64_t constant) {
    return integer(value.getType(), constant);
  }
};

/// Scratch memory of static size: reserve every buffer, allocate once, release.
/// The buffers are views into one block, so that a kernel with many of them
/// keeps a single base address in registers.
class Scratch {
public:
  /// Reserves `count` elements of an integer or float type and returns the
  /// number by which `operator[]` knows the buffer.
  unsigned reserve(Type elementType, int64_t count);
  /// Emits the allocation. It is on the heap: stack memory inside of a parallel
  /// loop would need a scope of its own, and a kernel runs once per tile.
  void allocate(KernelBuilder &k);
  /// Emits the release, to follow the last use.
  void release(KernelBuilder &k);

  Value operator[](unsigned buffer) const { return views[buffer]; }

private:
  SmallVector<std::pair<MemRefType, int64_t>> buffers; // type, offset in bytes
  SmallVector<Value> views;
  int64_t bytes = 0;
  Value block;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_CONVERSION_UTILS_KERNELBUILDER_H
