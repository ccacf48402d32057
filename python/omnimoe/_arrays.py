"""Arrays of frameworks other than NumPy and torch, and what is said of any.

NumPy arrays and torch tensors are read in C++ (`_core`); these are the slow
paths and the words for messages.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import _core
from .errors import ArgumentError, DeviceError

#: Element types by the names that messages use, and MLIR's name of each.
MLIR_TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "int32": "i32"}
#: The reverse.
DTYPES = {short: name for name, short in MLIR_TYPES.items()}
FLOATS = ("float32", "float16", "bfloat16")

Shape = Tuple[Optional[int], ...]


class Argument(NamedTuple):
    """What an argument is: its name, element type, shape, and device ("" for a
    type without an array)."""

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


# Arrays on a GPU -------------------------------------------------------------


def _is_of(array: Any, module: str, name: str) -> bool:
    """Whether `array` is of a class of a module, without importing that."""
    imported = sys.modules.get(module)
    return imported is not None and isinstance(array, getattr(imported, name, ()))


def row_major_on_gpu(array: Any) -> Any:
    """A row-major copy, aligned as fresh memory is."""
    if _is_of(array, "torch", "Tensor"):
        torch = sys.modules["torch"]
        return array.detach().clone(memory_format=torch.contiguous_format)
    if _is_of(array, "cupy", "ndarray"):
        with array.device:
            return sys.modules["cupy"].array(array, order="C", copy=True)
    raise ArgumentError(
        "expected an array on a GPU to be row-major and aligned to 16 bytes; one of type "
        f"{type(array).__name__} is not, and only those of torch and CuPy are copied"
    )


def _element_type(dtype: str) -> Any:
    if dtype != "bfloat16":
        return dtype
    import ml_dtypes

    return ml_dtypes.bfloat16


def empty_of_cupy(like: Any, device: int, shape: Tuple[int, ...], dtype: str) -> Any:
    """Memory of CuPy on a device."""
    cupy = sys.modules["cupy"]
    with cupy.cuda.Device(device):
        return cupy.empty(shape, _element_type(dtype))


def stream_of_cupy(like: Any, device: int) -> int:
    """The stream that CuPy enqueues to on a device."""
    cuda = sys.modules["cupy"].cuda
    with cuda.Device(device):
        return int(cuda.get_current_stream().ptr)


def empty_of_kind(like: Any, device: int, shape: Tuple[int, ...], dtype: str) -> Any:
    """Memory as the array standard's `empty` gives it where `like` is."""
    namespace = getattr(like, "__array_namespace__", None)
    found = namespace() if namespace is not None else None
    if not hasattr(found, "empty") or not hasattr(found, dtype):
        raise DeviceError(
            f"expected the first argument to be an array that results can be made like: of torch, "
            f"CuPy, or with an __array_namespace__ that has empty() and {dtype}; got one of type "
            f"{type(like).__name__}"
        )
    return found.empty(shape, dtype=getattr(found, dtype), device=like.device)


def stream_of_kind(like: Any, device: int) -> int:
    """The stream that an array says it is used on, else CUDA's default."""
    interface = getattr(like, "__cuda_array_interface__", None) or {}
    return int(interface.get("stream") or 0)
