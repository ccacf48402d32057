"""Arrays of frameworks other than NumPy and torch, and what is said of any.

NumPy arrays and torch tensors are read in C++ (`_core`); these are the slow
paths and the words for messages.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import _core
from .errors import ArgumentError

#: Element types by the names that messages use, and MLIR's name of each.
MLIR_TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "int32": "i32"}
#: The reverse.
DTYPES = {short: name for name, short in MLIR_TYPES.items()}
FLOATS = ("float32", "float16", "bfloat16")

Shape = Tuple[Optional[int], ...]


class Argument(NamedTuple):
    """What an argument is: its name, element type, shape, and device."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    device: str


def describe(name: str, array: Any) -> Argument:
    """Reads an argument's type. Raises ArgumentError if it is no array."""
    described = _core.describe(array)
    if described is None:
        raise ArgumentError(
            f"{name}: expected an array (NumPy, torch, or anything with __dlpack__), "
            f"got {type(array).__name__}"
        )
    _, dtype, shape, device = described
    return Argument(name, dtype, shape, device)


def shape_text(shape: Sequence[Optional[int]]) -> str:
    """`[T, 512]` for (None, 512)."""
    return "[" + ", ".join("T" if size is None else str(size) for size in shape) + "]"


def row_major(array: Any) -> Any:
    """A row-major copy of a DLPack array."""
    return np.array(np.from_dlpack(array), order="C", copy=True)


def to_kind_of(like: Any, array: np.ndarray) -> Any:
    """`array` as the framework of `like` has arrays, if it can be asked to."""
    namespace = getattr(like, "__array_namespace__", None)
    if namespace is None or isinstance(like, np.generic):
        return array
    convert = getattr(namespace(), "from_dlpack", None)
    return array if convert is None else convert(array)
