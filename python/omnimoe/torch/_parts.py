"""Parts that the modules share."""

from __future__ import annotations

import math
from typing import Dict, NamedTuple, Optional

import torch
from torch import nn

from .._names import check_name
from ..errors import ArgumentError, ShapeError

#: transformers' names of activations, and ours.
_ACTIVATIONS: Dict[str, str] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "linear": "identity",
    "identity": "identity",
}


class Routing(NamedTuple):
    """What a router decided for T tokens.

    Attributes:
      row_log_probs: float32 [T, R].
      col_log_probs: float32 [T, C].
      scores: float32 [T, K], the chosen experts' log-probabilities.
      experts: int32 [T, K], the chosen experts.
      weights: float32 [T, K], the experts' weights.
    """

    row_log_probs: torch.Tensor
    col_log_probs: torch.Tensor
    scores: torch.Tensor
    experts: torch.Tensor
    weights: torch.Tensor


class ExpertVectors(nn.Embedding):
    """One matrix of `width` rows an expert: a weight of [N, width, D].

    For width 1 the modules have a plain `nn.Embedding` of [N, D], as the
    published ones do. It is a subclass so that what sets up embeddings of a
    model (initialisation, weight decay) meets this one too.
    """

    def __init__(self, num_experts: int, width: int, hidden_size: int) -> None:
        super().__init__(num_experts, hidden_size)
        self.width = width
        self.weight = nn.Parameter(torch.empty(num_experts, width, hidden_size))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[...] -> [..., width, D]."""
        return self.weight[ids]

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.width}, {self.embedding_dim}"


def expert_vectors(num_experts: int, width: int, hidden_size: int) -> nn.Embedding:
    """A table of expert vectors, [N, D] or [N, width, D]."""
    if width == 1:
        return nn.Embedding(num_experts, hidden_size)
    return ExpertVectors(num_experts, width, hidden_size)


def activation_name(hidden_act: str) -> str:
    """Our name of an activation that has the name of transformers' `ACT2FN`."""
    check_name("hidden_act", hidden_act, tuple(_ACTIVATIONS))
    return _ACTIVATIONS[hidden_act]


def positive(**sizes: int) -> None:
    """Each of `sizes` is an integer of at least 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ArgumentError(f"{name}: expected an integer of at least 1, got {size!r}")


def tokens(hidden_states: torch.Tensor, hidden_size: int) -> torch.Tensor:
    """[..., D] as [T, D]. Raises ShapeError if the last size is another."""
    if hidden_states.shape[-1:] != (hidden_size,):
        raise ShapeError(
            f"hidden_states: expected [..., {hidden_size}], got {list(hidden_states.shape)}"
        )
    return hidden_states.reshape(-1, hidden_size)


def normal(weight: torch.Tensor, fan_in: float, std: Optional[float]) -> None:
    """Fills `weight` from a normal distribution: of deviation `std` or, if that
    is None, of variance 1 / fan_in."""
    nn.init.normal_(weight, std=fan_in**-0.5 if std is None else std)


def batch_norm(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """`norm` of float32 [T, n], in float32.

    In training it normalises by the batch's own statistics, as nn.BatchNorm1d,
    and moves the running ones; these may be of a shorter type than float32,
    which torch's own does not take.
    """
    if not isinstance(norm, nn.BatchNorm1d) or norm.running_mean is None:
        return norm(x)
    if norm.running_mean.dtype == torch.float32:
        return norm(x)
    if not norm.training:
        return (x - norm.running_mean.float()) * (norm.running_var.float() + norm.eps).rsqrt()
    variance, mean = torch.var_mean(x, 0, correction=0)
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        rate = norm.momentum
        if rate is None:  # the mean over all batches
            rate = 1.0 / norm.num_batches_tracked.float()
        count = x.shape[0]
        _move(norm.running_mean, mean, rate)
        _move(norm.running_var, variance * (count / max(count - 1, 1)), rate)
    return (x - mean) * (variance + norm.eps).rsqrt()


def _move(running: torch.Tensor, value: torch.Tensor, rate: object) -> None:
    running.copy_(running.float() + (value - running.float()) * rate)


def square_side(num_experts: int) -> int:
    """Rows, and columns, of the grid of the published modules."""
    return math.isqrt(num_experts)
