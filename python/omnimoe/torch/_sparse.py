"""Gradients of the tables of expert vectors as sparse tensors, with a row for each
expert that the batch chose."""

from __future__ import annotations

from typing import Any, Sequence, Tuple

import torch

from .. import _settings
from . import _differentiate
from ._autograd import Forward, spread

#: The arguments that have a row for every expert.
_TABLES = ("gate", "up", "down")


def touched(experts: torch.Tensor, count: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """The experts of [0, count) that pairs name, in ascending order, and of each
    pair the place of its expert among them; -1 where the id is out of range."""
    valid = (experts >= 0) & (experts < count)
    ids = torch.where(valid, experts, count).long()
    named = torch.zeros(count + 1, dtype=torch.bool, device=experts.device)
    named.index_fill_(0, ids.flatten(), True)
    named[count] = False
    place = torch.cumsum(named, 0, dtype=torch.int32) - 1
    place[count] = -1
    return named.nonzero().flatten(), place[ids]


def _rows(needed: int, count: int) -> int:
    """Rows of the compiled gradient: few different numbers, for few programs."""
    return min(count, 1 << max(needed - 1, 0).bit_length())


class SparseForward(Forward):
    """`Forward` whose backward gives sparse gradients of the tables."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        needed = ctx.needs_input_grad[3:]
        wrt = tuple(i for i, flag in enumerate(needed) if flag)
        tensors, saved, given = ctx.operation.kept_by(ctx, cotangents)
        found = _gradients(ctx.operation, ctx.options, tensors, saved, given, wrt)
        return (None, None, None, *spread(found, wrt, len(needed)))

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        raise NotImplementedError("sparse_grad: torch.func has no sparse gradients")


def _gradients(
    operation: Any,
    options: Any,
    tensors: Sequence[torch.Tensor],
    saved: Sequence[torch.Tensor],
    cotangents: Sequence[torch.Tensor],
    wrt: Tuple[int, ...],
) -> Sequence[torch.Tensor]:
    names = operation.names(options)
    sparse = tuple(i for i in wrt if names[i] in _TABLES)
    rows, place, experts = 0, None, None
    if sparse:
        count = tensors[sparse[0]].shape[0]
        experts, place = touched(tensors[names.index("experts")], count)
        rows = _rows(len(experts), count)
    found = _differentiate.gradients(
        operation.name,
        names,
        operation.attributes(options),
        tensors,
        saved,
        cotangents,
        wrt,
        _settings.planned_threads,
        sparse,
        rows,
        place,
    )
    return [
        _few_rows(experts, value, tensors[i].shape) if i in sparse else value
        for i, value in zip(wrt, found)
    ]


def _few_rows(experts: torch.Tensor, rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return torch.sparse_coo_tensor(
        experts[None], rows[: len(experts)], shape, check_invariants=False, is_coalesced=True
    )
