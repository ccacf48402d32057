"""omnimoe: a compiler for mixture-of-experts layers of very small experts.

Functions, on NumPy arrays, torch tensors, CuPy arrays, or anything with
`__dlpack__`, on the CPU or on a CUDA GPU:

    scores, ids = omnimoe.route(row_logits, col_logits, top_k)
    y = omnimoe.experts(x, up, down, weights, ids)
    y = omnimoe.mlp(x, gate, up, down)
    y = omnimoe.layer(x, params, top_k=16)

`omnimoe.jit` makes one program of a function over these, `omnimoe.compile` one
of MLIR text; either gives an `Executable`, which can be asked for its IR and
saved. See the docstring of each. Environment variables: see `_settings`.

Where the package comes from: a wheel (`utils/package`), or in a checkout
`<build>/python/omnimoe`, with the module `_core` and links to these sources;
`<build>/python` is to be on the path.
"""

from __future__ import annotations

from . import _core
from ._cache import CacheInfo, cache_info, clear_cache
from ._settings import get_num_threads, set_num_threads
from .errors import (
    ArgumentError,
    CompileError,
    DeviceError,
    ExpertIdError,
    FileError,
    OmniMoEError,
    ShapeError,
)
from .executable import Executable, ScheduleChoice, TensorType, load
from .functions import (
    erf,
    exp,
    experts,
    gelu,
    gelu_tanh,
    layer,
    log,
    maximum,
    minimum,
    mlp,
    relu,
    relu2,
    route,
    sigmoid,
    silu,
    sqrt,
    tanh,
)
from .jit import JitFunction, TensorSpec, compile, jit
from .targets import DeviceInfo, Target, TargetInfo, devices, targets

__version__: str = _core.version()


def run_pipeline(ir: str, pipeline: str) -> str:
    """Runs an MLIR pass pipeline, such as "omnimoe-to-llvm{threads=1}", over
    MLIR text and returns the resulting text; what `omni-opt` does, in process.

    Raises:
      CompileError: the IR does not parse, or a pass fails.
      ArgumentError: the pipeline does not parse.
    """
    return _core.run_pipeline(ir, pipeline)


__all__ = [
    "ArgumentError",
    "CacheInfo",
    "CompileError",
    "DeviceError",
    "DeviceInfo",
    "Executable",
    "ExpertIdError",
    "FileError",
    "JitFunction",
    "OmniMoEError",
    "ScheduleChoice",
    "ShapeError",
    "Target",
    "TargetInfo",
    "TensorSpec",
    "TensorType",
    "cache_info",
    "clear_cache",
    "compile",
    "devices",
    "erf",
    "exp",
    "experts",
    "gelu",
    "gelu_tanh",
    "get_num_threads",
    "jit",
    "layer",
    "load",
    "log",
    "maximum",
    "minimum",
    "mlp",
    "relu",
    "relu2",
    "route",
    "run_pipeline",
    "set_num_threads",
    "sigmoid",
    "silu",
    "sqrt",
    "tanh",
    "targets",
]
