"""Arrays in the memory of the driver of test/Runtime/FakeCUDA.cpp.

To be imported in a process of its own, with that driver in OMNIMOE_CUDA_DRIVER.
The driver runs no kernel: what calls it got, and what they launched, is what
tests look at.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import types
import weakref
from typing import Any, Dict, List, Tuple

import numpy as np

_driver = ctypes.CDLL(os.environ["OMNIMOE_CUDA_DRIVER"])
_driver.fake_cuda_log.restype = ctypes.c_char_p
_driver.fake_cuda_alloc.restype = ctypes.c_void_p
_driver.fake_cuda_alloc.argtypes = [ctypes.c_int, ctypes.c_size_t]
_driver.fake_cuda_free.argtypes = [ctypes.c_void_p]
_driver.fake_cuda_stream.restype = ctypes.c_void_p
_driver.fake_cuda_capture.argtypes = [ctypes.c_void_p, ctypes.c_int]

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]

kCUDA = 2


def log() -> str:
    return _driver.fake_cuda_log().decode()


def clear() -> None:
    _driver.fake_cuda_clear()


def count(function: str) -> int:
    return int(_driver.fake_cuda_count(function.encode()))


def stream(device: int = 0) -> int:
    return int(_driver.fake_cuda_stream(device))


def capture(handle: int, on: bool) -> None:
    _driver.fake_cuda_capture(handle, on)


def fail(function: str, result: int) -> None:
    _driver.fake_cuda_fail(function.encode(), result)


def launches() -> List[Dict[str, Any]]:
    """The launches since the last clear; `parameters` are their words."""
    found = []
    # One by one, or all those of a graph in one line.
    made = re.findall(r"^(?:cuLaunchKernelEx|cuGraphLaunch) (kernel=.*)$", log(), re.MULTILINE)
    for launch in re.findall(r"kernel=.*?parameters=\S+", "\n".join(made)):
        entry: Dict[str, Any] = dict(re.findall(r"(\w+)=(\S+)", launch))
        entry["parameters"] = [int(word, 16) for word in entry["parameters"].split(",")]
        entry["stream"] = int(entry["stream"], 16) if entry["stream"] != "(nil)" else 0
        entry["device"] = int(entry["device"])
        found.append(entry)
    return found


class Memory:
    """Device memory, which the host can look into here."""

    def __init__(self, shape: Tuple[int, ...], dtype: Any, device: int, offset: int = 0) -> None:
        self.dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * self.dtype.itemsize
        buffer = (ctypes.c_char * (size + offset)).from_address(
            _driver.fake_cuda_alloc(device, size + offset)
        )
        weakref.finalize(buffer, _driver.fake_cuda_free, ctypes.addressof(buffer))
        self.host = np.frombuffer(buffer, self.dtype, offset=offset).reshape(shape)
        self.index = device

    @property
    def address(self) -> int:
        return int(self.host.__array_interface__["data"][0])

    @property
    def shape(self) -> Tuple[int, ...]:
        return self.host.shape


class Array(Memory):
    """An array of a framework that follows DLPack and the array standard."""

    #: The `stream` of each export.
    exported: List[Any] = []

    @property
    def device(self) -> Tuple[str, int]:
        return ("fake", self.index)

    def __dlpack_device__(self) -> Tuple[int, int]:
        return (kCUDA, self.index)

    def __dlpack__(self, stream: Any = None, max_version: Any = None) -> Any:
        Array.exported.append(stream)
        capsule = self.host.__dlpack__(max_version=max_version)
        if max_version is not None:  # version, context, deleter and flags come first
            tensor = _capsule_pointer(capsule, b"dltensor_versioned") + 32
        else:
            tensor = _capsule_pointer(capsule, b"dltensor")
        ctypes.c_int32.from_address(tensor + 8).value = kCUDA
        ctypes.c_int32.from_address(tensor + 12).value = self.index
        return capsule

    def __array_namespace__(self, api_version: Any = None) -> Any:
        return Namespace


class Namespace:
    float16, float32, int32, uint8 = np.float16, np.float32, np.int32, np.uint8

    @staticmethod
    def empty(shape: Any, *, dtype: Any, device: Any) -> Array:
        return Array(shape if isinstance(shape, tuple) else (shape,), dtype, device[1])


class InterfaceArray(Memory):
    """An array with the CUDA array interface alone."""

    stream: Any = None

    @property
    def __cuda_array_interface__(self) -> Dict[str, Any]:
        interface = dict(self.host.__array_interface__)
        return {**interface, "version": 3, "stream": self.stream}


def to_gpu(array: np.ndarray, device: int = 0, kind: Any = Array, offset: int = 0) -> Any:
    made = kind(array.shape, array.dtype, device, offset)
    made.host[...] = array
    return made


# A stand-in for CuPy ----------------------------------------------------------


def install_cupy() -> Any:
    """Puts a module `cupy` in place that has what omnimoe uses of CuPy."""

    class Device:
        current = [0]

        def __init__(self, index: int) -> None:
            self.index = index

        def __enter__(self) -> None:
            Device.current.append(self.index)

        def __exit__(self, *_: Any) -> None:
            Device.current.pop()

    class ndarray(Array):
        @property
        def device(self) -> Any:
            return Device(self.index)

    def empty(shape: Any, dtype: Any = float) -> ndarray:
        return ndarray(shape, dtype, Device.current[-1])

    def copy(array: Any, order: str, copy: bool) -> ndarray:
        made = ndarray(array.shape, array.dtype, Device.current[-1])
        made.host[...] = array.host
        return made

    streams: Dict[int, int] = {}

    def current() -> Any:
        device = Device.current[-1]
        return types.SimpleNamespace(ptr=streams.setdefault(device, stream(device)))

    cupy: Any = types.ModuleType("cupy")
    cupy.ndarray, cupy.empty, cupy.array, cupy.streams = ndarray, empty, copy, streams
    cupy.cuda = types.SimpleNamespace(Device=Device, get_current_stream=current)
    sys.modules["cupy"] = cupy
    return cupy
