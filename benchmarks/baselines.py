"""The layer written in NumPy and in torch, to check and to time against.

The NumPy functions compute in the type of their arguments, so that float64
arguments give the reference. `route_exact` is the definition of the router.
T tokens, D hidden, K experts per token, R x C grid, N = R * C.
"""

from typing import Tuple

import numpy as np

# Tokens worked on at once, to keep [T, K, D] and [T, N] intermediates small.
CHUNK = 256


def silu(values: np.ndarray) -> np.ndarray:
    return values / (1 + np.exp(-values))


def _grid_sums(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Scores of all N experts, [t, N]; NaN counts as minus infinity."""
    rows = np.where(np.isnan(rows), -np.inf, rows)
    columns = np.where(np.isnan(columns), -np.inf, columns)
    with np.errstate(invalid="ignore"):
        sums = rows[:, :, None] + columns[:, None, :]
    sums = np.where(np.isnan(sums), -np.inf, sums)
    return sums.reshape(len(rows), -1)


def route_numpy(rows: np.ndarray, columns: np.ndarray, top_k: int) -> Tuple[np.ndarray, np.ndarray]:
    """The usual way in NumPy: all sums, a partition, a sort of the K best."""
    scores = np.empty((len(rows), top_k), rows.dtype)
    experts = np.empty((len(rows), top_k), np.int32)
    for begin in range(0, len(rows), CHUNK):
        here = slice(begin, begin + CHUNK)
        sums = _grid_sums(rows[here], columns[here])
        best = np.argpartition(-sums, top_k - 1, axis=1)[:, :top_k]
        values = np.take_along_axis(sums, best, 1)
        order = np.argsort(-values, axis=1)
        experts[here] = np.take_along_axis(best, order, 1)
        scores[here] = np.take_along_axis(values, order, 1)
    return scores, experts


def route_exact(rows: np.ndarray, columns: np.ndarray, top_k: int) -> Tuple[np.ndarray, np.ndarray]:
    """The router as defined: highest sum first, lower id first among equal
    ones, except that no pair comes before one whose row and column rank above."""
    scores = np.empty((len(rows), top_k), rows.dtype)
    experts = np.empty((len(rows), top_k), np.int32)
    for begin in range(0, len(rows), CHUNK):
        here = slice(begin, begin + CHUNK)
        sums = _grid_sums(rows[here], columns[here])
        last = np.partition(sums, -top_k, axis=1)[:, -top_k]
        for token, winners in enumerate(sums >= last[:, None]):
            ids = np.flatnonzero(winners)
            ids = ids[np.argsort(-sums[token, ids], kind="stable")]
            values = sums[token, ids]
            # Only where sums are equal does the order ask for more.
            if (values[1:] == values[:-1]).any():
                ids = _untie(ids, sums[token], rows[begin + token], columns[begin + token])
            scores[begin + token], experts[begin + token] = values[:top_k], ids[:top_k]
    return scores, experts


def _untie(
    candidates: np.ndarray, sums: np.ndarray, row: np.ndarray, column: np.ndarray
) -> np.ndarray:
    """Orders experts where equal sums occur: one goes as late as the largest id
    among itself and those of its sum that rank above it in row and column."""
    row_rank = np.argsort(np.argsort(-row, kind="stable"), kind="stable")
    column_rank = np.argsort(np.argsort(-column, kind="stable"), kind="stable")
    a, b = row_rank[candidates // len(column)], column_rank[candidates % len(column)]
    above = (a[None, :] <= a[:, None]) & (b[None, :] <= b[:, None])
    above &= sums[candidates][None, :] == sums[candidates][:, None]
    latest = np.where(above, candidates[None, :], -1).max(1)
    return candidates[np.lexsort((b, a, latest, -sums[candidates]))]


def experts_numpy(
    x: np.ndarray, up: np.ndarray, down: np.ndarray, weights: np.ndarray, experts: np.ndarray
) -> np.ndarray:
    """Routed atomic experts with silu, [T, D]."""
    result = np.empty_like(x)
    for begin in range(0, len(x), CHUNK):
        here = slice(begin, begin + CHUNK)
        products = np.matmul(up[experts[here]], x[here][:, :, None])[:, :, 0]
        coefficients = silu(products) * weights[here]
        result[here] = np.matmul(coefficients[:, None, :], down[experts[here]])[:, 0, :]
    return result


def mlp_numpy(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Shared SwiGLU MLP: gate and up [I, D], down [D, I]."""
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


def relative_error(result: np.ndarray, reference: np.ndarray) -> float:
    """||result - reference|| / ||reference||, in float64."""
    reference = np.asarray(reference, np.float64)
    difference = np.linalg.norm(np.asarray(result, np.float64) - reference)
    return float(difference / np.linalg.norm(reference))


# ------------------------------------------------------------------------------
# torch, eager. The callers have it imported and hold it in inference mode.
# ------------------------------------------------------------------------------


def route_torch(rows, columns, top_k: int):
    """Top-k of each axis, then top-k of the k x k sums."""
    row_scores, row_ids = rows.topk(min(top_k, rows.shape[1]), dim=-1)
    column_scores, column_ids = columns.topk(min(top_k, columns.shape[1]), dim=-1)
    width = column_scores.shape[1]
    sums = (row_scores[:, :, None] + column_scores[:, None, :]).flatten(1)
    scores, flat = sums.topk(top_k, dim=-1)
    experts = row_ids.gather(1, flat // width) * columns.shape[1] + column_ids.gather(
        1, flat % width
    )
    return scores, experts


def experts_torch(x, up, down, weights, experts):
    """Gather the vectors of every choice, then two einsums. Ids are int64."""
    import torch

    functional = torch.nn.functional
    products = torch.einsum("td,tkd->tk", x, functional.embedding(experts, up))
    coefficients = functional.silu(products) * weights
    return torch.einsum("tk,tkd->td", coefficients, functional.embedding(experts, down))


def mlp_torch(x, gate, up, down):
    """Shared SwiGLU MLP."""
    from torch.nn import functional

    hidden = functional.silu(functional.linear(x, gate)) * functional.linear(x, up)
    return functional.linear(hidden, down)
