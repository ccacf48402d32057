"""torch.func.vmap over the operations."""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence, Tuple

import torch


def batched(
    call: Callable[..., Any],
    size: int,
    dims: Sequence[Optional[int]],
    tensors: Sequence[torch.Tensor],
    tokens: Sequence[bool],
) -> Tuple[Any, Any]:
    """`call` for each of `size` samples: results and their batch dimensions.

    Args:
      call: takes the tensors of one sample, returns a tensor or a tuple.
      dims: the batch dimension of each tensor; None where all samples share it.
      tokens: of each tensor, whether its leading size is T. Where only such are
        batched, the samples' tokens make one call.
    """
    if all(token or dim is None for token, dim in zip(tokens, dims)):
        results = call(*[
            _merged(tensor, dim, size) if token else tensor
            for tensor, dim, token in zip(tensors, dims, tokens)
        ])
        return _each(results, lambda t: t.unflatten(0, (size, t.shape[0] // size))), _each(
            results, lambda t: 0
        )
    samples = [
        call(*[t if dim is None else t.select(dim, i) for t, dim in zip(tensors, dims)])
        for i in range(size)
    ]
    if isinstance(samples[0], tuple):
        stacked: Any = tuple(torch.stack(parts) for parts in zip(*samples))
    else:
        stacked = torch.stack(samples)
    return stacked, _each(stacked, lambda t: 0)


def _merged(tensor: torch.Tensor, dim: Optional[int], size: int) -> torch.Tensor:
    """[T, ...] of all samples as [size * T, ...]."""
    if dim is None:
        return tensor.unsqueeze(0).expand(size, *tensor.shape).flatten(0, 1)
    return tensor.movedim(dim, 0).flatten(0, 1)


def _each(values: Any, function: Callable[[torch.Tensor], Any]) -> Any:
    if isinstance(values, tuple):
        return tuple(function(value) for value in values)
    return function(values)
