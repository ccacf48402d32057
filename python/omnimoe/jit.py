"""`omnimoe.jit` and `omnimoe.compile`."""

from __future__ import annotations

import functools
import inspect
import os
from pathlib import Path
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from . import _cache, _settings, _tune
from ._arrays import DTYPES, MLIR_TYPES, Argument, Shape, describe
from ._checks import device
from ._names import SCHEDULES, check_name
from ._trace import Traced, trace
from .errors import ArgumentError, FileError
from .executable import Executable, compile_text
from .targets import Target

#: Values that are part of a program and not arguments of it.
_STATIC = (int, float, str, bool, type(None))

#: Stands for T while a function is traced from types alone; no real size.
_SOME_TOKENS = 7919


class TensorSpec(NamedTuple):
    """The type of an argument without an array: `TensorSpec("float32",
    (None, 512))`. None as the leading size stands for T."""

    dtype: str
    shape: Shape


class _Layout(NamedTuple):
    """How the parameters of a call split into arrays and static values.

    `parts` has one entry per parameter: its name, and None for an array, the
    keys of a mapping of arrays, or ("static", value).
    """

    parts: Tuple[Tuple[str, Any], ...]


class _Text(NamedTuple):
    """A traced function: MLIR text, the target of its arguments, its options,
    and the names of its arguments; these too, as far as they are known."""

    text: str
    target: str
    schedule: str
    deterministic: bool
    names: List[str]
    arrays: Tuple[Any, ...] = ()


class JitFunction:
    """A function under `omnimoe.jit`.

    Parameters may be arrays, mappings from names to arrays, or Python numbers,
    strings, booleans and None, which become part of the program.
    """

    def __init__(
        self, function: Callable[..., Any], *, schedule: str = "auto", deterministic: bool = False
    ) -> None:
        if not callable(function):
            raise ArgumentError(f"function: expected a callable, got {type(function).__name__}")
        check_name("schedule", schedule, SCHEDULES)
        self.function = function
        self.schedule = schedule
        self.deterministic = bool(deterministic)
        self._signature = inspect.signature(function)
        for name, parameter in self._signature.parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ArgumentError(
                    f"{name}: a jitted function has a fixed list of parameters, got {parameter}"
                )
        self._names = tuple(self._signature.parameters)
        # Those that can be given by name only come last.
        self._num_positional = sum(
            parameter.kind is not parameter.KEYWORD_ONLY
            for parameter in self._signature.parameters.values()
        )
        self._specialiser = _cache.specialiser(self._build)
        functools.update_wrapper(self, function)
        self.__name__: str = getattr(function, "__name__", type(function).__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != len(self._names) or len(args) != self._num_positional:
            args = self._bind(args, kwargs)
        if any(type(arg) is Traced for arg in args):  # called by another one
            return self._apply(args)
        arrays, layout = self._split(args)
        return self._specialiser(arrays, (layout, _settings.planned_threads))

    @property
    def executables(self) -> List[Executable]:
        """The programs compiled so far, one per types and static shapes."""
        return self._specialiser.executables()

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tuple[Any, ...]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{self.__name__}: {error}") from None
        bound.apply_defaults()
        return tuple(bound.arguments[name] for name in self._names)

    def _split(self, args: Sequence[Any]) -> Tuple[Tuple[Any, ...], _Layout]:
        arrays: List[Any] = []
        parts: List[Tuple[str, Any]] = []
        for name, arg in zip(self._names, args):
            if isinstance(arg, _STATIC):
                # 1, 1.0 and True are equal keys, but not the same program.
                parts.append((name, ("static", type(arg), arg)))
            elif type(arg) is dict or isinstance(arg, Mapping):
                parts.append((name, tuple(arg)))
                arrays.extend(arg.values())
            else:
                parts.append((name, None))
                arrays.append(arg)
        return tuple(arrays), _Layout(tuple(parts))

    def _build(self, arrays: Tuple[Any, ...], options: Tuple[Any, ...]) -> Tuple[Executable, int]:
        layout: _Layout = options[0]
        arguments = [
            describe(label, array) for label, array in zip(_labels(layout), arrays)
        ]
        return _cache.program(
            functools.partial(self._call_split, layout),
            _entry_name(self),
            arguments,
            device(arguments),
            self.schedule,
            self.deterministic,
        )

    def _call_split(self, layout: _Layout, *values: Traced) -> Any:
        """Calls the function with the arrays put back in their places."""
        remaining = iter(values)
        args: List[Any] = []
        for _, part in layout.parts:
            if part is None:
                args.append(next(remaining))
            elif part[:1] == ("static",):
                args.append(part[2])
            else:
                args.append({key: next(remaining) for key in part})
        return self._apply(args)

    def _apply(self, args: Sequence[Any]) -> Any:
        """Calls the function with one value per parameter, in order."""
        count = self._num_positional
        return self.function(*args[:count], **dict(zip(self._names[count:], args[count:])))

    def program_text(self, args: Sequence[Any]) -> _Text:
        """The program for arguments like `args` (arrays or TensorSpecs)."""
        count = self._num_positional
        named = dict(zip(self._names[count:], args[count:]))
        arrays, layout = self._split(self._bind(args[:count], named))
        labels = _labels(layout)
        arguments = [_described(label, array) for label, array in zip(labels, arrays)]
        target = device(arguments)
        traced = trace(functools.partial(self._call_split, layout), _entry_name(self), arguments)
        schedule = self.schedule if self.schedule != "auto" else traced.schedule
        deterministic = self.deterministic or traced.deterministic
        return _Text(traced.text, target, schedule, deterministic, labels, arrays)


def _labels(layout: _Layout) -> List[str]:
    labels: List[str] = []
    for name, part in layout.parts:
        if part is None:
            labels.append(name)
        elif part[:1] != ("static",):
            labels.extend(f"{name}.{key}" for key in part)
    return labels


def _entry_name(function: JitFunction) -> str:
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() and name.isascii() else "main"


def _described(label: str, array: Any) -> Argument:
    if not isinstance(array, TensorSpec):
        return describe(label, array)
    dtype = DTYPES.get(array.dtype, array.dtype)
    if dtype not in MLIR_TYPES:
        raise ArgumentError(
            f"{label}: expected element type {', '.join(MLIR_TYPES)}, got {array.dtype!r}"
        )
    sizes = tuple(_SOME_TOKENS if size is None else int(size) for size in array.shape)
    if any(size is None for size in array.shape[1:]):
        raise ArgumentError(f"{label}: only the leading size can be None, got {array.shape}")
    return Argument(label, dtype, sizes, "")


def jit(
    function: Optional[Callable[..., Any]] = None,
    *,
    schedule: str = "auto",
    deterministic: bool = False,
) -> Any:
    """Turns a Python function into one compiled program per types and shapes.

    The function may use `omnimoe.route`, `experts`, `mlp`, `layer`, `+ - * /`,
    `omnimoe.exp`, `tanh`, `sigmoid`, `maximum`, `silu`, `gelu`, ... (or NumPy's
    functions of the same names). It is traced once per element types and static
    shapes; the number of tokens T is not static. Which leading sizes are T
    follows from the use; if no operation says so, that of the first argument
    and of what it is combined with.

    Args:
      function: the function; without it, `jit` returns a decorator.
      schedule, deterministic: as of `omnimoe.experts`, for the whole program.

    Returns:
      A JitFunction: call it like the function.

    Example:
      >>> @omnimoe.jit
      ... def moe(x, rows, cols, up, down):
      ...     scores, ids = omnimoe.route(rows, cols, top_k=8)
      ...     return x + omnimoe.experts(x, up, down, omnimoe.sigmoid(scores), ids)
    """
    if function is None:
        return functools.partial(jit, schedule=schedule, deterministic=deterministic)
    return JitFunction(function, schedule=schedule, deterministic=deterministic)


def compile(
    ir_or_function: Any,
    *,
    target: Union[str, Target] = "auto",
    schedule: str = "auto",
    deterministic: bool = False,
    dump: Union[str, "os.PathLike[str]", None] = None,
    args: Optional[Sequence[Any]] = None,
    tune: bool = False,
) -> Executable:
    """Compiles MLIR text, a file of it, or a function.

    Args:
      ir_or_function: MLIR text with one public function; the path of a file
        with it; or a function (jitted or not), with `args`.
      target: a name of `targets()`, a Target, or "auto": for a function the
        device of `args`; else what `OMNIMOE_TARGET` says, what the module's
        `omnimoe.target` says, or "cpu".
      schedule: auto, token_centric, expert_centric, dense, hybrid.
      deterministic: bitwise equal results from run to run.
      dump: folder that receives the IR of every stage, or `"<stage,...>:<dir>"`
        for some stages; default: what `OMNIMOE_DUMP` says.
      args: for a function: its arguments, as arrays or `TensorSpec`s. Not
        needed if the function was called with one set of types only. For MLIR
        text: the arrays to tune with.
      tune: measure the schedules instead of estimating them. Each one that the
        target has for the program's experts is compiled and timed, in seconds,
        on `args` with their T tokens and with the first 1, 4, 16, ... of these.
        What was found goes into a table of this machine in the cache folder
        (`tuned/*.json`, which `clear_cache` leaves alone), for experts of these
        sizes, types and K: later compilations and calls, also in other
        processes, choose by it. The arrays are read only; on a GPU their
        framework's current stream is used.

    Returns:
      An Executable, with arguments in the order of the function.

    Raises:
      CompileError: the IR does not parse, verify or lower.
      FileError: the file cannot be read.
      ArgumentError, ShapeError, DeviceError: an argument is not possible.
    """
    check_name("schedule", schedule, SCHEDULES)
    names: List[str] = []
    arrays: Sequence[Any] = args or ()
    if callable(ir_or_function):
        function = (
            ir_or_function if isinstance(ir_or_function, JitFunction) else jit(ir_or_function)
        )
        traced = _text_of(function, args)
        text, names, arrays = traced.text, traced.names, traced.arrays
        target = target if target != "auto" else traced.target
        schedule = schedule if schedule != "auto" else traced.schedule
        deterministic = deterministic or traced.deterministic
    else:
        text = _read(ir_or_function)
    if dump is not None:
        wanted: Optional[Tuple[str, str]] = _settings.parse_dump(os.fspath(dump), "dump")
    else:
        wanted = _settings.environment_dump()
    measured: Optional[str] = None
    if tune:
        _check_tuning(schedule, arrays, names)
        measured = _tune.tune(text, arrays, target=target, names=names)
        # Calls that follow are to meet what was found.
        _cache.clear_cache(disk=False)
    return compile_text(
        text,
        target=target,
        schedule=schedule,
        deterministic=deterministic,
        dump=wanted,
        names=names,
        measured=measured,
    )


def _check_tuning(schedule: str, arrays: Sequence[Any], names: Sequence[str]) -> None:
    if schedule != "auto":
        raise ArgumentError(f"schedule: expected 'auto' to tune, got {schedule!r}")
    if not arrays:
        raise ArgumentError("args: expected the program's arguments, as arrays to tune with")
    for index, array in enumerate(arrays):
        if isinstance(array, TensorSpec):
            label = names[index] if names else f"args[{index}]"
            raise ArgumentError(f"{label}: expected an array to tune with, got a TensorSpec")


def _text_of(function: JitFunction, args: Optional[Sequence[Any]]) -> _Text:
    if args is not None:
        return function.program_text(args)
    known = function.executables
    if len(known) != 1:
        raise ArgumentError(
            f"args: expected the arguments of {function.__name__}, as arrays or TensorSpecs, since "
            f"it was called with {len(known)} sets of types so far; got None"
        )
    names = [tensor.name for tensor in known[0].inputs]
    source = known[0].ir("input")
    return _Text(source, known[0].target, function.schedule, function.deterministic, names)


def _read(ir: Union[str, "os.PathLike[str]"]) -> str:
    """MLIR text, or the content of the file that `ir` names."""
    if isinstance(ir, str) and ("\n" in ir or "func.func" in ir or not ir.strip()):
        return ir
    if not isinstance(ir, (str, os.PathLike)):
        raise ArgumentError(
            f"ir_or_function: expected MLIR text, a path or a function, got {type(ir).__name__}"
        )
    try:
        return Path(ir).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"ir_or_function: cannot read {os.fspath(ir)!r}: {error}") from None
