"""Autograd of the operations for eager code and the transforms of torch.func."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import torch

from ._batching import batched


def spread(found: Sequence[Any], wrt: Sequence[int], count: int) -> List[Any]:
    """`found` at the places that `wrt` names, None elsewhere."""
    places: List[Any] = [None] * count
    for index, value in zip(wrt, found):
        places[index] = value
    return places


class Forward(torch.autograd.Function):
    """`Operation.run`."""

    @staticmethod
    def forward(operation: Any, options: Any, save: bool, *tensors: torch.Tensor) -> Any:
        return tuple(operation.run(tensors, options, save))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.operation, ctx.options, _, *tensors = inputs
        ctx.operation.keep(ctx, tensors, output)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        needed = ctx.needs_input_grad[3:]
        wrt = tuple(i for i, flag in enumerate(needed) if flag)
        parts = ctx.operation.kept_by(ctx, cotangents)
        sizes = tuple(len(part) for part in parts)
        tensors = [tensor for part in parts for tensor in part]
        found = Backward.apply(ctx.operation, ctx.options, wrt, sizes, *tensors)
        return (None, None, None, *spread(found, wrt, len(needed)))

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, operation: Any, options: Any, save: Any, *tensors: Any
    ) -> Any:
        def call(*values: torch.Tensor) -> Any:
            return Forward.apply(operation, options, save, *values)

        return batched(call, info.batch_size, in_dims[3:], tensors, operation.tokens(options))


class Backward(torch.autograd.Function):
    """`Operation.run_backward`; it has no derivative of its own."""

    @staticmethod
    def forward(
        operation: Any,
        options: Any,
        wrt: Tuple[int, ...],
        sizes: Tuple[int, int, int],
        *tensors: torch.Tensor,
    ) -> Any:
        ends = sizes[0], sizes[0] + sizes[1]
        parts = tensors[: ends[0]], tensors[ends[0] : ends[1]], tensors[ends[1] :]
        return tuple(operation.run_backward(*parts, wrt, options))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.name = inputs[0].name

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            f"omnimoe.torch.{ctx.name} has first derivatives only; its gradient was "
            "differentiated again"
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, operation: Any, options: Any, wrt: Any, sizes: Any, *tensors: Any
    ) -> Any:
        def call(*values: torch.Tensor) -> Any:
            return Backward.apply(operation, options, wrt, sizes, *values)

        # Gradients of tables are one a sample, so the samples stay apart.
        return batched(call, info.batch_size, in_dims[4:], tensors, [False] * len(tensors))
