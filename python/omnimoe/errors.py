"""The exceptions of omnimoe.

Everything that omnimoe refuses is an `OmniMoEError`; each class is also the
built-in exception that a caller would expect (`ValueError`, `OSError`, ...).
"""

from __future__ import annotations

import re
from typing import List, Optional


class OmniMoEError(Exception):
    """Base of all errors of omnimoe; raised itself for internal errors."""


class ArgumentError(OmniMoEError, ValueError):
    """A value that is not possible: an unknown activation, `top_k` > R*C."""


class ShapeError(ArgumentError):
    """An array whose rank, sizes or element type do not fit."""


class ExpertIdError(ArgumentError):
    """An expert id outside [0, N), found because `check=True`."""


class DeviceError(OmniMoEError, RuntimeError):
    """An unknown target, an array on another device than the program's, or a
    GPU, driver or kernel that fails."""


class FileError(OmniMoEError, OSError):
    """A file that cannot be read or written."""


class CompileError(OmniMoEError):
    """IR that does not parse, verify or lower.

    Attributes:
      diagnostics: the compiler's messages, one string each, with locations.
      reproducer: path of a file that reproduces the failure with `omni-opt`,
        or None if none was written.
    """

    diagnostics: List[str]
    reproducer: Optional[str]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.diagnostics = _split_diagnostics(message)
        found = re.search(r"^reproducer: (.+?)(?: \(omni-opt .*\))?$", message, re.MULTILINE)
        self.reproducer = found.group(1).strip() if found else None


def _split_diagnostics(message: str) -> List[str]:
    """Cuts a message where a line begins a diagnostic of its own."""
    diagnostics: List[str] = []
    for line in message.splitlines():
        if line.startswith(("reproducer: ", "no reproducer: ")):
            continue
        starts = re.search(r"\b(error|warning): ", line) is not None
        if starts or not diagnostics:
            diagnostics.append(line)
        else:  # a note, or the quoted source under a message
            diagnostics[-1] += "\n" + line
    return [text.strip() for text in diagnostics if text.strip()]
