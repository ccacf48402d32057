"""Text as bytes: training and validation parts, and batches of windows."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Optional, Tuple

import torch

#: Bytes of a block; every tenth block is validation text.
BLOCK = 4096
VALIDATION_EVERY = 10


def read(path: Optional[Path]) -> bytes:
    """The file's bytes; without a file, the Python language reference that
    ships with CPython."""
    if path is not None:
        return path.read_bytes()
    from pydoc_data import topics

    return "\n\n".join(topics.topics[name] for name in sorted(topics.topics)).encode("utf-8")


def split(text: bytes, window: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """Training and validation text, uint8 [n].

    Every tenth block of 4096 bytes (of a tenth of that for short texts) is
    validation text, so both parts come from all over the text.

    Raises:
      ValueError: the text is too short for a window in each part.
    """
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    block = min(BLOCK, max(len(data) // (2 * VALIDATION_EVERY), 1))
    number = torch.arange(len(data)) // block
    held_out = number % VALIDATION_EVERY == VALIDATION_EVERY - 1
    training, validation = data[~held_out], data[held_out]
    if min(len(training), len(validation)) < window + 1:
        raise ValueError(
            f"the text has {len(data)} bytes, too few for windows of {window} in the training "
            "and the validation part"
        )
    return training, validation


def batch(
    data: torch.Tensor, count: int, window: int, generator: torch.Generator
) -> Tuple[torch.Tensor, torch.Tensor]:
    """`count` random windows and the bytes that follow: int64 [count, window]."""
    starts = torch.randint(len(data) - window, (count,), generator=generator)
    rows = data[starts[:, None] + torch.arange(window + 1)].long()
    return rows[:, :-1], rows[:, 1:]


def windows(
    data: torch.Tensor, count: int, window: int
) -> Iterator[Tuple[torch.Tensor, torch.Tensor]]:
    """The text from its beginning, as batches of windows that do not overlap."""
    total = (len(data) - 1) // window
    inputs = data[: total * window].long().reshape(total, window)
    targets = data[1 : total * window + 1].long().reshape(total, window)
    for first in range(0, total, count):
        yield inputs[first : first + count], targets[first : first + count]
