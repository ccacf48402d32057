"""Names that arguments may take, and help for one that is misspelt."""

from __future__ import annotations

import difflib
from typing import Iterable

from .errors import ArgumentError

SCHEDULES = ("auto", "token_centric", "expert_centric", "dense", "hybrid")
WEIGHTINGS = ("exp", "softmax")


def closest(name: object, known: Iterable[str]) -> str:
    """`" (did you mean 'gelu'?)"`, or nothing if no name is close."""
    matches = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def check_name(argument: str, name: object, known: Iterable[str]) -> None:
    """Raises ArgumentError unless `name` is one of `known`."""
    known = tuple(known)
    if not isinstance(name, str) or name not in known:
        raise ArgumentError(
            f"{argument}: expected one of {', '.join(known)}; got {name!r}{closest(name, known)}"
        )
