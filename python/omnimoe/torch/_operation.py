"""An operation of omnimoe as a PyTorch operator that can be differentiated.

Each operation becomes three opaque operators of `torch.library`: `omnimoe::name`;
`omnimoe::name_saving`, which also returns what the gradient needs, such as the
products with the up vectors; and `omnimoe::name_backward`. The last two run the
programs that the compiler derives from the forward program. All have fake
kernels, made of the same shape checks as the calls on arrays, so `torch.compile`
traces over them without a break.

Two roads lead to the gradient. Compiled code calls the operators and their
registered autograd formulas. Eager code calls `Forward`, an autograd.Function,
since the transforms of `torch.func` work with these, and not with formulas of
`torch.library`.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch

from .. import _settings, functions
from .._arrays import Argument
from .._ops import OPS
from . import _differentiate
from ._autograd import Forward, spread

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
    """

    #: Whether the compiler's gradient is used, and so its forward that saves.
    #: Else `differentiate` is overridden, and `kept` results are saved.
    compiled = True
    kept: Tuple[int, ...] = ()

    def __init__(
        self, name: str, tensors: Sequence[str], options: Sequence[str], results: int = 1
    ) -> None:
        self.name = name
        self.num_results = results
        self._tensors = tuple(tensors)
        self._options = tuple(options)
        self._listed = self._tensors[-1].endswith("*")
        self._define()

    # Calling ---------------------------------------------------------------

    def __call__(
        self, tensors: Sequence[torch.Tensor], *, function: Any = Forward, **options: Any
    ) -> Any:
        """The operation on `tensors`; a tensor, or a tuple of them.

        `function` is the autograd.Function of eager code.
        """
        values = tuple(options[name] for name in self._options)
        save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        if torch.compiler.is_compiling():
            outputs = self.run(tensors, values, save)
        else:
            outputs = function.apply(self, values, save, *tensors)
        return outputs[0] if self.num_results == 1 else tuple(outputs[: self.num_results])

    def run(
        self, tensors: Sequence[torch.Tensor], options: Options, save: bool
    ) -> Sequence[torch.Tensor]:
        """Calls the operator: results and, with `save`, what is saved."""
        inputs = [*self._packed(tensors), *_as_lists(options)]
        if save and self.compiled:
            return self.saving(*inputs)
        made = self.forward(*inputs)
        return (made,) if self.num_results == 1 else made

    def run_backward(
        self,
        tensors: Sequence[torch.Tensor],
        saved: Sequence[torch.Tensor],
        cotangents: Sequence[torch.Tensor],
        wrt: Sequence[int],
        options: Options,
    ) -> List[torch.Tensor]:
        """Calls the backward operator: gradients of the tensors `wrt` counts."""
        lists = [list(tensors), list(saved), list(cotangents), list(wrt)]
        return list(self.backward(*lists, *_as_lists(options)))

    def saved(self, outputs: Sequence[torch.Tensor]) -> List[torch.Tensor]:
        """Of all that `run` returned, what backward gets."""
        return [outputs[i] for i in self.kept] + list(outputs[self.num_results :])

    # Names and options -----------------------------------------------------

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
        return tensors, _as_tuples(rest)

    # Computing -------------------------------------------------------------

    def _compute(self, *inputs: Any) -> Any:
        tensors, options = self._unpacked(inputs)
        call: Callable[..., Any] = getattr(functions, self.name)
        if self._listed:
            count = len(self._tensors) - 1
            named = dict(zip(self.names(options)[count:], tensors[count:]))
            return call(*tensors[:count], named, **self.attributes(options))
        return call(*tensors, **self.attributes(options))

    def _compute_saving(self, *inputs: Any) -> List[torch.Tensor]:
        tensors, options = self._unpacked(inputs)
        return _differentiate.saving(
            self.name,
            self.names(options),
            self.attributes(options),
            tensors,
            _settings.planned_threads,
        )

    def differentiate(
        self, tensors: Any, saved: Any, cotangents: Any, wrt: Tuple[int, ...], options: Options
    ) -> List[torch.Tensor]:
        """The gradients of the tensors that `wrt` counts."""
        return _differentiate.gradients(
            self.name,
            self.names(options),
            self.attributes(options),
            tensors,
            saved,
            cotangents,
            wrt,
            _settings.planned_threads,
        )

    def _compute_backward(
        self, tensors: Any, saved: Any, cotangents: Any, wrt: Any, *rest: Any
    ) -> List[torch.Tensor]:
        return self.differentiate(tensors, saved, cotangents, tuple(wrt), _as_tuples(rest))

    # Computing with fake tensors -------------------------------------------

    def _described(self, tensors: Sequence[Any], options: Options) -> Dict[str, Argument]:
        return {
            name: Argument(name, str(t.dtype)[len("torch.") :], tuple(t.shape), str(t.device))
            for name, t in zip(self.names(options), tensors)
        }

    def _fake(self, *inputs: Any) -> Any:
        tensors, options = self._unpacked(inputs)
        described = self._described(tensors, options)
        made = [
            tensors[0].new_empty(result.shape, dtype=getattr(torch, result.dtype))
            for result in OPS[self.name].infer(described, self.attributes(options))
        ]
        return made[0] if len(made) == 1 else tuple(made)

    def _fake_saving(self, *inputs: Any) -> List[torch.Tensor]:
        tensors, options = self._unpacked(inputs)
        described = self._described(tensors, options)
        attributes = self.attributes(options)
        OPS[self.name].infer(described, attributes)  # refuses what does not fit
        tokens = tensors[0].shape[0]
        types = _differentiate.saving_types(self.name, list(described.values()), attributes)
        return [
            tensors[0].new_empty(
                [tokens if size is None else size for size in shape], dtype=getattr(torch, dtype)
            )
            for dtype, shape in types
        ]

    def _fake_backward(
        self, tensors: Any, saved: Any, cotangents: Any, wrt: Any, *rest: Any
    ) -> List[torch.Tensor]:
        return [tensors[i].new_empty(tensors[i].shape) for i in wrt]

    # torch.library ---------------------------------------------------------

    def _define(self) -> None:
        tensors = [
            f"Tensor[] {name[:-1]}" if name.endswith("*") else f"Tensor {name}"
            for name in self._tensors
        ]
        options = [f"{_SCHEMA_TYPES[name]} {name}" for name in self._options]
        inputs = ", ".join(tensors + options)
        returned = ", ".join(["Tensor"] * self.num_results)
        returned = returned if self.num_results == 1 else f"({returned})"
        self.forward = self._operator("", self._compute, self._fake, f"({inputs}) -> {returned}")
        self.forward.register_autograd(self._formula, setup_context=self._set_up)
        if self.compiled:
            self.saving = self._operator(
                "_saving", self._compute_saving, self._fake_saving, f"({inputs}) -> Tensor[]"
            )
            self.saving.register_autograd(self._formula, setup_context=self._set_up)
        lists = ["Tensor[] tensors", "Tensor[] saved", "Tensor[] cotangents", "int[] wrt"]
        self.backward = self._operator(
            "_backward",
            self._compute_backward,
            self._fake_backward,
            f"({', '.join(lists + options)}) -> Tensor[]",
        )

    def _operator(self, suffix: str, compute: Any, fake: Any, schema: str) -> Any:
        made = torch.library.custom_op(
            f"omnimoe::{self.name}{suffix}", compute, mutates_args=(), schema=schema
        )
        made.register_fake(fake)
        return made

    def _set_up(self, ctx: Any, inputs: Any, output: Any) -> None:
        tensors, ctx.options = self._unpacked(inputs)
        self.keep(ctx, tensors, [output] if isinstance(output, torch.Tensor) else output)

    def keep(self, ctx: Any, tensors: Sequence[Any], outputs: Sequence[torch.Tensor]) -> None:
        """Saves in `ctx` what `gradients` needs."""
        ctx.save_for_backward(*tensors, *self.saved(outputs))
        ctx.count = len(tensors)
        results, others = outputs[: self.num_results], outputs[self.num_results :]
        ctx.mark_non_differentiable(*[t for t in results if not t.is_floating_point()], *others)
        # Outputs without a gradient would get zeros, of the size of what is saved.
        ctx.set_materialize_grads(False)

    def kept_by(self, ctx: Any, cotangents: Sequence[Any]) -> Tuple[Any, Any, Any]:
        """Tensors, saved tensors, and cotangents of the float results."""
        floats = [c for c in cotangents[: self.num_results] if c is not None]
        kept = ctx.saved_tensors  # once: checkpointing refuses to unpack again
        return kept[: ctx.count], kept[ctx.count :], floats

    def _formula(self, ctx: Any, *cotangents: Any) -> Any:
        if isinstance(cotangents[0], (list, tuple)):
            cotangents = tuple(cotangents[0])
        needed: List[bool] = []
        for flag in ctx.needs_input_grad[: len(self._tensors)]:
            needed.extend(flag if isinstance(flag, (list, tuple)) else [flag])
        wrt = [i for i, flag in enumerate(needed) if flag]
        found = self.run_backward(*self.kept_by(ctx, cotangents), wrt, ctx.options)
        return (*self._packed(spread(found, wrt, ctx.count)), *[None] * len(self._options))


def _as_lists(options: Options) -> List[Any]:
    return [list(value) if isinstance(value, tuple) else value for value in options]


def _as_tuples(options: Sequence[Any]) -> Options:
    return tuple(tuple(value) if isinstance(value, (list, tuple)) else value for value in options)
