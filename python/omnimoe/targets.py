"""The machines that omnimoe can compile for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

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


class DeviceInfo(NamedTuple):
    """A GPU of this machine.

    Attributes:
      name: "cuda:0", as torch counts.
      description: what its maker calls it.
      capability: compute capability, such as (9, 0).
      units: streaming multiprocessors.
      target: what programs for it are compiled for; None if none can be.
    """

    name: str
    description: str
    capability: Tuple[int, int]
    units: int
    target: Optional[str]


def devices() -> List[DeviceInfo]:
    """The GPUs of this machine. Starts the CUDA driver.

    Raises:
      DeviceError: there is none; the message says what is missing.
    """
    found = json.loads(_core.devices())
    if found["missing"]:
        raise DeviceError(found["missing"])
    return [
        DeviceInfo(
            entry["name"],
            entry["description"],
            (int(entry["capability"][0]), int(entry["capability"][1])),
            int(entry["units"]),
            entry["target"],
        )
        for entry in found["devices"]
    ]


#: The targets of devices seen so far.
_device_targets: Dict[str, str] = {"cpu": "cpu"}


def of_device(device: str) -> str:
    """Name of the target to compile for where arrays are on `device`.

    Raises:
      DeviceError: no program can be compiled for that device.
    """
    if device not in _device_targets:
        known = {found.name: found for found in devices()}
        if device not in known:
            raise DeviceError(f"{device}: expected cpu or one of {', '.join(known)}")
        found = known[device]
        if found.target is None:
            major, minor = found.capability
            names = ", ".join(target.name for target in targets())
            raise DeviceError(
                f"{device}: this build cannot compile for {found.description}, a GPU of compute "
                f"capability {major}.{minor}; it can for {names}"
            )
        _device_targets[device] = found.target
    return _device_targets[device]


def _missing(target: str) -> str:
    """What keeps this machine from running programs for a GPU, in parentheses;
    nothing if it can run them."""
    try:
        if any(device.target == target for device in devices()):
            return ""
    except DeviceError as error:
        return f" (programs for {target} do not run here: {error})"
    return f" (programs for {target} do not run here: no GPU of this machine can)"


class Target:
    """A machine to compile for: `Target("cpu")`, `Target("sm_90a")`, or "auto"
    for the default.

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


def resolve(target: Union[str, Target]) -> str:
    """`target=` of a call as the compiler takes it: a name, or "auto", which
    leaves it to the module."""
    if isinstance(target, Target):
        return target.name
    if target == "auto" and os.environ.get("OMNIMOE_TARGET", "").strip() in ("", "auto"):
        return "auto"
    return Target(target).name
