"""Compiled programs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from . import _core, _settings, _tuned
from ._arrays import DTYPES, Shape, shape_text
from ._names import SCHEDULES, check_name, closest
from .errors import ArgumentError, DeviceError
from .targets import Target, resolve


@dataclass(frozen=True)
class TensorType:
    """Type of an argument or result; None in `shape` stands for T."""

    name: str
    dtype: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {shape_text(self.shape)}"


@dataclass(frozen=True)
class ScheduleChoice:
    """The schedule of the calls with `min_tokens` <= T < `max_tokens`.

    `max_tokens` is None where there is no limit. `estimates` are the seconds
    that the cost model expects of each schedule for `tokens` tokens, `measured`
    those that they took, if the choice was made by them. `block` names the
    shapes and types of the experts.
    """

    schedule: str
    min_tokens: int
    max_tokens: Optional[int]
    estimates: Dict[str, Any]
    tokens: int
    block: str = ""
    measured: Dict[str, float] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """What the choice was made by: "measured" or "estimated" seconds."""
        return "measured" if self.measured else "estimated"


class Executable(_core.Executable):
    """A compiled program: call it with its arrays, in order.

    One executable serves every number of tokens T, and may be called from
    several threads at once. Results are arrays of the framework of the first
    argument, on its device. A program for a GPU is enqueued on the framework's
    current stream.

    Made by `omnimoe.compile` and `omnimoe.load`.
    """

    #: Arguments and results of the program.
    inputs: Tuple[TensorType, ...]
    outputs: Tuple[TensorType, ...]

    def _finish(self, names: Sequence[str] = ()) -> "Executable":
        self._description = json.loads(self._info())
        for entry, name in zip(self._description["inputs"], names):
            entry["name"] = name
        self.inputs = _types(self._description["inputs"], "argument")
        self.outputs = _types(self._description["outputs"], "result")
        self._set_names([tensor.name for tensor in self.inputs])
        return self

    @property
    def entry(self) -> str:
        """Name of the program's function."""
        return self._description["entry"]

    @property
    def target(self) -> str:
        """Name of the target that the program was compiled for."""
        return self._description["target"]

    @property
    def chip(self) -> str:
        """LLVM's name of the machine that the program was compiled for."""
        return self._description["chip"]

    @property
    def cached(self) -> bool:
        """Whether the program came out of the disk cache."""
        return bool(self._description["cached"])

    @property
    def compile_seconds(self) -> float:
        """Time that compiling, or reading the cache, took."""
        return float(self._description["compile_seconds"])

    @property
    def schedules(self) -> Tuple[ScheduleChoice, ...]:
        """The schedules of the program, in order of T. Programs without
        experts have none."""
        return tuple(
            ScheduleChoice(
                entry["schedule"],
                int(entry.get("min_tokens", 0)),
                _limit(entry.get("max_tokens")),
                dict(entry.get("estimates", {})),
                int(entry.get("tokens", 0)),
                str(entry.get("block", "")),
                dict(entry.get("measured", {})),
            )
            for entry in self._description.get("schedules", [])
        )

    @property
    def schedule(self) -> str:
        """The schedule of the program, such as "token_centric". If it depends
        on T, the names in order of T, separated by commas; if the program has
        no experts, "". `schedule_for(T)` gives the one for a T."""
        return ",".join(dict.fromkeys(choice.schedule for choice in self.schedules))

    @property
    def estimates(self) -> Dict[str, Any]:
        """Seconds that the cost model expects of each schedule, in the last
        (largest) range of T; `schedules` has them for every range."""
        choices = self.schedules
        return dict(choices[-1].estimates) if choices else {}

    def schedule_for(self, tokens: int) -> str:
        """The schedule that a call on `tokens` tokens takes, "" if none."""
        for choice in self.schedules:
            if choice.max_tokens is None or tokens < choice.max_tokens:
                return choice.schedule
        return ""

    def ir(self, stage: str = "input") -> str:
        """The program as it stood after `stage`.

        Stages on a CPU, in order: input, schedule, tile, reorder, bufferize,
        vector, llvm-dialect, llvm (LLVM IR), asm (assembly). On a GPU: input,
        schedule, reorder, tile, bufferize, kernel, nvvm, binary, llvm-dialect,
        ptx, and llvm and asm of what runs on the host. Compiles again from the
        kept source.

        Raises:
          ArgumentError: there is no such stage.
        """
        known = _settings.stages(self.target)
        if stage not in known:
            raise ArgumentError(
                f"stage: expected one of {', '.join(known)}; got {stage!r}{closest(stage, known)}"
            )
        return self._ir(stage)

    @property
    def llvm(self) -> str:
        """The program as LLVM IR."""
        return self.ir("llvm")

    @property
    def ptx(self) -> str:
        """The program as PTX.

        Raises:
          DeviceError: the program is not for a CUDA GPU.
        """
        if not self.chip.startswith("sm_"):
            raise DeviceError(
                f"ptx: expected a program for a CUDA GPU, this one is for {self.target} "
                f"({self.chip}); .llvm gives its LLVM IR and .ir('asm') its assembly"
            )
        return self.ir("ptx")

    def save(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Writes the program to a file that `omnimoe.load` reads.

        Raises:
          FileError: the file cannot be written.
        """
        self._save(os.fspath(path))

    def __repr__(self) -> str:
        inputs = ", ".join(str(tensor) for tensor in self.inputs)
        outputs = ", ".join(f"{t.dtype} {shape_text(t.shape)}" for t in self.outputs)
        return f"<omnimoe.Executable {self.entry}({inputs}) -> {outputs} for {self.target}>"


def _types(entries: List[Dict[str, Any]], what: str) -> Tuple[TensorType, ...]:
    return tuple(
        TensorType(
            entry.get("name") or f"{what} #{index}",
            DTYPES[entry["type"]],
            tuple(None if size < 0 else int(size) for size in entry["shape"]),
        )
        for index, entry in enumerate(entries)
    )


def _limit(value: Optional[int]) -> Optional[int]:
    return None if value is None or value < 0 else int(value)


def compile_text(
    text: str,
    *,
    target: Union[str, Target] = "auto",
    schedule: str = "auto",
    deterministic: bool = False,
    dump: Optional[Tuple[str, str]] = None,
    names: Sequence[str] = (),
    measured: Optional[str] = None,
) -> Executable:
    """Compiles MLIR text; nothing is remembered in memory.

    Args:
      measured: what is known of schedules, see `_tuned.option`; None for what
        the tables have.
      dump: (stages, folder) to write the IR to. The disk cache is not read
        then, since a program found there has no IR to write.
      names: what messages call the arguments.
    """
    check_name("schedule", schedule, SCHEDULES)
    target = resolve(target)
    if measured is None:
        measured = _tuned.find(text, target) if schedule == "auto" else ""
    folder = None if dump else _settings.cache_dir()
    executable = Executable(
        text,
        target=target,
        schedule=schedule,
        threads=_settings.planned_threads,
        deterministic=bool(deterministic),
        cache_dir="" if folder is None else str(folder),
        dump_dir=dump[1] if dump else "",
        dump=dump[0] if dump else "",
        measured=measured,
    )._finish(names)
    _settings.log.info(
        "%s %s in %.3f s, schedule %s",
        "loaded from the disk cache" if executable.cached else "compiled",
        executable.entry,
        executable.compile_seconds,
        executable.schedule or "(none)",
    )
    if "cache_error" in executable._description:
        _settings.log.warning("disk cache: %s", executable._description["cache_error"])
    return executable


def load(path: Union[str, "os.PathLike[str]"]) -> Executable:
    """Reads a program that `Executable.save` wrote.

    Raises:
      FileError: the file cannot be read, or holds no program.
      DeviceError: the program is for a machine unlike this one.
    """
    return Executable(path=os.fspath(path))._finish()
