"""Measuring the schedules of a program."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from . import _core, _settings, _tuned
from ._timing import least_seconds
from .errors import ArgumentError, CompileError
from .executable import Executable, compile_text


def tune(text: str, arrays: Sequence[Any], *, target: str, names: Sequence[str]) -> str:
    """Measures each schedule that the target has for the expert block of a
    program, and adds what it found to the user's table.

    It is measured with the tokens of `arrays`, T, and with the first 1, 4, 16,
    ... of them; what fails at some T is left out there.

    Returns:
      What is known of the block now, as the compiler takes it.
    """
    if _tuned.states_machine(text):
        raise ArgumentError(
            "tune: expected a module without omnimoe.target, which says that it is for another "
            "machine; got one with it"
        )
    base = compile_text(text, target=target, measured="", names=names)
    blocks = sorted({choice.block for choice in base.schedules})
    if len(blocks) != 1:
        raise ArgumentError(
            "tune: expected a program with expert blocks of one shape, got "
            + (f"{len(blocks)}: {', '.join(blocks)}" if blocks else "one without any")
        )
    base(*arrays)  # refuses arrays that do not fit
    programs = _compile_each(text, base, target, names)

    points: _tuned.Block = {}
    for tokens in _sizes(base, arrays):
        seconds = _measure(programs, _first(base, arrays, tokens), tokens)
        if seconds:
            points[tokens] = seconds
            _settings.log.info("T=%d: %s", tokens, seconds)
    if not points:
        raise ArgumentError("tune: expected arrays of at least one token that a schedule runs on")
    name = _tuned.machine(base.target, _core.describe(arrays[0])[3])
    return _tuned.option({blocks[0]: _tuned.store(name, blocks[0], points)})


def _compile_each(
    text: str, base: Executable, target: str, names: Sequence[str]
) -> Dict[str, Executable]:
    """The program with each of the schedules: as the cost model would have it if
    that one took less time than any other."""
    made: Dict[str, Executable] = {}
    choice = base.schedules[0]
    for schedule in choice.estimates:
        fastest = _tuned.option({choice.block: {1: {schedule: 1.0}}})
        try:
            made[schedule] = compile_text(text, target=target, measured=fastest, names=names)
        except CompileError as error:
            _settings.log.info("%s cannot be had: %s", schedule, error)
    return made


def _sizes(base: Executable, arrays: Sequence[Any]) -> List[int]:
    """The numbers of tokens to measure with: T alone if it is static, or if the
    arrays cannot be sliced."""
    dynamic = [
        array for array, tensor in zip(arrays, base.inputs) if tensor.shape[:1] == (None,)
    ]
    if not dynamic:
        return [base.schedules[0].tokens]
    tokens = _core.describe(dynamic[0])[2][0]
    sliced = all(hasattr(array, "__getitem__") for array in dynamic)
    powers = [4**i for i in range(32)] if sliced else []
    return [size for size in powers if size < tokens] + [tokens] * (tokens > 0)


def _first(base: Executable, arrays: Sequence[Any], tokens: int) -> List[Any]:
    """The arrays of the first tokens."""
    return [
        array[:tokens] if tensor.shape[:1] == (None,) and hasattr(array, "__getitem__") else array
        for array, tensor in zip(arrays, base.inputs)
    ]


def _measure(
    programs: Dict[str, Executable], arrays: Sequence[Any], tokens: int
) -> Dict[str, float]:
    runnable = {}
    for schedule, program in programs.items():
        try:
            program(*arrays)
            runnable[schedule] = lambda program=program: program(*arrays)
        except Exception as error:  # the memory it takes, say
            _settings.log.warning("%s fails at T=%d: %s", schedule, tokens, error)
    seconds = least_seconds(runnable, arrays[0]) if runnable else {}
    return {schedule: float(f"{each:.4g}") for schedule, each in seconds.items()}
