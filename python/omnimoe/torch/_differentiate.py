"""Compiled backward programs."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

from .. import _cache
from .._arrays import describe
from .._autodiff import backward_ir
from .._checks import device
from .._trace import Program, Traced, record, trace


def _build(arrays: Tuple[Any, ...], options: Tuple[Any, ...]) -> Tuple[Any, int]:
    op, names, attributes, wrt, _ = options
    labels = names + tuple(f"cotangent #{i}" for i in range(len(arrays) - len(names)))
    arguments = [describe(label, array) for label, array in zip(labels, arrays)]
    target = device(arguments)

    def call(*values: Traced) -> Any:
        return record(op, dict(zip(names, values)), **dict(attributes))

    forward = trace(call, op, arguments[: len(names)])
    # The results, and so the cotangents, are one row a token.
    mask = forward.mask | sum(1 << i for i in range(len(names), len(arrays)))
    program = Program(
        backward_ir(forward.text, wrt=wrt), mask, forward.schedule, forward.deterministic
    )
    compiled = _cache.compiled(
        program, target, program.schedule, program.deterministic, labels
    )
    return compiled, mask


_PROGRAMS = _cache.specialiser(_build)


def gradients(
    op: str,
    names: Tuple[str, ...],
    attributes: Dict[str, Any],
    tensors: Sequence[Any],
    cotangents: Sequence[Any],
    wrt: Tuple[int, ...],
    threads: int,
) -> List[Any]:
    """Gradients of the tensors that `wrt` counts, of their types and shapes.

    Args:
      op: an operation of `omnimoe._ops`, with its `attributes`.
      names, tensors: its arguments.
      cotangents: of its floating-point results.
    """
    if not wrt:
        return []
    options = (op, names, tuple(attributes.items()), wrt, threads)
    found = _PROGRAMS((*tensors, *cotangents), options)
    return list(found) if isinstance(found, (tuple, list)) else [found]
