"""Writes a program as MLIR text: the operations of `omnimoe` and `linalg`.

A `Module` is one entry function. Values are tensors whose leading size may be
T (None); every method appends operations and returns the new value. Nothing is
checked here: the functions that use it check their arguments first, and the
verifiers of the operations check the rest.
"""

from __future__ import annotations

import re
import struct
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ._expr import MLIR_OPS, Expr, apply, element

Shape = Tuple[Optional[int], ...]


class Value(NamedTuple):
    """A tensor of the program: its SSA name, MLIR element type, shape."""

    name: str
    dtype: str
    shape: Shape

    @property
    def type(self) -> str:
        sizes = "".join("?x" if size is None else f"{size}x" for size in self.shape)
        return f"tensor<{sizes}{self.dtype}>"

    def element(self, *dims: int) -> Expr:
        """An element of this value; `dims` are the loops that index it."""
        return element(self, dims or tuple(range(len(self.shape))))


def _map(rank: int, dims: Sequence[int]) -> str:
    loops = ", ".join(f"d{i}" for i in range(rank))
    indices = ", ".join("0" if i < 0 else f"d{i}" for i in dims)
    return f"affine_map<({loops}) -> ({indices})>"


def _float(value: float) -> str:
    """`value` rounded to f32, as its bits: exact, and able to say infinity."""
    return f"0x{struct.unpack('<I', struct.pack('<f', value))[0]:08X}"


def _literal(value: float) -> str:
    text = repr(value)
    exact = struct.unpack("<f", struct.pack("<f", value))[0] == value
    # MLIR wants a decimal point, and has no word for infinity.
    return text if exact and re.fullmatch(r"-?\d+\.\d+", text) else _float(value)


class Module:
    """The entry function `entry` of a new module."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        self.arguments: List[Value] = []
        self._labels: List[str] = []
        self._names: Dict[str, int] = {}
        self._constants: Dict[str, str] = {}
        self._head: List[str] = []
        self._body: List[str] = []
        self._tokens: Optional[str] = None

    # Names and pieces ------------------------------------------------------

    def _fresh(self, hint: str) -> str:
        name = hint
        while name in self._names:
            self._names[hint] += 1
            name = f"{hint}_{self._names[hint]}"
        self._names[name] = 0
        return "%" + name

    def _constant(self, value: float) -> str:
        text = _literal(value)
        if text not in self._constants:
            name = self._fresh("cst")
            self._constants[text] = name
            self._head.append(f"{name} = arith.constant {text} : f32")
        return self._constants[text]

    def _emit(self, hint: str, text: str, dtype: str, shape: Shape) -> Value:
        value = Value(self._fresh(hint), dtype, shape)
        self._body.append(f"{value.name} = {text}")
        return value

    def _empty(self, dtype: str, shape: Shape) -> Value:
        tokens = self._tokens if shape and shape[0] is None else ""
        result = Value("", dtype, shape)
        return self._emit("init", f"tensor.empty({tokens}) : {result.type}", dtype, shape)

    def fill(self, number: float, dtype: str, shape: Shape) -> Value:
        """A tensor of which every element is `number`."""
        init = self._empty(dtype, shape)
        text = (
            f"linalg.fill ins({self._constant(number)} : f32) "
            f"outs({init.name} : {init.type}) -> {init.type}"
        )
        return self._emit("filled", text, dtype, shape)

    # Arguments and results -------------------------------------------------

    def argument(self, label: str, dtype: str, shape: Shape) -> Value:
        """Adds an argument; messages and dumps call it `label`."""
        hint = label if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", label) else "arg"
        if re.fullmatch(r"[ev]\d+|acc", hint):  # names inside of generics
            hint += "_arg"
        value = Value(self._fresh(hint), dtype, shape)
        self.arguments.append(value)
        self._labels.append(label)
        if shape and shape[0] is None and self._tokens is None:
            zero = self._fresh("c0")
            self._tokens = self._fresh("T")
            self._head.append(f"{zero} = arith.constant 0 : index")
            self._head.append(f"{self._tokens} = tensor.dim {value.name}, {zero} : {value.type}")
        return value

    def text(self, results: Sequence[Value]) -> str:
        """The module, returning `results`."""
        arguments = ", ".join(
            f'{value.name}: {value.type} {{omnimoe.name = "{_escape(label)}"}}'
            for value, label in zip(self.arguments, self._labels)
        )
        types = ", ".join(value.type for value in results)
        names = ", ".join(value.name for value in results)
        lines = [f"func.func @{self.entry}({arguments}) -> ({types}) {{"]
        lines += ["  " + line for line in self._head + self._body]
        lines += [f"  return {names} : {types}", "}", ""]
        return "\n".join(lines)

    # Elementwise and reductions --------------------------------------------

    def elementwise(self, expr: Expr, dtype: str, shape: Shape, hint: str = "value") -> Value:
        """One `linalg.generic` that computes `expr` for each element."""
        init = self._empty(dtype, shape)
        return self._generic(expr, init, ["parallel"] * len(shape), hint)

    def _reduce(
        self, op: str, start: float, expr: Expr, rows: Shape, attribute: str = ""
    ) -> Value:
        """Folds `expr` over the last loop: [*rows]."""
        init = self.fill(start, "f32", rows)
        kinds = ["parallel"] * len(rows) + ["reduction"]
        return self._generic(expr, init, kinds, "reduced", fold=op, attribute=attribute)

    def _generic(
        self,
        expr: Expr,
        init: Value,
        kinds: Sequence[str],
        hint: str,
        fold: str = "",
        attribute: str = "",
    ) -> Value:
        rank = len(kinds)
        order: List[Expr] = []
        keys: Dict[Tuple[str, Tuple[int, ...]], int] = {}
        for leaf in _leaves(expr):
            key = (leaf.value.name, leaf.dims or ())
            if key not in keys:
                keys[key] = len(order)
                order.append(leaf)
        maps = [_map(rank, leaf.dims or ()) for leaf in order]
        maps.append(_map(rank, range(len(init.shape))))
        iterators = ", ".join(f'"{kind}"' for kind in kinds)
        text = f"linalg.generic {{indexing_maps = [{', '.join(maps)}], "
        text += f"iterator_types = [{iterators}]}}"
        if order:
            names = ", ".join(leaf.value.name for leaf in order)
            types = ", ".join(leaf.value.type for leaf in order)
            text += f" ins({names} : {types})"
        text += f" outs({init.name} : {init.type})"
        text += f" attrs = {{{attribute}}} {{" if attribute else " {"
        block = [f"%e{i}: {leaf.value.dtype}" for i, leaf in enumerate(order)]
        block.append(f"%acc: {init.dtype}")
        lines = [text, f"^bb0({', '.join(block)}):"]
        body = _Body(self, keys)
        result = body.emit(expr)
        if fold:
            result = body.line(f"{MLIR_OPS[fold]} {result}, %acc : f32")
        if init.dtype != "f32":
            result = body.line(f"arith.truncf {result} : f32 to {init.dtype}")
        lines += ["  " + line for line in body.lines]
        lines += [f"  linalg.yield {result} : {init.dtype}", f"}} -> {init.type}"]
        return self._emit(hint, "\n  ".join(lines), init.dtype, init.shape)

    def cast(self, value: Value, dtype: str) -> Value:
        """`value` with another float type."""
        if value.dtype == dtype:
            return value
        return self.elementwise(value.element(), dtype, value.shape, "cast")

    def log_softmax(self, logits: Value) -> Value:
        """Log-probabilities of each row: [T, R] -> f32 [T, R]."""
        return self._normalise(logits, log=True)

    def softmax(self, logits: Value) -> Value:
        """Probabilities of each row: [T, R] -> f32 [T, R]."""
        return self._normalise(logits, log=False)

    def _normalise(self, logits: Value, log: bool) -> Value:
        rows = logits.shape[:1]
        # Any shift gives the same result, so the maximum is no matter of gradients.
        top = self._reduce(
            "maximum", float("-inf"), logits.element(), rows, "omnimoe.stop_gradient"
        )
        shifted = logits.element() - top.element(0)
        total = self._reduce("add", 0.0, apply("exp", shifted), rows)
        if log:
            result = shifted - apply("log", total.element(0))
        else:
            result = apply("exp", shifted) / total.element(0)
        return self.elementwise(result, "f32", logits.shape, "normalised")

    # Products --------------------------------------------------------------

    def linear(self, x: Value, weight: Value) -> Value:
        """`x @ weight.T` in f32: [T, A], [B, A] -> [T, B]."""
        shape = (x.shape[0], weight.shape[0])
        init = self.fill(0.0, "f32", shape)
        maps = ", ".join(f"affine_map<(m, n, k) -> ({m})>" for m in ("m, k", "n, k", "m, n"))
        text = (
            f"linalg.matmul indexing_maps = [{maps}] "
            f"ins({x.name}, {weight.name} : {x.type}, {weight.type}) "
            f"outs({init.name} : {init.type}) -> {init.type}"
        )
        return self._emit("product", text, "f32", shape)

    def route(self, rows: Value, columns: Value, top_k: int) -> Tuple[Value, Value]:
        """`omnimoe.route`: f32 [T, R], [T, C] -> f32 [T, K], i32 [T, K]."""
        shape = (rows.shape[0], top_k)
        scores, ids = self._empty("f32", shape), self._empty("i32", shape)
        results = (
            Value(self._fresh("scores"), "f32", shape),
            Value(self._fresh("experts"), "i32", shape),
        )
        self._body.append(
            f"{results[0].name}, {results[1].name} = omnimoe.route "
            f"ins({rows.name}, {columns.name} : {rows.type}, {columns.type}) "
            f"outs({scores.name}, {ids.name} : {scores.type}, {ids.type}) "
            f"-> {scores.type}, {ids.type}"
        )
        return results

    def grouped_matmul(self, x: Value, weights: Value, experts: Value) -> Value:
        """`omnimoe.grouped_matmul` -> f32 [T, K] or [T, K, r]."""
        shape = experts.shape + weights.shape[1:-1]
        init = self._empty("f32", shape)
        text = (
            f"omnimoe.grouped_matmul ins({x.name}, {weights.name}, {experts.name} : "
            f"{x.type}, {weights.type}, {experts.type}) "
            f"outs({init.name} : {init.type}) -> {init.type}"
        )
        return self._emit("products", text, "f32", shape)

    def combine(self, coefficients: Value, vectors: Value, experts: Value, onto: Value) -> Value:
        """`omnimoe.combine to_tokens`, added to `onto` [T, D]."""
        text = (
            f"omnimoe.combine to_tokens ins({coefficients.name}, {vectors.name}, {experts.name} : "
            f"{coefficients.type}, {vectors.type}, {experts.type}) "
            f"outs({onto.name} : {onto.type}) -> {onto.type}"
        )
        return self._emit("combined", text, onto.dtype, onto.shape)


class _Body:
    """The lines of a generic's block."""

    def __init__(self, module: Module, inputs: Dict[Tuple[str, Tuple[int, ...]], int]) -> None:
        self.module = module
        self.inputs = inputs
        self.lines: List[str] = []
        self._done: Dict[object, str] = {}

    def line(self, text: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def emit(self, expr: Expr) -> str:
        """Appends what computes `expr` in f32; each node once."""
        if expr.op == "const":
            return self.module._constant(expr.value)
        key: object = (expr.value.name, expr.dims) if expr.op == "element" else id(expr)
        if key not in self._done:
            self._done[key] = self._compute(expr)
        return self._done[key]

    def _compute(self, expr: Expr) -> str:
        if expr.op == "element":
            name = f"%e{self.inputs[(expr.value.name, expr.dims or ())]}"
            if expr.value.dtype == "f32":
                return name
            return self.line(f"arith.extf {name} : {expr.value.dtype} to f32")
        operands = ", ".join([self.emit(operand) for operand in expr.operands])
        return self.line(f"{MLIR_OPS[expr.op]} {operands} : f32")


def _leaves(expr: Expr) -> List[Expr]:
    """The elements that `expr` reads, in order of use."""
    found: List[Expr] = []
    seen = set()
    stack = [expr]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.op == "element":
            found.append(node)
        stack.extend(reversed(node.operands))
    return found


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
