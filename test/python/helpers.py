"""Inputs and comparisons that several tests share."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional

import ml_dtypes
import numpy as np

DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
TOLERANCE = {"f32": 1e-5, "f16": 4e-3, "bf16": 4e-3}
SCHEDULES = ("auto", "token_centric", "expert_centric", "dense", "hybrid")
ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu2", "identity")


def relative_error(result: Any, expected: np.ndarray) -> float:
    """||result - expected|| / ||expected||; 0 for two zeros."""
    result = np.asarray(result).astype(np.float64)
    assert result.shape == expected.shape
    size = np.linalg.norm(expected)
    difference = np.linalg.norm(result - expected)
    return float(difference / size) if size else float(difference)


def assert_close(result: Any, expected: np.ndarray, dtype: str) -> None:
    error = relative_error(result, expected)
    assert error < TOLERANCE[dtype], f"relative error {error:.2e} for {dtype}"


class Experts(NamedTuple):
    """Arguments of `omnimoe.experts`, in order."""

    x: np.ndarray
    up: np.ndarray
    down: np.ndarray
    weights: np.ndarray
    ids: np.ndarray


def normal(rng: np.random.Generator, shape: Any, dtype: str, scale: float = 1.0) -> np.ndarray:
    return (rng.standard_normal(shape) * scale).astype(DTYPES[dtype])


def make_experts(
    seed: int,
    tokens: int,
    hidden: int,
    count: int,
    top_k: int,
    *,
    width: Optional[int] = None,
    dtype: str = "f32",
    ids: str = "random",
) -> Experts:
    """Random arguments. `ids` is "random" (repeats possible), "one" (all tokens
    on one expert), or "wild" (some ids out of range)."""
    rng = np.random.default_rng(seed)
    table = (count, hidden) if width is None else (count, width, hidden)
    if ids == "one":
        chosen = np.full((tokens, top_k), rng.integers(count))
    elif ids == "wild":
        chosen = rng.choice(
            [-(2**31), -1, 0, count // 2, count - 1, count, count + 7, 2**31 - 1], (tokens, top_k)
        )
    else:
        chosen = rng.integers(0, count, (tokens, top_k))
    return Experts(
        normal(rng, (tokens, hidden), dtype),
        normal(rng, table, dtype, hidden**-0.5),
        normal(rng, table, dtype, hidden**-0.5),
        rng.random((tokens, top_k), np.float32) + np.float32(0.1),
        chosen.astype(np.int32),
    )


def make_layer(
    seed: int,
    hidden: int = 32,
    inner: int = 48,
    rows: int = 8,
    columns: int = 6,
    *,
    width: Optional[int] = None,
    dtype: str = "f32",
    norm: bool = True,
    affine: bool = False,
) -> Dict[str, np.ndarray]:
    """Random parameters of a layer, under the names of a plain mapping."""
    rng = np.random.default_rng(seed)
    count = rows * columns
    table = (count, hidden) if width is None else (count, width, hidden)
    scale = hidden**-0.5
    params = {
        "gate_proj": normal(rng, (inner, hidden), dtype, scale),
        "up_proj": normal(rng, (inner, hidden), dtype, scale),
        "down_proj": normal(rng, (hidden, inner), dtype, inner**-0.5),
        "router_gate_x": normal(rng, (rows, hidden), dtype, scale),
        "router_gate_y": normal(rng, (columns, hidden), dtype, scale),
        "up_embed": normal(rng, table, dtype, scale),
        "down_embed": normal(rng, table, dtype),
    }
    for axis, size in (("x", rows), ("y", columns)):
        if norm:
            params[f"router_norm_{axis}.running_mean"] = normal(rng, size, "f32", 0.1)
            params[f"router_norm_{axis}.running_var"] = rng.random(size, np.float32) + 0.5
        if norm and affine:
            params[f"router_norm_{axis}.weight"] = normal(rng, size, "f32") + 1
            params[f"router_norm_{axis}.bias"] = normal(rng, size, "f32", 0.1)
    return params
