"""Programs that this process has compiled, and the disk cache under them."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import _core, _settings
from ._arrays import Argument
from ._trace import Program, trace
from .executable import Executable, compile_text

_Key = Tuple[Any, ...]

_lock = threading.Lock()
_programs: Dict[_Key, Executable] = {}
_locks: Dict[_Key, threading.Lock] = {}
_specialisers: List[_core.Specialiser] = []
_disk_hits = 0

#: Endings of what the compiler writes into the cache folder: programs, and
#: files that are to become programs.
_SUFFIXES = (".omni", ".tmp")


@dataclass(frozen=True)
class CacheInfo:
    """State of the caches.

    Attributes:
      hits: calls that found their program in memory.
      misses: calls that had to look for it further.
      programs: programs in memory.
      disk_hits: programs that needed no compilation, since the compiler still
        had them or found them in the disk cache.
      directory: folder of the disk cache; None if it is switched off.
      disk_programs: programs in that folder.
      disk_bytes: their size.
    """

    hits: int
    misses: int
    programs: int
    disk_hits: int
    directory: Optional[str]
    disk_programs: int
    disk_bytes: int


def specialiser(build: Callable[[Tuple[Any, ...], Any], Tuple[Executable, int]]) -> Any:
    """A `_core.Specialiser` that `clear_cache` knows of."""
    made = _core.Specialiser(build)
    with _lock:
        _specialisers.append(made)
    return made


def program(
    function: Callable[..., Any],
    entry: str,
    arguments: Sequence[Argument],
    target: str,
    schedule: str = "auto",
    deterministic: bool = False,
) -> Tuple[Executable, int]:
    """Traces and compiles a function once; returns it with its mask of T."""
    traced = trace(function, entry, arguments)
    names = [argument.name for argument in arguments]
    chosen = schedule if schedule != "auto" else traced.schedule
    wanted = deterministic or traced.deterministic
    return compiled(traced, target, chosen, wanted, names), traced.mask


def compiled(
    traced: Program, target: str, schedule: str, deterministic: bool, names: Sequence[str]
) -> Executable:
    """The program of a text in memory; compiles it if it is not there.

    Threads that want the same program wait for the first of them.
    """
    global _disk_hits
    key = (traced.text, target, schedule, deterministic, _settings.planned_threads)
    with _lock:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        with _lock:
            if key in _programs:
                return _programs[key]
        made = compile_text(
            traced.text,
            target=target,
            schedule=schedule,
            deterministic=deterministic,
            dump=_dump_folder(key),
            names=names,
        )
        with _lock:
            _programs[key] = made
            _disk_hits += made.cached
        return made


def _dump_folder(key: _Key) -> Optional[Tuple[str, str]]:
    """A folder of its own for each program under that of OMNIMOE_DUMP."""
    wanted = _settings.environment_dump()
    if wanted is None:
        return None
    stages, folder = wanted
    text = key[0]
    entry = text[text.index("@") + 1 : text.index("(")]
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:8]
    return stages, os.path.join(folder, f"{entry}-{digest}")


def _disk_files() -> List[Path]:
    folder = _settings.cache_dir()
    if folder is None or not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file()]


def cache_info() -> CacheInfo:
    """How full the caches are, and how often they helped."""
    folder = _settings.cache_dir()
    programs = 0
    size = 0
    for path in _disk_files():
        try:
            size += path.stat().st_size
        except OSError:  # another process trimmed it
            continue
        programs += path.suffix == _SUFFIXES[0]
    with _lock:
        return CacheInfo(
            hits=sum(s.hits for s in _specialisers),
            misses=sum(s.misses for s in _specialisers),
            programs=len(_programs),
            disk_hits=_disk_hits,
            directory=None if folder is None else str(folder),
            disk_programs=programs,
            disk_bytes=size,
        )


def clear_cache(*, memory: bool = True, disk: bool = True) -> None:
    """Forgets compiled programs; those that the caller holds keep working.

    Args:
      memory: forget the programs of this process.
      disk: delete the programs in the cache folder.
    """
    if memory:
        with _lock:
            specialisers = list(_specialisers)
            _programs.clear()
            _locks.clear()
        for each in specialisers:
            each.clear()
    if disk:
        for path in _disk_files():
            try:
                path.unlink()
            except OSError:  # gone already, or not ours to delete
                continue
