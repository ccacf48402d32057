"""An operation of omnimoe as a PyTorch operator that can be differentiated.

Each operation becomes two opaque operators of `torch.library`: `omnimoe::name`,
and `omnimoe::name_backward`, which runs the program that the compiler derives
from the forward program. Both have fake kernels, made of the same shape checks
as the calls on arrays, so `torch.compile` traces over them without a break.

Two roads lead to the gradient. Compiled code calls the operator and its
registered autograd formula. Eager code calls `_Forward`, an autograd.Function,
since the transforms of `torch.func` work with these, and not with formulas of
`torch.library`.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch

from .. import _settings, functions
from .._arrays import Argument
from .._ops import OPS
from ..errors import ArgumentError
from . import _differentiate
from ._batching import batched

#: The options of an operation, by value; a tuple, since it is a key.
Options = Tuple[Any, ...]

_SCHEMA_TYPES = {
    "top_k": "int",
    "activation": "str",
    "weighting": "str",
    "schedule": "str",
    "deterministic": "bool",
    "norm_eps": "float",
    "names": "str[]",
}


class Operation:
    """One operation of `omnimoe._ops` for PyTorch.

    Args:
      name: its name there; the operator is `omnimoe::<name>`.
      tensors: names of its tensors. A last name with a star stands for a list,
        whose names are the option `names`.
      options: names of its options.
      results: how many tensors it returns.
      kept: numbers of results that `differentiate` gets behind the tensors.
      differentiate: `(tensors + kept results, cotangents, wrt, options) ->
        gradients`, if that is not the compiler's program.
    """

    def __init__(
        self,
        name: str,
        tensors: Sequence[str],
        options: Sequence[str],
        results: int = 1,
        kept: Sequence[int] = (),
        differentiate: Optional[Callable[..., List[torch.Tensor]]] = None,
    ) -> None:
        self.name = name
        self._kept = tuple(kept)
        self._differentiate = differentiate or self._compiled
        self._tensors = tuple(tensors)
        self._options = tuple(options)
        self._listed = self._tensors[-1].endswith("*")
        self._define(results)

    # Calling ---------------------------------------------------------------

    def __call__(self, tensors: Sequence[torch.Tensor], **options: Any) -> Any:
        """The operation on `tensors`; a tensor, or a tuple of them."""
        values = tuple(options[name] for name in self._options)
        if torch.compiler.is_compiling():
            return self.forward(*self._packed(tensors), *_listed(values))
        for name, tensor in zip(self.names(values), tensors):
            if not isinstance(tensor, torch.Tensor):
                raise ArgumentError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")
        return _Forward.apply(self, values, *tensors)

    def names(self, options: Options) -> Tuple[str, ...]:
        """The names of all tensors."""
        if not self._listed:
            return self._tensors
        return self._tensors[:-1] + tuple(options[self._options.index("names")])

    def attributes(self, options: Options) -> Dict[str, Any]:
        """The options as `omnimoe._ops` takes them."""
        given = dict(zip(self._options, options))
        given.pop("names", None)
        return given

    def tokens(self, options: Options) -> List[bool]:
        """Of each tensor, whether its leading size is T."""
        return [name in OPS[self.name].tokens for name in self.names(options)]

    def run(self, tensors: Sequence[torch.Tensor], options: Options) -> Any:
        """Calls the operator."""
        return self.forward(*self._packed(tensors), *_listed(options))

    def run_backward(
        self,
        tensors: Sequence[torch.Tensor],
        cotangents: Sequence[torch.Tensor],
        wrt: Sequence[int],
        options: Options,
    ) -> List[torch.Tensor]:
        """Calls the backward operator: gradients of the tensors `wrt` counts."""
        return list(
            self.backward(list(tensors), list(cotangents), list(wrt), *_listed(options))
        )

    # Defining --------------------------------------------------------------

    def _packed(self, tensors: Sequence[Any]) -> List[Any]:
        """Tensors as the operator takes them: a list at the end, or none."""
        if not self._listed:
            return list(tensors)
        count = len(self._tensors) - 1
        return [*tensors[:count], list(tensors[count:])]

    def _unpacked(self, inputs: Sequence[Any]) -> Tuple[List[Any], Options]:
        """Tensors and options out of the operator's inputs."""
        count = len(self._tensors)
        tensors, rest = list(inputs[:count]), inputs[count:]
        if self._listed:
            tensors = [*tensors[:-1], *tensors[-1]]
        return tensors, tuple(tuple(v) if isinstance(v, (list, tuple)) else v for v in rest)

    def _define(self, results: int) -> None:
        tensors = [
            f"Tensor[] {name[:-1]}" if name.endswith("*") else f"Tensor {name}"
            for name in self._tensors
        ]
        options = [f"{_SCHEMA_TYPES[name]} {name}" for name in self._options]
        returned = "Tensor" if results == 1 else "(" + ", ".join(["Tensor"] * results) + ")"
        self.forward: Any = torch.library.custom_op(
            f"omnimoe::{self.name}",
            self._compute,
            mutates_args=(),
            schema=f"({', '.join(tensors + options)}) -> {returned}",
        )
        gradients = ["Tensor[] tensors", "Tensor[] cotangents", "int[] wrt"]
        self.backward: Any = torch.library.custom_op(
            f"omnimoe::{self.name}_backward",
            self._compute_backward,
            mutates_args=(),
            schema=f"({', '.join(gradients + options)}) -> Tensor[]",
        )
        self.forward.register_fake(self._fake)
        self.backward.register_fake(self._fake_backward)
        self.forward.register_autograd(self._formula, setup_context=self._set_up)

    def _compute(self, *inputs: Any) -> Any:
        tensors, options = self._unpacked(inputs)
        call: Callable[..., Any] = getattr(functions, self.name)
        if self._listed:
            count = len(self._tensors) - 1
            named = dict(zip(self.names(options)[count:], tensors[count:]))
            return call(*tensors[:count], named, **self.attributes(options))
        return call(*tensors, **self.attributes(options))

    def _fake(self, *inputs: Any) -> Any:
        tensors, options = self._unpacked(inputs)
        described = {
            name: Argument(name, str(t.dtype)[len("torch.") :], tuple(t.shape), str(t.device))
            for name, t in zip(self.names(options), tensors)
        }
        made = [
            tensors[0].new_empty(result.shape, dtype=getattr(torch, result.dtype))
            for result in OPS[self.name].infer(described, self.attributes(options))
        ]
        return made[0] if len(made) == 1 else tuple(made)

    def _compute_backward(self, tensors: Any, cotangents: Any, wrt: Any, *rest: Any) -> Any:
        options = tuple(tuple(v) if isinstance(v, (list, tuple)) else v for v in rest)
        return self._differentiate(tensors, cotangents, tuple(wrt), options)

    def _compiled(self, tensors: Any, cotangents: Any, wrt: Tuple[int, ...], options: Options) -> Any:
        return _differentiate.gradients(
            self.name,
            self.names(options),
            self.attributes(options),
            tensors,
            cotangents,
            wrt,
            _settings.planned_threads,
        )

    def _fake_backward(self, tensors: Any, cotangents: Any, wrt: Any, *rest: Any) -> Any:
        return [torch.empty(tensors[i].shape, dtype=tensors[i].dtype, device=tensors[i].device)
                for i in wrt]

    # The formula of torch.library ------------------------------------------

    def _set_up(self, ctx: Any, inputs: Any, output: Any) -> None:
        tensors, ctx.options = self._unpacked(inputs)
        self.save(ctx, tensors, output)

    def save(self, ctx: Any, tensors: Sequence[torch.Tensor], output: Any) -> None:
        """Saves for backward what the gradient needs."""
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.save_for_backward(*tensors, *[outputs[i] for i in self._kept])
        ctx.mark_non_differentiable(*[t for t in outputs if not t.is_floating_point()])

    def _formula(self, ctx: Any, *cotangents: torch.Tensor) -> Any:
        needed: List[bool] = []
        for flag in ctx.needs_input_grad[: len(self._tensors)]:
            needed.extend(flag if isinstance(flag, (list, tuple)) else [flag])
        wrt = [i for i, flag in enumerate(needed) if flag]
        floats = [c for c in cotangents if c is not None and c.is_floating_point()]
        found = self.run_backward(ctx.saved_tensors, floats, wrt, ctx.options)
        grads = _spread(found, wrt, len(needed))
        return (*self._packed(grads), *[None] * len(self._options))


def _listed(options: Options) -> List[Any]:
    return [list(value) if isinstance(value, tuple) else value for value in options]


def _spread(found: Sequence[Any], wrt: Sequence[int], count: int) -> List[Any]:
    """`found` at the places that `wrt` names, None elsewhere."""
    places: List[Any] = [None] * count
    for index, value in zip(wrt, found):
        places[index] = value
    return places


class _Forward(torch.autograd.Function):
    """An operation for eager code and the transforms of torch.func."""

    @staticmethod
    def forward(operation: Operation, options: Options, *tensors: torch.Tensor) -> Any:
        return operation.run(tensors, options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.operation, ctx.options, *tensors = inputs
        ctx.operation.save(ctx, tensors, output)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> Any:
        tensors = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        wrt = tuple(i for i, flag in enumerate(needed) if flag)
        floats = [c for c in cotangents if c is not None and c.is_floating_point()]
        found = _Backward.apply(ctx.operation, ctx.options, wrt, len(tensors), *tensors, *floats)
        return (None, None, *_spread(found, wrt, len(needed)))

    @staticmethod
    def vmap(info: Any, in_dims: Any, operation: Any, options: Any, *tensors: Any) -> Any:
        def call(*values: torch.Tensor) -> Any:
            return _Forward.apply(operation, options, *values)

        return batched(call, info.batch_size, in_dims[2:], tensors, operation.tokens(options))


class _Backward(torch.autograd.Function):
    """The gradients of an operation; these have no derivative of their own."""

    @staticmethod
    def forward(
        operation: Operation,
        options: Options,
        wrt: Tuple[int, ...],
        count: int,
        *tensors: torch.Tensor,
    ) -> Any:
        return tuple(
            operation.run_backward(tensors[:count], tensors[count:], wrt, options)
        )

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
        info: Any, in_dims: Any, operation: Any, options: Any, wrt: Any, count: Any, *tensors: Any
    ) -> Any:
        def call(*values: torch.Tensor) -> Any:
            return _Backward.apply(operation, options, wrt, count, *values)

        # Gradients of tables are one a sample, so the samples stay apart.
        return batched(call, info.batch_size, in_dims[4:], tensors, [False] * len(tensors))
