"""The functions: each compiles once per element types and static shapes.

Arrays are NumPy arrays, torch tensors, CuPy arrays, or anything that speaks
DLPack or the NumPy or CUDA array interface, on the CPU or on a CUDA GPU, and all
of one call on one device: the call runs there, on a GPU on the current stream of
the first argument's framework. Results come back in the kind and on the device
of the first argument. Arrays that are not row-major are copied. Inside of a
function under `omnimoe.jit` the same calls are traced instead.

Shapes: T tokens (any number, zero included), D hidden size, K experts per
token, a grid of R x C experts, N = R*C, r width of an expert. Element types are
float32, float16 and bfloat16; sums are always taken in float32.
"""

from __future__ import annotations

from typing import Any, Tuple

from . import _cache, _core, _params, _settings
from ._arrays import describe
from ._checks import device
from ._trace import Traced, binary, record, unary
from .errors import ArgumentError, ExpertIdError


def _compiles(op: str, names: Tuple[str, ...], attributes: Tuple[str, ...]) -> Any:
    """The specialiser of an operation; its options are the values of
    `attributes` and, last, the number of planned threads."""

    def build(arrays: Tuple[Any, ...], options: Tuple[Any, ...]) -> Tuple[Any, int]:
        arguments = [describe(name, array) for name, array in zip(names, arrays)]
        target = device(arguments)
        given = dict(zip(attributes, options))

        def call(*values: Traced) -> Any:
            return record(op, dict(zip(names, values)), **given)

        schedule = given.get("schedule", "auto")
        deterministic = bool(given.get("deterministic"))
        return _cache.program(call, op, arguments, target, schedule, deterministic)

    return _cache.specialiser(build)


_ROUTE = _compiles("route", ("row_logits", "col_logits"), ("top_k",))
_EXPERTS = _compiles(
    "experts",
    ("x", "up", "down", "weights", "experts"),
    ("activation", "schedule", "deterministic"),
)
_GATED_EXPERTS = _compiles(
    "gated_experts",
    ("x", "gate", "up", "down", "weights", "experts"),
    ("activation", "schedule", "deterministic"),
)
_MLP = _compiles("mlp", ("x", "gate", "up", "down"), ("activation",))


def route(row_logits: Any, col_logits: Any, top_k: int) -> Tuple[Any, Any]:
    """Exact top-K of the outer sum of row and column logits.

    Expert `i * C + j` has the score `row_logits[t, i] + col_logits[t, j]`, in
    float32. Higher scores come first, among equal ones the lower id. NaN counts
    as minus infinity.

    Args:
      row_logits: [T, R], float32 (float16 and bfloat16 are widened exactly).
      col_logits: [T, C], likewise.
      top_k: K, from 1 to R*C.

    Returns:
      scores: float32 [T, K].
      experts: int32 [T, K], ids from 0 to R*C - 1.

    Raises:
      ShapeError: rank, size or element type of an array does not fit.
      ArgumentError: `top_k` is out of range, or an argument is no array.
      DeviceError: the arrays are not on one device, or it cannot be compiled for.
    """
    if type(row_logits) is Traced:
        inputs = {"row_logits": row_logits, "col_logits": col_logits}
        return record("route", inputs, top_k=top_k)
    return _ROUTE((row_logits, col_logits), (top_k, _settings.planned_threads))


def experts(
    x: Any,
    up: Any,
    down: Any,
    weights: Any,
    experts: Any,
    *,
    gate: Any = None,
    activation: str = "silu",
    schedule: str = "auto",
    deterministic: bool = False,
    check: bool = False,
) -> Any:
    """The weighted sum of each token's chosen experts.

    `y[t] = sum over k of weights[t,k] * sum over j of
    act(x[t] . up[e,j]) * down[e,j]` with `e = experts[t,k]`; with a `gate`
    each expert is a gated MLP, `act(x[t] . gate[e,j]) * (x[t] . up[e,j])`.

    Args:
      x: [T, D].
      up: [N, D] (atomic experts) or [N, r, D] (experts of width r), as `x`.
      down: shape and type of `up`.
      weights: [T, K], float32 (or float16, bfloat16).
      experts: int32 [T, K]. A pair whose id is outside [0, N) adds nothing.
      gate: None, or shape and type of `up`.
      activation: silu, gelu (by erf), gelu_tanh, relu, relu2, identity.
      schedule: auto (by what was measured, see `omnimoe.compile`, or else by the
        cost model), token_centric, expert_centric,
        dense, hybrid. It changes the order of the work, not the result beyond
        rounding.
      deterministic: bitwise equal results from run to run.
      check: raise if an expert id is outside [0, N). On a GPU this waits for
        the ids, so it cannot be captured into a graph.

    Returns:
      y: [T, D], element type of `x`.

    Raises:
      ShapeError: rank, size or element type of an array does not fit.
      ArgumentError: unknown activation or schedule, or an argument is no array.
      ExpertIdError: `check` is set and an id is outside [0, N).
      DeviceError: the arrays are not on one device, or it cannot be compiled for.
    """
    if check and type(x) is Traced:
        raise ArgumentError("check: expected False inside of a jitted function, got True")
    if check:
        _check_ids(experts, up)
    if gate is not None:
        return gated_experts(
            x,
            gate,
            up,
            down,
            weights,
            experts,
            activation=activation,
            schedule=schedule,
            deterministic=deterministic,
        )
    if type(x) is Traced:
        return record(
            "experts",
            {"x": x, "up": up, "down": down, "weights": weights, "experts": experts},
            activation=activation,
            schedule=schedule,
            deterministic=deterministic,
        )
    return _EXPERTS(
        (x, up, down, weights, experts),
        (activation, schedule, deterministic, _settings.planned_threads),
    )


def gated_experts(
    x: Any,
    gate: Any,
    up: Any,
    down: Any,
    weights: Any,
    experts: Any,
    *,
    activation: str,
    schedule: str,
    deterministic: bool,
) -> Any:
    """`experts` with a `gate`, the operation as it stands in programs."""
    if type(x) is Traced:
        return record(
            "gated_experts",
            {"x": x, "gate": gate, "up": up, "down": down, "weights": weights, "experts": experts},
            activation=activation,
            schedule=schedule,
            deterministic=deterministic,
        )
    return _GATED_EXPERTS(
        (x, gate, up, down, weights, experts),
        (activation, schedule, deterministic, _settings.planned_threads),
    )


def _check_ids(experts: Any, up: Any) -> None:
    ids, table = describe("experts", experts), describe("up", up)
    device([ids, table])
    if ids.dtype != "int32" or len(ids.shape) != 2 or len(table.shape) < 2:
        return  # the checks of the call itself say so
    count = table.shape[0]
    found = _core.find_invalid_id(experts, count)
    if found is not None:
        position, value = found
        token, choice = divmod(position, ids.shape[1])
        raise ExpertIdError(
            f"experts: expected 0 <= id < {count}, got {value} at [{token}, {choice}]"
        )


def mlp(x: Any, gate: Any, up: Any, down: Any, *, activation: str = "silu") -> Any:
    """The dense gated MLP: `(act(x @ gate.T) * (x @ up.T)) @ down.T`.

    Args:
      x: [T, D].
      gate: [I, D], as `x`.
      up: [I, D], as `x`.
      down: [D, I], as `x`.
      activation: silu, gelu (by erf), gelu_tanh, relu, relu2, identity.

    Returns:
      y: [T, D], element type of `x`.

    Raises:
      ShapeError: rank, size or element type of an array does not fit.
      ArgumentError: unknown activation, or an argument is no array.
      DeviceError: the arrays are not on one device, or it cannot be compiled for.
    """
    if type(x) is Traced:
        inputs = {"x": x, "gate": gate, "up": up, "down": down}
        return record("mlp", inputs, activation=activation)
    return _MLP((x, gate, up, down), (activation, _settings.planned_threads))


def _build_layer(arrays: Tuple[Any, ...], options: Tuple[Any, ...]) -> Tuple[Any, int]:
    names, top_k, activation, weighting, schedule, deterministic, eps, _ = options
    arguments = [describe(name, array) for name, array in zip(("x",) + names, arrays)]
    target = device(arguments)

    def call(x: Traced, *values: Traced) -> Any:
        return record(
            "layer",
            {"x": x, **dict(zip(names, values))},
            top_k=top_k,
            activation=activation,
            weighting=weighting,
            schedule=schedule,
            deterministic=deterministic,
            norm_eps=eps,
        )

    return _cache.program(call, "layer", arguments, target, schedule, bool(deterministic))


_LAYER = _cache.specialiser(_build_layer)


def layer(
    x: Any,
    params: Any,
    *,
    top_k: int,
    activation: str = "silu",
    weighting: str = "exp",
    schedule: str = "auto",
    deterministic: bool = False,
    norm_eps: float = 1e-5,
) -> Any:
    """A whole layer, as one compiled program: router, experts and shared MLP.

    With `lx = log_softmax(norm_x(x @ router_gate_x.T))`, `ly` likewise, the K
    experts of a token are those with the highest `lx[i] + ly[j]`; their weights
    are the exponential of that score, or its softmax over the chosen. The
    experts' sum is added to the MLP of `gate_proj`, `up_proj`, `down_proj`.

    Args:
      x: [T, D].
      params: mapping or object with the published module's names, the arrays
        in the element type of `x`: `gate_proj` [I, D], `up_proj` [I, D],
        `down_proj` [D, I], `router_gate_x` [R, D], `router_gate_y` [C, D],
        `up_embed` and `down_embed` [R*C, D] or [R*C, r, D]; optional norms
        `router_norm_x` [R], `router_norm_y` [C] with `running_mean`,
        `running_var` and, if they are affine, `weight` and `bias`. A state
        dict, a module and a plain dict all fit.
      top_k: K, from 1 to R*C.
      activation: silu, gelu (by erf), gelu_tanh, relu, relu2, identity.
      weighting: "exp", or "softmax" for weights that sum to 1.
      schedule: auto, token_centric, expert_centric, dense, hybrid.
      deterministic: bitwise equal results from run to run.
      norm_eps: what is added to the variance of a norm, unless `params` is an
        object whose norm has an `eps`.

    Returns:
      y: [T, D], element type of `x`.

    Raises:
      ShapeError: rank, size or element type of an array does not fit.
      ArgumentError: a parameter is missing, `top_k` is out of range, or a name
        is unknown.
      DeviceError: the arrays are not on one device, or it cannot be compiled for.
    """
    names, arrays = _params.find(params)
    eps = _params.norm_eps(params, norm_eps)
    if type(x) is Traced:
        return record(
            "layer",
            {"x": x, **dict(zip(names, arrays))},
            top_k=top_k,
            activation=activation,
            weighting=weighting,
            schedule=schedule,
            deterministic=deterministic,
            norm_eps=eps,
        )
    options = (names, top_k, activation, weighting, schedule, deterministic, eps)
    return _LAYER((x,) + arrays, options + (_settings.planned_threads,))


# Element-wise functions of a jitted function ---------------------------------


def _named(op: str) -> Any:
    def function(x: Any) -> Any:
        return unary(op, x)

    function.__name__ = function.__qualname__ = op
    function.__doc__ = f"`{op}` of each element of a value under `omnimoe.jit`."
    return function


exp, log, sqrt, tanh, erf = (_named(op) for op in ("exp", "log", "sqrt", "tanh", "erf"))
sigmoid, silu, gelu, gelu_tanh, relu, relu2 = (
    _named(op) for op in ("sigmoid", "silu", "gelu", "gelu_tanh", "relu", "relu2")
)


def maximum(x: Any, y: Any) -> Any:
    """The larger of each two elements of values under `omnimoe.jit`; NaN if
    either is."""
    return binary("maximum", x, y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of each two elements of values under `omnimoe.jit`; NaN if
    either is."""
    return binary("minimum", x, y)
