"""What the arguments of each operation must look like.

Each check takes the arguments as `Argument`s (name, element type, shape,
device) and raises ShapeError, ArgumentError or DeviceError naming the argument,
what came, and what was expected. They return nothing: results are `_ops`' part.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any, Dict, Sequence, Tuple

from ._arrays import FLOATS, Argument
from ._expr import ACTIVATIONS
from ._names import SCHEDULES, WEIGHTINGS, check_name
from .errors import ArgumentError, DeviceError, ShapeError
from .targets import of_device

#: Expert ids are i32.
MAX_EXPERTS = 2**31 - 1


def device(arguments: Sequence[Argument]) -> str:
    """All arguments must be on one device. Returns the name of the target to
    compile for: that device's, or "auto" if there are types only."""
    placed = [argument for argument in arguments if argument.device]
    if not placed:
        return "auto"
    first = placed[0]
    if first.device != "cpu" and not first.device.startswith("cuda:"):
        raise DeviceError(
            f"{first.name}: expected an array on cpu or a CUDA GPU, got one on {first.device}"
        )
    for argument in placed:
        if argument.device != first.device:
            raise DeviceError(
                f"{argument.name}: expected an array on {first.device} as {first.name}, got one "
                f"on {argument.device}"
            )
    try:
        return of_device(first.device)
    except DeviceError as error:
        raise DeviceError(f"{first.name}: {error}") from None


def _shape(argument: Argument, expected: str, fits: bool) -> None:
    if not fits:
        raise ShapeError(f"{argument.name}: expected {expected}, got {list(argument.shape)}")


def _dtype(argument: Argument, *allowed: str, why: str = "") -> None:
    if argument.dtype not in allowed:
        wanted = allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"
        raise ShapeError(
            f"{argument.name}: expected element type {wanted}{why}, got {argument.dtype}"
        )


def _same_dtype(argument: Argument, other: Argument) -> None:
    _dtype(argument, other.dtype, why=f" as in {other.name}")


def _tokens(argument: Argument, x: Argument) -> None:
    _shape(
        argument,
        f"{x.shape[0]} tokens as in {x.name}",
        bool(argument.shape) and argument.shape[0] == x.shape[0],
    )


def _hidden(x: Argument) -> int:
    _shape(x, "[T, D] with D >= 1", len(x.shape) == 2 and x.shape[1] >= 1)
    _dtype(x, *FLOATS)
    return x.shape[1]


def options(options: Dict[str, Any]) -> None:
    """Options that several functions share."""
    if "activation" in options:
        check_name("activation", options["activation"], ACTIVATIONS)
    if "schedule" in options:
        check_name("schedule", options["schedule"], SCHEDULES)
    if "weighting" in options:
        check_name("weighting", options["weighting"], WEIGHTINGS)
    eps = options.get("norm_eps", 0.0)
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0.0 <= eps < float("inf"):
        raise ArgumentError(f"norm_eps: expected a number of at least 0, got {eps!r}")


def top_k(value: Any, rows: int, columns: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ArgumentError(f"top_k: expected an integer, got {value!r}")
    if not 1 <= int(value) <= rows * columns:
        raise ArgumentError(
            f"top_k: expected 1 <= top_k <= {rows * columns} (a grid of {rows} x {columns} "
            f"experts), got {value}"
        )


def _grid(rows: int, columns: int, names: Tuple[str, str]) -> None:
    if rows * columns > MAX_EXPERTS:
        raise ShapeError(
            f"{names[0]}, {names[1]}: expected at most {MAX_EXPERTS} experts, got a grid of "
            f"{rows} x {columns}"
        )


def route(rows: Argument, columns: Argument, k: Any) -> None:
    """[T, R], [T, C] and 1 <= top_k <= R*C."""
    _shape(rows, "[T, R] with R >= 1", len(rows.shape) == 2 and rows.shape[1] >= 1)
    _shape(columns, "[T, C] with C >= 1", len(columns.shape) == 2 and columns.shape[1] >= 1)
    _tokens(columns, rows)
    _dtype(rows, *FLOATS)
    _dtype(columns, *FLOATS)
    _grid(rows.shape[1], columns.shape[1], (rows.name, columns.name))
    top_k(k, rows.shape[1], columns.shape[1])


def tables(x: Argument, up: Argument, down: Argument) -> None:
    """Up and down vectors of the experts: [N, D] or [N, r, D]."""
    hidden = _hidden(x)
    expected = f"[N, {hidden}] or [N, r, {hidden}] (D = {hidden} as in {x.name})"
    fits = len(up.shape) in (2, 3) and min(up.shape) >= 1 and up.shape[-1] == hidden
    _shape(up, expected, fits)
    _same_dtype(up, x)
    _shape(down, f"{list(up.shape)} as {up.name}", down.shape == up.shape)
    _same_dtype(down, x)
    if up.shape[0] > MAX_EXPERTS:
        raise ShapeError(
            f"{up.name}: expected at most {MAX_EXPERTS} experts, got {up.shape[0]}"
        )


def experts(
    x: Argument, up: Argument, down: Argument, weights: Argument, ids: Argument
) -> None:
    """[T, D], the tables, [T, K], i32 [T, K]."""
    tables(x, up, down)
    _shape(weights, "[T, K] with K >= 1", len(weights.shape) == 2 and weights.shape[1] >= 1)
    _tokens(weights, x)
    _dtype(weights, *FLOATS)
    _shape(ids, f"{list(weights.shape)} as {weights.name}", ids.shape == weights.shape)
    _dtype(ids, "int32")


def gated_experts(
    x: Argument, gate: Argument, up: Argument, down: Argument, weights: Argument, ids: Argument
) -> None:
    """As `experts`, with a gate of the shape of `up`."""
    experts(x, up, down, weights, ids)
    _shape(gate, f"{list(up.shape)} as {up.name}", gate.shape == up.shape)
    _same_dtype(gate, x)


def mlp(x: Argument, gate: Argument, up: Argument, down: Argument) -> None:
    """[T, D], [I, D], [I, D], [D, I]."""
    hidden = _hidden(x)
    fits = len(gate.shape) == 2 and gate.shape[0] >= 1 and gate.shape[1] == hidden
    _shape(gate, f"[I, {hidden}] with I >= 1 (D = {hidden} as in {x.name})", fits)
    _same_dtype(gate, x)
    _shape(up, f"{list(gate.shape)} as {gate.name}", up.shape == gate.shape)
    _same_dtype(up, x)
    transposed = (hidden, gate.shape[0])
    _shape(down, f"{list(transposed)} (D x I)", down.shape == transposed)
    _same_dtype(down, x)


def layer(arguments: Dict[str, Argument], k: Any) -> None:
    """The published module's parameters, which need not be square (R != C)."""
    x = arguments["x"]
    mlp(x, arguments["gate_proj"], arguments["up_proj"], arguments["down_proj"])
    up = arguments["up_embed"]
    tables(x, up, arguments["down_embed"])
    sizes = []
    for axis, letter in (("x", "R"), ("y", "C")):
        gate = arguments[f"router_gate_{axis}"]
        fits = len(gate.shape) == 2 and gate.shape[0] >= 1 and gate.shape[1] == x.shape[1]
        _shape(gate, f"[{letter}, {x.shape[1]}] with {letter} >= 1", fits)
        _same_dtype(gate, x)
        sizes.append(gate.shape[0])
        for part in ("running_mean", "running_var", "weight", "bias"):
            norm = arguments.get(f"router_norm_{axis}.{part}")
            if norm is not None:
                _shape(norm, f"[{gate.shape[0]}] as the rows of {gate.name}",
                       norm.shape == gate.shape[:1])
                _dtype(norm, *FLOATS)
    if up.shape[0] != sizes[0] * sizes[1]:
        raise ShapeError(
            f"{up.name}: expected {sizes[0] * sizes[1]} experts (router_gate_x and router_gate_y "
            f"make a grid of {sizes[0]} x {sizes[1]}), got {up.shape[0]}"
        )
    top_k(k, sizes[0], sizes[1])
