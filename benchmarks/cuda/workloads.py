"""Inputs on the GPU: random tokens and tables, and the router's own choice.

Every set of a workload has tokens and tables of its own, so that a call finds in
the cache what a layer of a model would, after the layers before it.
"""

from dataclasses import dataclass
from typing import List, Tuple

import torch

from .. import baselines
from ..measure import Work
from ..workloads import Experts

DTYPE = torch.bfloat16

# Sets of a workload, and bytes that they may take together.
MOST_SETS = 4
MOST_BYTES = 10e9

# Tokens routed at once, to keep [t, R * C] small.
CHUNK = 256


@dataclass(frozen=True)
class ExpertSet:
    """The arguments of `omnimoe.experts` in one set."""

    x: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor
    weights: torch.Tensor
    ids: torch.Tensor

    @property
    def arguments(self) -> Tuple[torch.Tensor, ...]:
        return self.x, self.up, self.down, self.weights, self.ids


@dataclass(frozen=True)
class WideExperts:
    """N experts of width r, with a gate or without, K of them a token."""

    tokens: int
    hidden: int
    count: int
    width: int
    top_k: int
    gated: bool = True

    def __str__(self) -> str:
        kind = "gated" if self.gated else "plain"
        return f"T={self.tokens} N={self.count} r={self.width} K={self.top_k} {kind}"


def _normal(generator: torch.Generator, *shape: int, scale: float = 1.0) -> torch.Tensor:
    values = torch.randn(shape, generator=generator, device="cuda", dtype=torch.float32)
    return values.mul_(scale)


def _table(generator: torch.Generator, rows: int, hidden: int, scale: float) -> torch.Tensor:
    """[rows, hidden] in pieces, so that float32 is never held whole."""
    table = torch.empty(rows, hidden, dtype=DTYPE, device="cuda")
    for part in table.split(1 << 16):
        part.copy_(_normal(generator, *part.shape, scale=scale))
    return table


def generator(seed: int) -> torch.Generator:
    return torch.Generator("cuda").manual_seed(seed)


def route_sets(shape: Experts) -> List[Tuple[torch.Tensor, torch.Tensor]]:
    """Row and column logits of each set, float32."""
    made = generator(3)
    return [
        (_normal(made, shape.tokens, shape.rows), _normal(made, shape.tokens, shape.columns))
        for _ in range(MOST_SETS)
    ]


def expert_sets(shape: Experts) -> List[ExpertSet]:
    """Logits are linear in the tokens, as a layer's are, and routing weights are
    the softmax of the K scores."""
    made = generator(17)
    scale = shape.hidden**-0.5
    bytes_each = 2 * DTYPE.itemsize * (shape.count + shape.tokens) * shape.hidden
    bytes_each += 8 * shape.tokens * shape.top_k
    sets = []
    for _ in range(max(1, min(MOST_SETS, int(MOST_BYTES / bytes_each)))):
        x = _normal(made, shape.tokens, shape.hidden)
        gates = [_normal(made, shape.hidden, n, scale=scale) for n in (shape.rows, shape.columns)]
        scores, ids = choose(x @ gates[0], x @ gates[1], shape.top_k)
        up = _table(made, shape.count, shape.hidden, scale)
        down = _table(made, shape.count, shape.hidden, 1.0)
        sets.append(ExpertSet(x.to(DTYPE), up, down, scores.softmax(1), ids))
    return sets


def choose(rows: torch.Tensor, columns: torch.Tensor, top_k: int) -> Tuple[torch.Tensor, ...]:
    """Scores and int32 ids of the best K sums of each token."""
    parts = [
        baselines.route_torch(*part, top_k)
        for part in zip(rows.split(CHUNK), columns.split(CHUNK))
    ]
    scores, ids = (torch.cat(each) for each in zip(*parts))
    return scores, ids.int()


def expert_work(given: ExpertSet) -> Work:
    """What no schedule can avoid: tokens in and out, ids and weights, every
    vector of a chosen expert once; 4 D flops a pair."""
    hidden = given.x.shape[1]
    used = int(given.ids.unique().numel())
    moved = 2 * given.x.nbytes + given.weights.nbytes + given.ids.nbytes
    moved += 2 * used * hidden * given.up.element_size()
    return Work(moved, 4.0 * given.ids.numel() * hidden)


def streamed_bytes(given: ExpertSet) -> float:
    """What a token-centric schedule reads of the tables: two vectors a pair."""
    return 2.0 * given.ids.numel() * given.x.shape[1] * given.up.element_size()


def wide_expert_sets(shape: WideExperts) -> List[tuple]:
    """x, gate (or None), up, down, weights and ids of each set. Logits are linear
    in the tokens, and routing weights the softmax of the K best."""
    made = generator(37)
    rows, scale = shape.count * shape.width, shape.hidden**-0.5
    tables = 2 + shape.gated
    bytes_each = DTYPE.itemsize * (tables * rows + shape.tokens) * shape.hidden

    def table(scale: float) -> torch.Tensor:
        return _table(made, rows, shape.hidden, scale).view(shape.count, shape.width, -1)

    sets = []
    for _ in range(max(1, min(MOST_SETS, int(MOST_BYTES / bytes_each)))):
        x = _normal(made, shape.tokens, shape.hidden)
        router = _normal(made, shape.hidden, shape.count, scale=scale)
        scores, ids = (x @ router).topk(shape.top_k)
        gate = table(scale) if shape.gated else None
        up, down = table(scale), table(shape.width**-0.5)
        sets.append((x.to(DTYPE), gate, up, down, scores.softmax(1), ids.int()))
    return sets


def wide_expert_work(shape: WideExperts, given: tuple) -> Work:
    """Tokens in and out, ids and weights, every vector of a chosen expert once."""
    x, _, up, _, weights, ids = given
    tables = 2 + shape.gated
    vectors = tables * int(ids.unique().numel()) * shape.width
    moved = 2 * x.nbytes + weights.nbytes + ids.nbytes
    moved += vectors * shape.hidden * up.element_size()
    return Work(moved, 2.0 * tables * ids.numel() * shape.width * shape.hidden)


def mlp_sets(tokens: int, hidden: int, inner: int) -> List[Tuple[torch.Tensor, ...]]:
    """x, gate, up [I, D] and down [D, I] of each set."""
    made = generator(29)
    return [
        (
            _normal(made, tokens, hidden).to(DTYPE),
            _table(made, inner, hidden, hidden**-0.5),
            _table(made, inner, hidden, hidden**-0.5),
            _table(made, hidden, inner, inner**-0.5),
        )
        for _ in range(MOST_SETS)
    ]


def product_sets(rows: int, columns: int, summed: int) -> List[Tuple[torch.Tensor, ...]]:
    """Matrices [rows, summed] and [columns, summed] of each set."""
    made = generator(37)
    return [
        (_table(made, rows, summed, 1.0), _table(made, columns, summed, summed**-0.5))
        for _ in range(MOST_SETS)
    ]


def picked_rows(sets: int, count: int, rows: int) -> List[torch.Tensor]:
    """Random rows of a matrix of `rows` for each set, int32, in no order."""
    made = generator(41)
    shape = {"size": (count,), "generator": made, "device": "cuda", "dtype": torch.int32}
    return [torch.randint(rows, **shape) for _ in range(sets)]


def layer_sets(shape: Experts, inner: int) -> List[tuple]:
    """x and the parameters of a layer, under the names `omnimoe.layer` takes."""
    made = generator(31)
    scale = shape.hidden**-0.5
    sets = []
    for _ in range(MOST_SETS):
        params = {
            "router_gate_x": _table(made, shape.rows, shape.hidden, scale),
            "router_gate_y": _table(made, shape.columns, shape.hidden, scale),
            "up_embed": _table(made, shape.count, shape.hidden, scale),
            "down_embed": _table(made, shape.count, shape.hidden, 1.0),
            "gate_proj": _table(made, inner, shape.hidden, scale),
            "up_proj": _table(made, inner, shape.hidden, scale),
            "down_proj": _table(made, shape.hidden, inner, inner**-0.5),
        }
        sets.append((_normal(made, shape.tokens, shape.hidden).to(DTYPE), params))
    return sets
