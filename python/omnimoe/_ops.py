"""The operations that a program may be made of.

Each has two sides: `infer` checks the arguments and says what comes out, which
is all that tracing needs; `emit` writes it into a module.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import _checks
from ._arrays import Argument
from ._build import Module, Value
from ._expr import ACTIVATIONS, Expr, apply


class Result(NamedTuple):
    dtype: str
    shape: Tuple[int, ...]


class Op(NamedTuple):
    """`infer(arguments, attributes)` and `emit(module, values, attributes)`.

    `tokens` are the names of the arguments whose leading size is T; the others
    are tables, whose leading size is static.
    """

    tokens: Tuple[str, ...]
    infer: Callable[[Dict[str, Argument], Dict[str, Any]], List[Result]]
    emit: Callable[[Module, Dict[str, Value], Dict[str, Any]], Sequence[Value]]


# route ---------------------------------------------------------------------


def _infer_route(a: Dict[str, Argument], attributes: Dict[str, Any]) -> List[Result]:
    _checks.route(a["row_logits"], a["col_logits"], attributes["top_k"])
    shape = (a["row_logits"].shape[0], attributes["top_k"])
    return [Result("float32", shape), Result("int32", shape)]


def _emit_route(module: Module, v: Dict[str, Value], attributes: Dict[str, Any]) -> Sequence[Value]:
    # f32 holds every f16 and bf16 exactly, so casting changes no choice.
    rows = module.cast(v["row_logits"], "f32")
    columns = module.cast(v["col_logits"], "f32")
    return module.route(rows, columns, attributes["top_k"])


# experts -------------------------------------------------------------------


def _infer_experts(a: Dict[str, Argument], attributes: Dict[str, Any]) -> List[Result]:
    _checks.options(attributes)
    _checks.experts(a["x"], a["up"], a["down"], a["weights"], a["experts"])
    return [Result(a["x"].dtype, a["x"].shape)]


def _routed(
    module: Module,
    tables: Tuple[Value, Value, Value],
    weights: Value,
    ids: Value,
    activation: str,
    onto: Value,
) -> Value:
    """Adds the experts' sum to `onto`: f32 [T, D]."""
    x, up, down = tables
    products = module.grouped_matmul(x, up, ids)
    gated = ACTIVATIONS[activation](products.element()) * weights.element(0, 1)
    coefficients = module.elementwise(gated, "f32", products.shape, "gated")
    return module.combine(coefficients, down, ids, onto)


def _emit_experts(
    module: Module, v: Dict[str, Value], attributes: Dict[str, Any]
) -> Sequence[Value]:
    x = v["x"]
    onto = module.fill(0.0, "f32", x.shape)
    tables = (x, v["up"], v["down"])
    y = _routed(module, tables, v["weights"], v["experts"], attributes["activation"], onto)
    return [module.cast(y, x.dtype)]


# gated_experts ---------------------------------------------------------------


def _infer_gated_experts(a: Dict[str, Argument], attributes: Dict[str, Any]) -> List[Result]:
    _checks.options(attributes)
    _checks.gated_experts(a["x"], a["gate"], a["up"], a["down"], a["weights"], a["experts"])
    return [Result(a["x"].dtype, a["x"].shape)]


def _emit_gated_experts(
    module: Module, v: Dict[str, Value], attributes: Dict[str, Any]
) -> Sequence[Value]:
    x, ids = v["x"], v["experts"]
    onto = module.fill(0.0, "f32", x.shape)
    gates = module.grouped_matmul(x, v["gate"], ids)
    ups = module.grouped_matmul(x, v["up"], ids)
    hidden = ACTIVATIONS[attributes["activation"]](gates.element()) * ups.element()
    weighted = hidden * v["weights"].element(0, 1)
    coefficients = module.elementwise(weighted, "f32", gates.shape, "gated")
    return [module.cast(module.combine(coefficients, v["down"], ids, onto), x.dtype)]


# mlp -----------------------------------------------------------------------


def _infer_mlp(a: Dict[str, Argument], attributes: Dict[str, Any]) -> List[Result]:
    _checks.options(attributes)
    _checks.mlp(a["x"], a["gate"], a["up"], a["down"])
    return [Result(a["x"].dtype, a["x"].shape)]


def _swiglu(module: Module, weights: Tuple[Value, ...], activation: str) -> Value:
    """`(act(x gate^T) * x up^T) down^T` in f32."""
    x, gate, up, down = weights
    gates, ups = module.linear(x, gate), module.linear(x, up)
    gated = ACTIVATIONS[activation](gates.element()) * ups.element()
    hidden = module.elementwise(gated, "f32", gates.shape, "hidden")
    return module.linear(hidden, down)


def _emit_mlp(module: Module, v: Dict[str, Value], attributes: Dict[str, Any]) -> Sequence[Value]:
    weights = (v["x"], v["gate"], v["up"], v["down"])
    y = _swiglu(module, weights, attributes["activation"])
    return [module.cast(y, v["x"].dtype)]


# layer ---------------------------------------------------------------------


def _infer_layer(a: Dict[str, Argument], attributes: Dict[str, Any]) -> List[Result]:
    _checks.options(attributes)
    _checks.layer(a, attributes["top_k"])
    return [Result(a["x"].dtype, a["x"].shape)]


def _normalised(
    module: Module, v: Dict[str, Value], logits: Value, norm: str, eps: float
) -> Value:
    """Batch normalisation of [T, R] with the statistics of training."""
    mean: Optional[Value] = v.get(f"{norm}.running_mean")
    if mean is None:
        return logits
    # Vectors of the norm are indexed by the second loop.
    deviation = apply("sqrt", v[f"{norm}.running_var"].element(1) + eps)
    scaled: Expr = (logits.element() - mean.element(1)) / deviation
    if f"{norm}.weight" in v:
        scaled = scaled * v[f"{norm}.weight"].element(1)
    if f"{norm}.bias" in v:
        scaled = scaled + v[f"{norm}.bias"].element(1)
    return module.elementwise(scaled, "f32", logits.shape, "normalised")


def _emit_layer(module: Module, v: Dict[str, Value], attributes: Dict[str, Any]) -> Sequence[Value]:
    x = v["x"]
    log_probabilities = []
    for axis in ("x", "y"):
        logits = module.linear(x, v[f"router_gate_{axis}"])
        logits = _normalised(module, v, logits, f"router_norm_{axis}", attributes["norm_eps"])
        log_probabilities.append(module.log_softmax(logits))
    scores, ids = module.route(log_probabilities[0], log_probabilities[1], attributes["top_k"])
    if attributes["weighting"] == "softmax":
        weights = module.softmax(scores)
    else:
        weights = module.elementwise(apply("exp", scores.element()), "f32", scores.shape, "weights")
    activation = attributes["activation"]
    tables = (x, v["up_embed"], v["down_embed"])
    zero = module.fill(0.0, "f32", x.shape)
    routed = module.cast(_routed(module, tables, weights, ids, activation, zero), x.dtype)
    shared = (x, v["gate_proj"], v["up_proj"], v["down_proj"])
    mlp = _swiglu(module, shared, activation)
    return [module.elementwise(mlp.element() + routed.element(), x.dtype, x.shape)]


OPS: Dict[str, Op] = {
    "route": Op(("row_logits", "col_logits"), _infer_route, _emit_route),
    "experts": Op(("x", "weights", "experts"), _infer_experts, _emit_experts),
    "gated_experts": Op(("x", "weights", "experts"), _infer_gated_experts, _emit_gated_experts),
    "mlp": Op(("x",), _infer_mlp, _emit_mlp),
    "layer": Op(("x",), _infer_layer, _emit_layer),
}
