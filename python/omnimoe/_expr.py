"""Scalar expressions: what one `linalg.generic` computes per element.

An expression is a tree of `Expr`; its leaves are constants and elements of
values of a module (`_build.Value`). All arithmetic is in f32, whatever the
element types of the leaves.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, Optional, Tuple, Union


class Expr:
    """A node: `op` applied to `operands`, or a leaf.

    Leaves are "const" (`value` a float) and "element" (`value` the tensor,
    `dims` the loops that index it, -1 where its size 1 is repeated).
    """

    __slots__ = ("op", "operands", "value", "dims")

    def __init__(
        self,
        op: str,
        operands: Tuple["Expr", ...] = (),
        value: Any = None,
        dims: Optional[Tuple[int, ...]] = None,
    ) -> None:
        self.op = op
        self.operands = operands
        self.value = value
        self.dims = dims

    def __add__(self, other: "Operand") -> "Expr":
        return apply("add", self, other)

    def __sub__(self, other: "Operand") -> "Expr":
        return apply("sub", self, other)

    def __mul__(self, other: "Operand") -> "Expr":
        return apply("mul", self, other)

    def __truediv__(self, other: "Operand") -> "Expr":
        return apply("div", self, other)

    def __rmul__(self, other: float) -> "Expr":
        return apply("mul", other, self)

    def __radd__(self, other: float) -> "Expr":
        return apply("add", other, self)

    def __rtruediv__(self, other: float) -> "Expr":
        return apply("div", other, self)

    def __neg__(self) -> "Expr":
        return apply("neg", self)


Operand = Union[Expr, float]

#: MLIR's operation for each op. Maxima and minima pass NaN on, as NumPy's do.
MLIR_OPS: Dict[str, str] = {
    "add": "arith.addf",
    "sub": "arith.subf",
    "mul": "arith.mulf",
    "div": "arith.divf",
    "maximum": "arith.maximumf",
    "minimum": "arith.minimumf",
    "neg": "arith.negf",
    "abs": "math.absf",
    "exp": "math.exp",
    "log": "math.log",
    "tanh": "math.tanh",
    "erf": "math.erf",
    "sqrt": "math.sqrt",
}


def constant(value: float) -> Expr:
    return Expr("const", value=float(value))


def element(value: Any, dims: Tuple[int, ...]) -> Expr:
    return Expr("element", value=value, dims=dims)


def apply(op: str, *operands: Operand) -> Expr:
    return Expr(op, tuple(e if isinstance(e, Expr) else constant(e) for e in operands))


def _sigmoid(x: Expr) -> Expr:
    return 1.0 / (1.0 + apply("exp", -x))


def _silu(x: Expr) -> Expr:
    return x / (1.0 + apply("exp", -x))


def _gelu(x: Expr) -> Expr:
    return 0.5 * x * (1.0 + apply("erf", x * math.sqrt(0.5)))


def _gelu_tanh(x: Expr) -> Expr:
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))
    return 0.5 * x * (1.0 + apply("tanh", inner))


def _relu(x: Expr) -> Expr:
    return apply("maximum", x, 0.0)


def _relu2(x: Expr) -> Expr:
    rectified = _relu(x)
    return rectified * rectified


def _identity(x: Expr) -> Expr:
    return x


def _unary(op: str) -> Callable[[Expr], Expr]:
    return lambda x: apply(op, x)


#: Activations that `activation=` takes.
ACTIVATIONS: Dict[str, Callable[[Expr], Expr]] = {
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": _relu,
    "relu2": _relu2,
    "identity": _identity,
}

#: Functions of one value that a jitted function may use.
UNARY: Dict[str, Callable[[Expr], Expr]] = {
    **{name: f for name, f in ACTIVATIONS.items() if name != "identity"},
    "sigmoid": _sigmoid,
    **{op: _unary(op) for op in ("neg", "exp", "log", "tanh", "erf", "sqrt", "abs")},
}
