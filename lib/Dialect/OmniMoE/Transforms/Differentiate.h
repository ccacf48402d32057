//===- Differentiate.h - Pieces of omnimoe-differentiate ---------*- C++
//-*-===//
//
// The adjoint of a value is the derivative of the caller's loss by it. It has
// the value's shape and is f32 whatever the value's element type, so that sums
// over several uses round once, at the end.
//
//===----------------------------------------------------------------------===//

#ifndef OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_DIFFERENTIATE_H
#define OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_DIFFERENTIATE_H

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/DenseSet.h"

namespace mlir::omnimoe {

/// Operations with this attribute are constants to differentiation, such as
/// the maximum that a softmax subtracts for safety alone.
inline constexpr StringLiteral kStopGradient = "omnimoe.stop_gradient";

/// The sizes of a tensor, as far as possible in terms of the function's
/// arguments, so that they keep no computation alive.
SmallVector<OpFoldResult> getSizesOf(OpBuilder &builder, Location loc,
                                     Value tensor);

/// An uninitialised tensor with the shape of `like`.
Value emptyLike(OpBuilder &builder, Location loc, Value like, Type elementType);

/// A tensor of zeros with the shape of `like`.
Value zerosLike(OpBuilder &builder, Location loc, Value like, Type elementType);

/// `tensor` with another float element type. Undoes a widening cast rather
/// than adding a narrowing one to it.
Value castElements(OpBuilder &builder, Location loc, Value tensor,
                   Type elementType);

/// The adjoints of a function's values, gathered from its end to its start.
class Adjoints {
public:
  explicit Adjoints(OpBuilder &builder) : builder(builder) {}

  /// A value is active if it depends on an argument that is differentiated.
  bool isActive(Value value) const { return active.contains(value); }
  void setActive(Value value) { active.insert(value); }

  /// The adjoint so far; null if no use was met.
  Value get(Value value) const { return adjoints.lookup(value); }
  void set(Value value, Value adjoint) { adjoints[value] = adjoint; }

  /// Gradients with a row for each expert that pairs name, not for all.
  struct Sparse {
    llvm::DenseSet<Value> tables;
    Value ids; ///< the row of each pair's expert
    int64_t rows = 0;
  } sparse;

  /// Zeros with the shape of the adjoint of `value`.
  Value zeros(Location loc, Value value, Type elementType);

  /// The adjoint so far, or zeros: where operations that add to their
  /// destination start. Their result is the next adjoint.
  Value getInit(Location loc, Value value);

  /// Adds another tensor to the adjoint.
  void add(Location loc, Value value, Value contribution);

  OpBuilder &builder;

private:
  llvm::DenseMap<Value, Value> adjoints;
  llvm::DenseSet<Value> active;
};

/// Each adds to the adjoints of an operation's operands what the adjoints of
/// its results give them. They report operations that have no derivative.
LogicalResult differentiateOmniMoE(Operation *op, Adjoints &adjoints);
LogicalResult differentiateLinalg(linalg::LinalgOp op, Adjoints &adjoints);
LogicalResult differentiateTensor(Operation *op, Adjoints &adjoints);

/// Turns the named linalg operations of a function that have no rule of their
/// own into generic ones.
LogicalResult prepareLinalg(Operation *function);

/// Reports that an operation has no derivative, and why.
InFlightDiagnostic emitNoDerivative(Operation *op);

/// Reverse-mode differentiation of a payload, the block of a linalg operation.
/// `forward` maps its values to those of a copy, at whose end `builder` stands.
class PayloadAdjoints {
public:
  PayloadAdjoints(OpBuilder &builder, Location loc, const IRMapping &forward)
      : builder(builder), loc(loc), forward(forward) {}

  /// Makes active what depends on `argument`: other values get no adjoint.
  void activate(Block *payload, Value argument);
  bool isActive(Value value) const { return active.contains(value); }

  /// The adjoint of a scalar, in f32; null if it has none.
  Value get(Value scalar) const { return adjoints.lookup(scalar); }
  void add(Value scalar, Value contribution);

  /// Goes through the payload with the adjoints added so far. Operations for
  /// which `skip` is true take no part.
  LogicalResult run(Block *payload, llvm::function_ref<bool(Operation *)> skip);

private:
  LogicalResult differentiate(Operation *op);
  LogicalResult differentiateArith(Operation *op, Value d);
  LogicalResult differentiateMath(Operation *op, Value d);

  /// The copy of `value`, in f32.
  Value wide(Value value);
  Value real(double value);
  Value mul(Value a, Value b);
  Value sub(Value a, Value b);
  Value div(Value a, Value b);
  Value neg(Value a);
  void addExtremum(Value a, Value b, Value isFirst, Value isSecond, Value d);

  OpBuilder &builder;
  Location loc;
  const IRMapping &forward;
  llvm::DenseMap<Value, Value> adjoints;
  llvm::DenseSet<Value> active;
};

} // namespace mlir::omnimoe

#endif // OMNIMOE_LIB_DIALECT_OMNIMOE_TRANSFORMS_DIFFERENTIATE_H
