"""Tables of schedules that were measured, one JSON file a machine.

    {"blocks": {"bf16-n4096-r1-d1024-k16": {"64": {"token_centric": 9.1e-06, ...}}}}

For an expert block of that name (see the pass `omnimoe-select-schedule`) and so
many tokens: the seconds that each schedule took. What the user had measured, in
the folder of the disk cache, stands above what is shipped with the package.
"""

from __future__ import annotations

import functools
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Dict, Optional, Tuple

from . import _settings, targets
from ._names import SCHEDULES
from .errors import DeviceError

#: Seconds by T and schedule, and those of each block by its name.
Block = Dict[int, Dict[str, float]]
Table = Dict[str, Block]

SHIPPED = Path(__file__).resolve().parent / "tuned"

#: The GPU whose numbers a target has: what is compiled for where there is none, and
#: whose table stands in for one that a GPU of the target does not have.
_DEFAULT_GPU = {"sm_90a": "nvidia-h100-80gb-hbm3"}

_BLOCK = re.compile(r"(\w+)-n(\d+)-r(\d+)-d(\d+)-k(\d+)(-gated)?")


def machine(target: str, device: str = "") -> str:
    """Name of the machine that programs for `target` run on, as in the names of
    files: of the GPU `device` or else the first one of the target; or of the
    host's CPU, with the number of its threads."""
    if target in ("auto", "cpu"):
        return f"{_host_chip()}-{_settings.get_num_threads()}-threads"
    found = {info.name: info.description for info in _gpus() if info.target == target}
    description = found.get(device) or next(iter(found.values()), _DEFAULT_GPU.get(target, target))
    return _file_name(description)


def _file_name(description: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", description.lower()).strip("-")


@functools.lru_cache(maxsize=None)
def _host_chip() -> str:
    return next(info.chip for info in targets.targets() if info.name == "cpu")


@functools.lru_cache(maxsize=None)
def _gpus() -> Tuple[targets.DeviceInfo, ...]:
    try:
        return tuple(targets.devices())
    except DeviceError:
        return ()


def states_machine(text: str) -> bool:
    """Whether a module says itself what machine it is for: not this one, for all
    that is known."""
    return "omnimoe.target" in text


def find(text: str, target: str) -> str:
    """What is known of the blocks of a program, as the compiler takes it.

    That is all that has the sizes and types which occur in the text: which
    blocks there are is known only after it was parsed.
    """
    if states_machine(text):
        return ""
    name = machine(target)
    table = {**_shipped(name, target), **_read(_user_file(name))}
    if not table:
        return ""
    dense = "".join(text.split())
    return option({block: table[block] for block in sorted(table) if _may_hold(dense, block)})


def option(table: Table) -> str:
    """A table as the option `measured` of `omnimoe-select-schedule`."""
    return ",".join(
        block
        + "".join(
            f":{tokens}={schedule}={seconds:g}"
            for tokens, timed in sorted(points.items())
            for schedule, seconds in sorted(timed.items())
        )
        for block, points in table.items()
    )


def store(name: str, block: str, points: Block) -> Block:
    """Adds to the user's table of a machine; returns all it has of the block.

    Of two processes that store at once one may lose what it stored.
    """
    path = _user_file(name)
    table = dict(_read(path))
    table[block] = {**table.get(block, {}), **points}
    try:
        if path is None:
            raise OSError("the disk cache is switched off")
        write(path, table)
    except OSError as error:
        _settings.log.warning("measured schedules are not stored: %s", error)
    return table[block]


def write(path: Path, table: Table) -> None:
    """Writes a table, sorted; no reader sees half of it."""
    lines = ",\n".join(
        f'"{block}": {{\n'
        + ",\n".join(f'"{t}": {json.dumps(points[t])}' for t in sorted(points))
        + "\n}"
        for block, points in sorted(table.items())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        file.write(f'{{"blocks": {{\n{lines}\n}}}}\n')
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _shipped(name: str, target: str) -> Table:
    """The table of a machine. A GPU without one that has as many multiprocessors as
    the GPU its target is made after takes that one's: an H200 differs from an H100
    in its memory, and which schedule wins changes less than how long it takes."""
    path = SHIPPED / f"{name}.json"
    if target in _DEFAULT_GPU and not path.exists():
        units = {info.name: info.units for info in targets.targets()}[target]
        if any(info.units == units and _file_name(info.description) == name for info in _gpus()):
            path = SHIPPED / f"{_DEFAULT_GPU[target]}.json"
    return _read(path)


def _user_file(name: str) -> Optional[Path]:
    folder = _settings.cache_dir()
    return None if folder is None else folder / "tuned" / f"{name}.json"


def _may_hold(text: str, block: str) -> bool:
    """Whether a text without spaces has the types of a block's arguments."""
    match = _BLOCK.fullmatch(block)
    if not match:
        return False
    dtype, count, width, hidden, top_k, _ = match.groups()
    tables = (f"<{count}x{hidden}x{dtype}", f"<{count}x{width}x{hidden}x{dtype}")
    return any(table in text for table in tables) and f"x{top_k}xi32" in text


def _read(path: Optional[Path]) -> Table:
    try:
        return {} if path is None else _parse(path, path.stat().st_mtime_ns)
    except OSError:  # there is none
        return {}


@functools.lru_cache(maxsize=16)
def _parse(path: Path, changed: int) -> Table:
    try:
        blocks = json.loads(path.read_text(encoding="utf-8"))["blocks"]
        return {str(name): _block(points) for name, points in blocks.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _settings.log.warning("%s holds no measured schedules: %r", path, error)
        return {}


def _block(points: Dict[str, Dict[str, float]]) -> Block:
    found = {int(tokens): dict(timed) for tokens, timed in points.items()}
    for tokens, timed in found.items():
        if tokens < 1 or not timed or not set(timed) <= set(SCHEDULES[1:]):
            raise ValueError(f"{tokens}: {timed}")
        if not all(0 < float(seconds) < float("inf") for seconds in timed.values()):
            raise ValueError(f"{tokens}: {timed}")
    return found
