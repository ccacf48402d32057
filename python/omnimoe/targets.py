"""The machines that omnimoe can compile for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import List, Union

from . import _core
from ._names import closest
from .errors import DeviceError


@dataclass(frozen=True)
class TargetInfo:
    """One machine of `targets()`.

    Attributes:
      name: what `target=` takes.
      chip: LLVM's name of the chip.
      units: cores, or streaming multiprocessors.
      attribute: the `#omnimoe.target` attribute, as MLIR text.
    """

    name: str
    chip: str
    units: int
    attribute: str


def targets() -> List[TargetInfo]:
    """The machines this build compiles for on this host."""
    return [
        TargetInfo(entry["name"], entry["chip"], int(entry["units"]), entry["attribute"])
        for entry in json.loads(_core.targets())
    ]


class Target:
    """A machine to compile for: `Target("cpu")`, or "auto" for the default.

    "auto" is what `OMNIMOE_TARGET` names, else the host's CPU.

    Raises:
      DeviceError: this build cannot compile for `name`.
    """

    def __init__(self, name: str = "auto") -> None:
        known = {target.name: target for target in targets()}
        origin = "target"
        if name == "auto":
            name = os.environ.get("OMNIMOE_TARGET", "").strip() or "cpu"
            origin = "OMNIMOE_TARGET"
        if name == "auto":
            name = "cpu"
        if name not in known:
            raise DeviceError(
                f"{origin}: this build cannot compile for {name!r}; it can for "
                f"{', '.join(sorted(known))}{closest(name, known)}"
            )
        self.info = known[name]

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def chip(self) -> str:
        return self.info.chip

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Target({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target) and self.info == other.info

    def __hash__(self) -> int:
        return hash(self.info)


def resolve(target: Union[str, Target]) -> Target:
    """`target=` of a call as a Target."""
    return target if isinstance(target, Target) else Target(target)
