"""Compiled programs of gradients, and of forward functions that save for them."""

from __future__ import annotations

import functools
import re
from typing import Any, Dict, List, Sequence, Tuple

from .. import _cache
from .._arrays import DTYPES, Argument, Shape, describe
from .._autodiff import backward_ir
from .._checks import device
from .._ops import OPS
from .._trace import Program, Traced, record, trace

#: The number of tokens that stands for T where none is known.
_SOME_TOKENS = 2

Attributes = Tuple[Tuple[str, Any], ...]


def _forward(op: str, arguments: Sequence[Argument], attributes: Attributes) -> Program:
    names = [argument.name for argument in arguments]

    def call(*values: Traced) -> Any:
        return record(op, dict(zip(names, values)), **dict(attributes))

    return trace(call, op, arguments)


def _build_backward(arrays: Tuple[Any, ...], options: Tuple[Any, ...]) -> Tuple[Any, int]:
    op, names, attributes, wrt, num_saved, _, sparse, rows = options
    count = len(names)
    labels = names + tuple(f"saved #{i}" for i in range(num_saved))
    num_cotangents = len(arrays) - len(labels) - bool(sparse)
    labels += tuple(f"cotangent #{i}" for i in range(num_cotangents))
    labels += ("rows",) * bool(sparse)
    arguments = [describe(label, array) for label, array in zip(labels, arrays)]
    forward = _forward(op, arguments[:count], attributes)
    text = backward_ir(forward.text, wrt=wrt, save=num_saved > 0, sparse=sparse, rows=rows)
    # What was saved, the results' cotangents and the pairs' rows are one row a token.
    mask = forward.mask | sum(1 << i for i in range(count, len(arrays)))
    return _compiled(forward, text, arguments), mask


def _build_saving(arrays: Tuple[Any, ...], options: Tuple[Any, ...]) -> Tuple[Any, int]:
    op, names, attributes, _ = options
    arguments = [describe(name, array) for name, array in zip(names, arrays)]
    forward = _forward(op, arguments, attributes)
    text = backward_ir(forward.text, save=True, emit="forward")
    return _compiled(forward, text, arguments), forward.mask


def _compiled(forward: Program, text: str, arguments: Sequence[Argument]) -> Any:
    program = Program(text, 0, forward.schedule, forward.deterministic)
    names = [argument.name for argument in arguments]
    return _cache.compiled(
        program, device(arguments), forward.schedule, forward.deterministic, names
    )


_BACKWARD = _cache.specialiser(_build_backward)
_SAVING = _cache.specialiser(_build_saving)


def gradients(
    op: str,
    names: Tuple[str, ...],
    attributes: Dict[str, Any],
    tensors: Sequence[Any],
    saved: Sequence[Any],
    cotangents: Sequence[Any],
    wrt: Tuple[int, ...],
    threads: int,
    sparse: Tuple[int, ...] = (),
    rows: int = 0,
    row_ids: Any = None,
) -> List[Any]:
    """Gradients of the tensors that `wrt` counts, of their types and shapes.

    Args:
      op: an operation of `omnimoe._ops`, with its `attributes`.
      names, tensors: its arguments.
      saved: what `saving` returned behind the results; if empty, the program
        computes it again.
      cotangents: of its floating-point results.
      sparse: which of the tensors are tables whose gradients have `rows` rows,
        one for each expert; `row_ids` says which, for each pair.
    """
    if not wrt:
        return []
    options = (op, names, tuple(attributes.items()), wrt, len(saved), threads, sparse, rows)
    ids = (row_ids,) if sparse else ()
    return _as_list(_BACKWARD((*tensors, *saved, *cotangents, *ids), options))


def saving(
    op: str,
    names: Tuple[str, ...],
    attributes: Dict[str, Any],
    tensors: Sequence[Any],
    threads: int,
) -> List[Any]:
    """The operation's results, and behind them what its gradient needs."""
    return _as_list(_SAVING(tuple(tensors), (op, names, tuple(attributes.items()), threads)))


def saving_types(
    op: str, arguments: Sequence[Argument], attributes: Dict[str, Any]
) -> List[Tuple[str, Shape]]:
    """Element types and shapes of what `saving` returns; None stands for T."""
    tokens = OPS[op].tokens
    fixed = tuple(
        Argument(a.name, a.dtype, (_SOME_TOKENS, *map(int, a.shape[1:])), a.device)
        if a.name in tokens
        else Argument(a.name, a.dtype, tuple(map(int, a.shape)), a.device)
        for a in arguments
    )
    return _saving_types(op, fixed, tuple(attributes.items()))


@functools.lru_cache(maxsize=None)
def _saving_types(
    op: str, arguments: Tuple[Argument, ...], attributes: Attributes
) -> List[Tuple[str, Shape]]:
    text = _forward(op, arguments, attributes).text
    signature = backward_ir(text, save=True, emit="forward")
    results = re.search(r"func\.func @.*?-> (.*?) \{$", signature, re.MULTILINE)
    assert results, "a function with results"
    found = []
    for sizes, dtype in re.findall(r"tensor<((?:[\d?]+x)+)(\w+)>", results.group(1)):
        shape = tuple(None if n == "?" else int(n) for n in sizes[:-1].split("x"))
        found.append((DTYPES[dtype], shape))
    return found


def _as_list(found: Any) -> List[Any]:
    return list(found) if isinstance(found, (tuple, list)) else [found]
