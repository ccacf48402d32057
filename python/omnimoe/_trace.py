"""Tracing: from a Python function over arrays to the text of one program.

While a function is traced its arguments are `Traced` values, which know their
element type and shape but hold no data; operations on them are recorded. The
shapes are those of the call. Which leading sizes stand for T follows from the
use: an operation says which of its arguments are tokens and which are tables,
and values that meet in an element-wise operation share their leading size.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ._arrays import FLOATS, MLIR_TYPES, Argument
from ._build import Module, Value
from ._expr import UNARY, Expr, apply, constant, element
from ._ops import OPS
from .errors import ArgumentError, ShapeError


class Leading:
    """The leading size of a value, shared by all values that must agree."""

    __slots__ = ("_parent", "_tokens", "_table")

    def __init__(self) -> None:
        self._parent: Optional[Leading] = None
        self._tokens = ""
        self._table = ""

    def _root(self) -> "Leading":
        root = self
        while root._parent is not None:
            root = root._parent
        return root

    def join(self, other: "Leading") -> None:
        a, b = self._root(), other._root()
        if a is not b:
            b._parent = a
            a._tokens, a._table = a._tokens or b._tokens, a._table or b._table
            a._check()

    def mark(self, use: str, tokens: bool) -> None:
        """Records that `use` takes this size as T, or as a static size."""
        root = self._root()
        if tokens:
            root._tokens = root._tokens or use
        else:
            root._table = root._table or use
        root._check()

    def _check(self) -> None:
        if self._tokens and self._table:
            raise ShapeError(
                f"a value is used both as {self._tokens}, whose leading size is the number of "
                f"tokens, and as {self._table}, whose leading size is static; pass it twice"
            )

    @property
    def is_tokens(self) -> bool:
        return bool(self._root()._tokens)


class Graph:
    """What one trace recorded."""

    def __init__(self) -> None:
        self.arguments: List[Traced] = []
        self.schedules: Dict[str, None] = {}
        self.deterministic = False

    def argument(self, described: Argument) -> "Traced":
        value = Traced(self, "argument", (), described.dtype, described.shape)
        value.attributes = {"name": described.name}
        self.arguments.append(value)
        return value


class Traced:
    """A value of a function that is being traced.

    Takes `+ - * /`, `abs`, the functions of `omnimoe`, and NumPy's functions
    of the same names (`np.exp`, `np.maximum`, ...).
    """

    __slots__ = ("graph", "op", "inputs", "attributes", "dtype", "shape", "leading", "_call")

    def __init__(
        self,
        graph: Graph,
        op: str,
        inputs: Tuple[Any, ...],
        dtype: str,
        shape: Tuple[int, ...],
        leading: Optional[Leading] = None,
    ) -> None:
        self.graph = graph
        self.op = op
        self.inputs = inputs
        self.attributes: Dict[str, Any] = {}
        self.dtype = dtype
        self.shape = shape
        self.leading = leading or Leading()
        self._call: Optional[Call] = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"Traced({self.dtype} {list(self.shape)})"

    def __add__(self, other: Any) -> "Traced":
        return binary("add", self, other)

    def __radd__(self, other: Any) -> "Traced":
        return binary("add", other, self)

    def __sub__(self, other: Any) -> "Traced":
        return binary("sub", self, other)

    def __rsub__(self, other: Any) -> "Traced":
        return binary("sub", other, self)

    def __mul__(self, other: Any) -> "Traced":
        return binary("mul", self, other)

    def __rmul__(self, other: Any) -> "Traced":
        return binary("mul", other, self)

    def __truediv__(self, other: Any) -> "Traced":
        return binary("div", self, other)

    def __rtruediv__(self, other: Any) -> "Traced":
        return binary("div", other, self)

    def __neg__(self) -> "Traced":
        return unary("neg", self)

    def __abs__(self) -> "Traced":
        return unary("abs", self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> "Traced":
        name = _UFUNCS.get(ufunc.__name__, ufunc.__name__)
        if method == "__call__" and not kwargs:
            if name in UNARY and len(inputs) == 1:
                return unary(name, inputs[0])
            if name in BINARY and len(inputs) == 2:
                return binary(name, inputs[0], inputs[1])
        raise ArgumentError(
            f"a jitted function cannot use numpy.{ufunc.__name__} here; it can use "
            f"{', '.join(sorted({*BINARY, *UNARY}))}"
        )

    def _no_data(self, *_: Any, **__: Any) -> Any:
        raise ArgumentError(
            "a value of a jitted function has no data while the function is traced: it cannot "
            "be converted, tested, compared or indexed"
        )

    __bool__ = __float__ = __int__ = __len__ = __iter__ = __getitem__ = _no_data
    __lt__ = __le__ = __gt__ = __ge__ = __array__ = _no_data


_NUMBERS = (int, float, np.floating, np.integer)
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum")
_UFUNCS = {
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "negative": "neg",
    "absolute": "abs",
    "fabs": "abs",
}


class Call(NamedTuple):
    """An operation of `_ops`; its results are `Traced`s with op "result"."""

    op: str
    inputs: Dict[str, Traced]
    attributes: Dict[str, Any]


# Recording -----------------------------------------------------------------


def record(op: str, inputs: Dict[str, Any], **attributes: Any) -> Any:
    """Records a call of an operation of `_ops`; returns its results."""
    graph = next(value.graph for value in inputs.values() if type(value) is Traced)
    for name, value in inputs.items():
        if type(value) is not Traced:
            raise ArgumentError(
                f"{name}: expected a value of the jitted function, got {type(value).__name__}; "
                "pass arrays as arguments of the function"
            )
    arguments = {
        name: Argument(name, value.dtype, value.shape, "cpu") for name, value in inputs.items()
    }
    results = OPS[op].infer(arguments, attributes)
    tokens = Leading()
    for name, value in inputs.items():
        if name in OPS[op].tokens:
            tokens.join(value.leading)
            value.leading.mark(f"{name} of {op}", tokens=True)
        else:
            value.leading.mark(f"{name} of {op}", tokens=False)
    if attributes.get("schedule", "auto") != "auto":
        graph.schedules[attributes["schedule"]] = None
    graph.deterministic |= bool(attributes.get("deterministic"))
    call = Call(op, dict(inputs), attributes)
    made = []
    for index, (dtype, shape) in enumerate(results):
        value = Traced(graph, "result", (), dtype, shape, tokens)
        value.attributes = {"index": index}
        value._call = call
        made.append(value)
    return made[0] if len(made) == 1 else tuple(made)


def unary(op: str, x: Any) -> Traced:
    if type(x) is not Traced:
        raise ArgumentError(
            f"{op}: expected a value of a function that is being traced by omnimoe.jit, "
            f"got {type(x).__name__}"
        )
    _check_float(op, x)
    return Traced(x.graph, op, (x,), x.dtype, x.shape, x.leading)


def binary(op: str, x: Any, y: Any) -> Traced:
    values = [value for value in (x, y) if type(value) is Traced]
    for value in (x, y):
        if type(value) is Traced:
            _check_float(op, value)
        elif isinstance(value, bool) or not isinstance(value, _NUMBERS):
            raise ArgumentError(
                f"{op}: expected a value of the jitted function or a number, got "
                f"{type(value).__name__}; pass arrays as arguments of the function"
            )
    if not values:
        raise ArgumentError(f"{op}: expected at least one value of a jitted function")
    shape = values[0].shape
    dtype = values[0].dtype
    leading: Optional[Leading] = values[0].leading
    if len(values) == 2:
        shape = _broadcast(op, *values)
        dtype = dtype if dtype == values[1].dtype else "float32"
        leading = _join(values, shape)
    return Traced(values[0].graph, op, (x, y), dtype, shape, leading)


def _check_float(op: str, value: Traced) -> None:
    if value.dtype not in FLOATS:
        raise ShapeError(f"{op}: expected element type {', '.join(FLOATS)}, got {value.dtype}")


def _broadcast(op: str, x: Traced, y: Traced) -> Tuple[int, ...]:
    try:
        return tuple(np.broadcast_shapes(x.shape, y.shape))
    except ValueError:
        raise ShapeError(
            f"{op}: {list(x.shape)} and {list(y.shape)} do not broadcast to one shape"
        ) from None


def _join(values: Sequence[Traced], shape: Tuple[int, ...]) -> Optional[Leading]:
    """The leading size of a broadcast: of the values that span it."""
    spanning = [v for v in values if len(v.shape) == len(shape) and v.shape[:1] == shape[:1]]
    for value in spanning[1:]:
        spanning[0].leading.join(value.leading)
    return spanning[0].leading if spanning else None


# Writing -------------------------------------------------------------------


class Program(NamedTuple):
    """A traced function: its text, and which arguments' leading size is T."""

    text: str
    mask: int
    schedule: str
    deterministic: bool


def trace(
    function: Callable[..., Any], entry: str, arguments: Sequence[Argument]
) -> Program:
    """Calls `function` on traced arguments and writes what it did.

    Args:
      function: takes one `Traced` per argument, returns one or a tuple.
      entry: name of the program's entry function.
      arguments: what the arguments are.

    Raises:
      ShapeError, ArgumentError: what the function does is not possible.
    """
    graph = Graph()
    results = function(*[graph.argument(argument) for argument in arguments])
    outputs = tuple(results) if isinstance(results, (tuple, list)) else (results,)
    for output in outputs:
        if type(output) is not Traced or output.graph is not graph:
            raise ArgumentError(
                f"{entry}: expected the function to return values made of its arguments, "
                f"got {type(output).__name__}"
            )
    if not outputs:
        raise ArgumentError(f"{entry}: expected the function to return at least one value")
    known = graph.arguments
    if known and not any(value.leading.is_tokens for value in known) and known[0].shape:
        known[0].leading.mark("the first argument", tokens=True)
    if len(graph.schedules) > 1:
        raise ArgumentError(
            f"schedule: one program has one schedule, got {', '.join(graph.schedules)}"
        )
    writer = _Writer(entry, graph)
    text = writer.module.text([writer.value(output) for output in outputs])
    mask = sum(1 << i for i, value in enumerate(known) if _dynamic(value))
    return Program(text, mask, next(iter(graph.schedules), "auto"), graph.deterministic)


def _dynamic(value: Traced) -> bool:
    return bool(value.shape) and value.leading.is_tokens


class _Writer:
    """Writes traced values into a module, each when it is first needed."""

    def __init__(self, entry: str, graph: Graph) -> None:
        self.module = Module(entry)
        self._values: Dict[int, Value] = {}
        self._calls: Dict[int, Sequence[Value]] = {}
        self._keep: List[Any] = []  # ids are keys, so the objects must live
        for argument in graph.arguments:
            label = argument.attributes["name"]
            dtype = MLIR_TYPES[argument.dtype]
            self._values[id(argument)] = self.module.argument(label, dtype, self._shape(argument))

    def _shape(self, value: Traced) -> Tuple[Optional[int], ...]:
        return (None,) + value.shape[1:] if _dynamic(value) else value.shape

    def value(self, traced: Traced) -> Value:
        """The tensor of a traced value, written now if it is not yet."""
        if id(traced) not in self._values:
            self._keep.append(traced)
            if traced._call is not None:
                made = self._emit_call(traced._call)[traced.attributes["index"]]
            else:
                rank = len(traced.shape)
                made = self.module.elementwise(
                    self._expr(traced, rank, {}), MLIR_TYPES[traced.dtype], self._shape(traced)
                )
            self._values[id(traced)] = made
        return self._values[id(traced)]

    def _emit_call(self, call: Call) -> Sequence[Value]:
        if id(call) not in self._calls:
            self._keep.append(call)
            inputs = {name: self.value(value) for name, value in call.inputs.items()}
            self._calls[id(call)] = OPS[call.op].emit(self.module, inputs, call.attributes)
        return self._calls[id(call)]

    def _expr(self, traced: Any, rank: int, done: Dict[int, Expr]) -> Expr:
        """The expression of an element in a loop nest of `rank` loops.

        Chains of element-wise operations become one expression; a value that
        has a tensor already is read from it.
        """
        if type(traced) is not Traced:
            return constant(float(traced))
        if id(traced) not in done:
            if id(traced) in self._values or traced._call is not None:
                done[id(traced)] = self._element(traced, rank)
            else:
                operands = [self._expr(operand, rank, done) for operand in traced.inputs]
                made = UNARY[traced.op](*operands) if len(operands) == 1 else None
                done[id(traced)] = made or apply(traced.op, *operands)
        return done[id(traced)]

    def _element(self, traced: Traced, rank: int) -> Expr:
        value = self.value(traced)
        first = rank - len(value.shape)
        dims = tuple(-1 if n == 1 else first + i for i, n in enumerate(value.shape))
        return element(value, dims)
