"""Feed-forward layers of four kinds with equal active parameters.

Active parameters are those that one token's computation reads: all of a dense
layer, and of a mixture the router, the shared part and the chosen experts.
`make(kind, D, I)` sizes each kind so that it has as many as a SwiGLU layer with
I hidden units: 3 * D * I, up to rounding.
"""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import nn

import omnimoe.torch
from omnimoe.torch import OmniMoE, OmniMoEConfig


class Layer(NamedTuple):
    """A feed-forward layer, and the parameters of it that one token reads."""

    module: nn.Module
    active: int


class SwiGLU(nn.Module):
    """The dense gated MLP, [..., D] -> [..., D]."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden, inner, bias=False)
        self.up = nn.Linear(hidden, inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class CoarseMoE(nn.Module):
    """A few SwiGLU experts, the best `top_k` of them for each token, weighted by
    the softmax of their logits; as in Mixtral (arXiv 2401.04088)."""

    def __init__(self, hidden: int, inner: int, count: int, top_k: int) -> None:
        super().__init__()
        self.router = nn.Linear(hidden, count, bias=False)
        self.experts = nn.ModuleList(SwiGLU(hidden, inner) for _ in range(count))
        self.top_k = top_k
        self.auxiliary_loss: torch.Tensor = torch.zeros(())

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        x = hidden_states.flatten(0, -2)
        logits = self.router(x)
        best, chosen = logits.topk(self.top_k, dim=-1)
        weights = best.softmax(dim=-1)
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            tokens, place = torch.where(chosen == number)
            y = y.index_add(0, tokens, weights[tokens, place, None] * expert(x[tokens]))
        if self.training:
            self.auxiliary_loss = self._balance(logits, chosen)
        return y.reshape(hidden_states.shape)

    def _balance(self, logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The loss of Switch Transformer (arXiv 2101.03961), 1 if balanced."""
        count = logits.shape[-1]
        fractions = omnimoe.torch.usage(chosen, count) / chosen.numel()
        return count * (fractions * logits.softmax(dim=-1).mean(0)).sum()


class PEER(nn.Module):
    """Single-neuron experts retrieved by product keys, without a shared MLP; as
    in "Mixture of A Million Experts" (arXiv 2407.04153): several heads, each with
    a query whose halves meet one set of keys each, batch norm on the queries,
    weights by softmax over a head's chosen experts."""

    def __init__(self, hidden: int, side: int, heads: int, query: int, top_k: int) -> None:
        super().__init__()
        self.heads, self.half, self.top_k = heads, query // 2, top_k
        self.query = nn.Linear(hidden, heads * query, bias=False)
        self.norm = nn.BatchNorm1d(heads * query)
        self.keys = nn.Parameter(torch.randn(2, side, self.half) * self.half**-0.5)
        self.up_embed = nn.Embedding(side * side, hidden)
        self.down_embed = nn.Embedding(side * side, hidden)
        nn.init.normal_(self.up_embed.weight, std=hidden**-0.5)
        nn.init.normal_(self.down_embed.weight, std=1.0)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        x = hidden_states.flatten(0, -2)
        queries = self.norm(self.query(x)).reshape(-1, 2, self.half)
        rows, columns = (queries[:, i] @ self.keys[i].T for i in range(2))
        scores, chosen = omnimoe.torch.route(rows, columns, self.top_k)
        weights = scores.softmax(dim=-1)
        per_token = (len(x), self.heads * self.top_k)
        y = omnimoe.torch.experts(
            x,
            self.up_embed.weight,
            self.down_embed.weight,
            weights.reshape(per_token),
            chosen.reshape(per_token),
            activation="gelu",
        )
        return y.reshape(hidden_states.shape)


def _grid(inner: int) -> Tuple[int, int]:
    """Rows (and columns) of the grid of experts, and experts a token, for the
    size of the dense layer that a mixture takes the place of."""
    return max(inner // 6, 2), max(inner // 3, 1)


def _dense(hidden: int, inner: int) -> Layer:
    return Layer(SwiGLU(hidden, inner), 3 * hidden * inner)


def _coarse(hidden: int, inner: int) -> Layer:
    count, top_k = 8, 2
    width = round((3 * inner - count) / (3 * top_k))
    module = CoarseMoE(hidden, width, count, top_k)
    return Layer(module, hidden * (count + 3 * top_k * width))


def _omnimoe(hidden: int, inner: int) -> Layer:
    # For I = 384: a grid of 64 x 64, 128 experts a token, 256 shared hidden units.
    side, top_k = _grid(inner)
    shared = round((3 * inner - 2 * side - 2 * top_k) / 3)
    config = OmniMoEConfig(
        hidden,
        shared,
        "silu",
        side * side,
        top_k,
        weighting="softmax",
        balance_coefficient=1.0,
        count_usage=True,
    )
    return Layer(OmniMoE(config), hidden * (3 * shared + 2 * side + 2 * top_k))


def _peer(hidden: int, inner: int) -> Layer:
    side, heads, query = _grid(inner)[0], 4, 32
    keys = 2 * side * (query // 2)
    top_k = max(round((3 * inner - heads * query - keys / hidden) / (2 * heads)), 1)
    module = PEER(hidden, side, heads, query, top_k)
    return Layer(module, hidden * (heads * query + 2 * heads * top_k) + keys)


_MAKERS: Dict[str, Callable[[int, int], Layer]] = {
    "omnimoe": _omnimoe,
    "dense": _dense,
    "peer": _peer,
    "coarse": _coarse,
}
KINDS: List[str] = list(_MAKERS)


def make(kind: str, hidden: int, inner: int) -> Layer:
    """A layer of `kind` with the active parameters of SwiGLU(hidden, inner)."""
    return _MAKERS[kind](hidden, inner)
