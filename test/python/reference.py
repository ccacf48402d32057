"""The layer in plain NumPy, in float64, written for clarity alone.

Nothing here is shared with the package under test: it is the other opinion.
"""

from __future__ import annotations

import math
from typing import Mapping, Optional, Tuple

import numpy as np


def route(rows: np.ndarray, columns: np.ndarray, top_k: int) -> Tuple[np.ndarray, np.ndarray]:
    """Scores and ids of the top K pairs of each token, by the exact rule.

    Sums are float32. Pairs are ordered by (sum descending, the largest id among
    itself and the pairs of equal sum that dominate it in (row rank, column
    rank), row rank, column rank); ranks order logits descending, the lower
    index first; NaN counts as minus infinity.
    """
    tokens = rows.shape[0]
    scores = np.empty((tokens, top_k), np.float32)
    experts = np.empty((tokens, top_k), np.int32)
    for t in range(tokens):
        order = _ordered_pairs(_clean(rows[t]), _clean(columns[t]))
        sums = _sums(_clean(rows[t]), _clean(columns[t])).ravel()
        experts[t] = order[:top_k]
        scores[t] = sums[order[:top_k]]
    return scores, experts


def _clean(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float32)
    return np.where(np.isnan(logits), np.float32(-np.inf), logits)


def _sums(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return _clean(row[:, None] + column[None, :])


def _ranks(logits: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(logits), np.int64)
    ranks[np.argsort(-logits, kind="stable")] = np.arange(len(logits))
    return ranks


def _ordered_pairs(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """All ids of one token's grid, best first."""
    sums = _sums(row, column).ravel()
    count = len(sums)
    row_ranks = np.repeat(_ranks(row), len(column))
    column_ranks = np.tile(_ranks(column), len(row))
    key = np.arange(count)
    values, group, sizes = np.unique(sums, return_inverse=True, return_counts=True)
    del values
    for tied in np.flatnonzero(sizes > 1):
        ids = np.flatnonzero(group.ravel() == tied)
        for e in ids:
            dominating = (row_ranks[ids] <= row_ranks[e]) & (column_ranks[ids] <= column_ranks[e])
            key[e] = ids[dominating].max()
    return np.lexsort((column_ranks, row_ranks, key, -sums))


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def activate(name: str, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    with np.errstate(over="ignore"):
        if name == "silu":
            return x / (1 + np.exp(-x))
        if name == "gelu":
            return x * (1 + _erf(x / np.sqrt(2))) / 2
        if name == "gelu_tanh":
            return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
        if name == "relu":
            return np.maximum(x, 0)
        if name == "relu2":
            return np.maximum(x, 0) ** 2
    assert name == "identity"
    return x


def experts(
    x: np.ndarray,
    up: np.ndarray,
    down: np.ndarray,
    weights: np.ndarray,
    ids: np.ndarray,
    activation: str = "silu",
    gate: Optional[np.ndarray] = None,
) -> np.ndarray:
    """The weighted sum of the chosen experts; ids outside [0, N) add nothing.
    With a gate, experts are gated MLPs."""
    hidden = x.shape[1]
    x, weights = x.astype(np.float64), weights.astype(np.float64)
    up = up.astype(np.float64).reshape(up.shape[0], -1, hidden)
    down = down.astype(np.float64).reshape(down.shape[0], -1, hidden)
    if gate is not None:
        gate = gate.astype(np.float64).reshape(up.shape)
    y = np.zeros_like(x)
    for t, k in np.ndindex(*ids.shape):
        expert = ids[t, k]
        if 0 <= expert < len(up):
            products = up[expert] @ x[t]
            if gate is None:
                hidden_units = activate(activation, products)
            else:
                hidden_units = activate(activation, gate[expert] @ x[t]) * products
            y[t] += weights[t, k] * (hidden_units @ down[expert])
    return y


def mlp(
    x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, activation: str = "silu"
) -> np.ndarray:
    x, gate, up, down = (a.astype(np.float64) for a in (x, gate, up, down))
    return (activate(activation, x @ gate.T) * (x @ up.T)) @ down.T


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def router(
    x: np.ndarray, params: Mapping[str, np.ndarray], eps: float = 1e-5
) -> Tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of rows and columns, in float64."""
    both = []
    for axis in ("x", "y"):
        logits = x.astype(np.float64) @ params[f"router_gate_{axis}"].astype(np.float64).T
        norm = f"router_norm_{axis}"
        if f"{norm}.running_mean" in params:
            mean = params[f"{norm}.running_mean"].astype(np.float64)
            variance = params[f"{norm}.running_var"].astype(np.float64)
            logits = (logits - mean) / np.sqrt(variance + eps)
            if f"{norm}.weight" in params:
                logits = logits * params[f"{norm}.weight"].astype(np.float64)
            if f"{norm}.bias" in params:
                logits = logits + params[f"{norm}.bias"].astype(np.float64)
        both.append(log_softmax(logits))
    return both[0], both[1]


def layer(
    x: np.ndarray,
    params: Mapping[str, np.ndarray],
    top_k: int,
    activation: str = "silu",
    weighting: str = "exp",
    eps: float = 1e-5,
) -> Tuple[np.ndarray, np.ndarray]:
    """The layer's result, and per token the gap between the K-th and the next
    score: where it is tiny, rounding may choose another expert."""
    rows, columns = router(x, params, eps)
    count = rows.shape[1] * columns.shape[1]
    sums = (rows[:, :, None] + columns[:, None, :]).reshape(len(x), count)
    order = np.argsort(-sums, axis=1, kind="stable")
    best = np.take_along_axis(sums, order, axis=1)
    gap = best[:, top_k - 1] - best[:, top_k] if sums.shape[1] > top_k else np.full(len(x), np.inf)
    ids, scores = order[:, :top_k], best[:, :top_k]
    weights = np.exp(scores)
    if weighting == "softmax":
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
    routed = experts(x, params["up_embed"], params["down_embed"], weights, ids, activation)
    shared = mlp(x, params["gate_proj"], params["up_proj"], params["down_proj"], activation)
    return routed + shared, gap
