"""What the example measures: times, errors, and how the experts are used."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List

import numpy as np

import omnimoe

from benchmarks import baselines
from benchmarks.measure import Times

from . import model
from .device import CPU

# Two scores of a token that lie closer than this in float64 may change places
# in float32; the layer's error is taken over the other tokens.
UNDECIDED = 1e-5


@dataclass(frozen=True)
class Part:
    """One part of the layer: the times of each library, and ours' error
    against float64 (for the router: the share of experts chosen otherwise)."""

    name: str
    times: Times
    error: float


@dataclass(frozen=True)
class Measurements:
    parts: List[Part]
    decided: int
    load: np.ndarray


def measure_parts(
    program: Callable[..., Any],
    x: np.ndarray,
    params: model.Parameters,
    sizes: model.Sizes,
    device: CPU,
) -> Measurements:
    """Times every part of the layer on `x` in each library, taking turns, and
    checks ours against float64. `program` is the layer compiled for `device`."""
    numpy = model.numpy_library()
    rows, columns = model.router_logits(numpy, x, params)
    found = omnimoe.route(device.put(rows), device.put(columns), sizes.top_k)
    scores, chosen = map(device.get, found)
    weights = numpy.softmax(scores)
    arguments = {
        "router": (rows, columns),
        "experts": (x, params["up_embed"], params["down_embed"], weights, chosen),
        "MLP": (x, params["gate_proj"], params["up_proj"], params["down_proj"]),
    }
    results = _exact_results(arguments, x, params, sizes)
    parts = []
    for name, runs in _candidates(program, arguments, x, params, sizes, device).items():
        out = runs["omnimoe"]()
        out = tuple(map(device.get, out)) if isinstance(out, tuple) else device.get(out)
        parts.append(Part(name, device.time(runs), results[name](out)))
    decided = results["decided"]
    load = np.bincount(chosen.ravel(), minlength=sizes.experts)
    return Measurements(parts, int(decided.sum()), load)


def _candidates(
    program: Callable[..., Any],
    arguments: Dict[str, tuple],
    x: np.ndarray,
    params: model.Parameters,
    sizes: model.Sizes,
    device: CPU,
) -> Dict[str, Dict[str, Callable[[], Any]]]:
    """For each part, what each library calls."""
    ours = {name: tuple(map(device.put, arrays)) for name, arrays in arguments.items()}
    tables = {name: device.put(array) for name, array in params.items()}
    tokens = device.put(x)
    found: Dict[str, Dict[str, Callable[[], Any]]] = {
        "router": {"omnimoe": lambda: omnimoe.route(*ours["router"], sizes.top_k)},
        "experts": {"omnimoe": lambda: omnimoe.experts(*ours["experts"])},
        "MLP": {"omnimoe": lambda: omnimoe.mlp(*ours["MLP"])},
        "layer": {"omnimoe": lambda: program(tokens, *tables.values())},
    }
    _add_library(found, "NumPy", model.numpy_library(), arguments, x, params, sizes)
    if device.torch is not None:
        tensors = {name: tuple(map(device.tensor, arrays)) for name, arrays in ours.items()}
        # torch indexes with int64.
        tensors["experts"] = (*tensors["experts"][:-1], tensors["experts"][-1].long())
        weights = {name: device.tensor(table) for name, table in tables.items()}
        library = model.torch_library(device.torch)
        _add_library(found, "torch", library, tensors, device.tensor(tokens), weights, sizes)
    return found


def _add_library(
    found: Dict[str, Dict[str, Callable[[], Any]]],
    name: str,
    library: model.Library,
    arguments: Dict[str, tuple],
    x: Any,
    params: Dict[str, Any],
    sizes: model.Sizes,
) -> None:
    found["router"][name] = lambda: library.route(*arguments["router"], sizes.top_k)
    found["experts"][name] = lambda: library.experts(*arguments["experts"])
    found["MLP"][name] = lambda: library.mlp(*arguments["MLP"])
    found["layer"][name] = lambda: model.run_layer(library, x, params, sizes.top_k)


def _exact_results(
    arguments: Dict[str, tuple], x: np.ndarray, params: model.Parameters, sizes: model.Sizes
) -> Dict[str, Any]:
    """For each part a function from our result to its error; "decided" marks the
    tokens whose experts float32 and float64 must agree on."""
    exact = model.numpy_library(exact=True)

    def widen(arrays: tuple) -> tuple:
        return tuple(a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays)

    expected_experts = baselines.route_exact(*arguments["router"], sizes.top_k)[1]
    experts = exact.experts(*widen(arguments["experts"]))
    mlp = exact.mlp(*widen(arguments["MLP"]))

    wide_x = x.astype(np.float64)
    wide = {name: array.astype(np.float64) for name, array in params.items()}
    logits = model.router_logits(exact, wide_x, wide)
    scores, chosen = exact.route(*logits, sizes.top_k + 1)
    decided = scores[:, -2] - scores[:, -1] > UNDECIDED
    scores, chosen = scores[:, :-1], chosen[:, :-1]
    routed = exact.experts(
        wide_x, wide["up_embed"], wide["down_embed"], exact.softmax(scores), chosen
    )
    layer = (routed + mlp)[decided]
    return {
        "router": lambda out: float((out[1] != expected_experts).mean()),
        "experts": lambda out: baselines.relative_error(out, experts),
        "MLP": lambda out: baselines.relative_error(out, mlp),
        "layer": lambda out: baselines.relative_error(out[decided], layer),
        "decided": decided,
    }
