"""Settings of the process: environment variables, threads, logging.

| variable | meaning |
| --- | --- |
| `OMNIMOE_CACHE_DIR` | folder of the disk cache and of what was tuned (default `~/.cache/omnimoe`; empty: none) |
| `OMNIMOE_DUMP` | `<stage,...|all>:<dir>`: writes the IR of stages of each compilation |
| `OMNIMOE_TARGET` | what `target="auto"` means |
| `OMNIMOE_NUM_THREADS` | threads that programs use, read when omnimoe is imported |
| `OMNIMOE_LOG` | level of the logger "omnimoe": debug, info, warning, ... |
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path
from typing import List, Optional, Tuple

from . import _core
from .errors import ArgumentError

log = logging.getLogger("omnimoe")

#: Threads that the user asked for, 0 if it is the machine's; part of the key
#: of every compiled program, since the plan depends on it.
planned_threads = 0


def cache_dir() -> Optional[Path]:
    """Folder of the disk cache, or None if it is switched off."""
    chosen = os.environ.get("OMNIMOE_CACHE_DIR")
    if chosen is not None:
        return Path(chosen).expanduser() if chosen.strip() else None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "omnimoe"


def stages(target: str = "cpu") -> List[str]:
    """Names of the stages that IR for `target` can be looked at after, in order."""
    return list(json.loads(_core.stages(target)))


def _all_stages() -> List[str]:
    """Names of the stages of any target, each once."""
    names = [entry["name"] for entry in json.loads(_core.targets())]
    return list(dict.fromkeys(stage for name in names for stage in stages(name)))


def parse_dump(value: str, origin: str) -> Tuple[str, str]:
    """`"tile,llvm:dir"` -> `("tile,llvm", "dir")`; `"dir"` means all stages."""
    wanted, colon, folder = value.partition(":")
    if not colon:
        wanted, folder = "all", value
    if not folder.strip():
        raise ArgumentError(
            f"{origin}: expected '<stage,...|all>:<dir>' with a folder, got {value!r}"
        )
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    known = _all_stages()
    for name in names:
        if name != "all" and name not in known:
            raise ArgumentError(
                f"{origin}: unknown stage {name!r}; stages are all, {', '.join(known)}"
            )
    return ",".join(names) or "all", os.path.expanduser(folder)


def environment_dump() -> Optional[Tuple[str, str]]:
    """What `OMNIMOE_DUMP` asks for."""
    value = os.environ.get("OMNIMOE_DUMP", "")
    return parse_dump(value, "OMNIMOE_DUMP") if value.strip() else None


def set_num_threads(threads: int) -> None:
    """Sets how many threads compiled programs use; 0 restores the machine's.

    Raises:
      ArgumentError: `threads` is negative or no integer.
    """
    global planned_threads
    if not isinstance(threads, int) or isinstance(threads, bool) or not 0 <= threads <= 4096:
        raise ArgumentError(f"threads: expected an integer from 0 to 4096, got {threads!r}")
    _core.set_num_threads(threads)
    planned_threads = threads


def get_num_threads() -> int:
    """The number of threads that compiled programs use."""
    return _core.get_num_threads()


def _set_up_logging() -> None:
    level = os.environ.get("OMNIMOE_LOG", "").strip().upper()
    if not level:
        return
    number = int(level) if level.isdigit() else getattr(logging, level, None)
    if not isinstance(number, int):
        warnings.warn(f"OMNIMOE_LOG: unknown level {level!r}; ignored", stacklevel=2)
        return
    log.setLevel(number)
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s %(levelname)s: %(message)s"))
        log.addHandler(handler)


def _set_up_threads() -> None:
    value = os.environ.get("OMNIMOE_NUM_THREADS", "").strip()
    if not value:
        return
    try:
        set_num_threads(int(value))
    except ValueError:
        warnings.warn(
            f"OMNIMOE_NUM_THREADS: expected an integer from 0 to 4096, got {value!r}; ignored",
            stacklevel=2,
        )


_set_up_logging()
_set_up_threads()
