"""What a run leaves behind: a table, curves, and a sample of text."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import torch
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.language_model.training import History, Run


@dataclass(frozen=True)
class Result:
    """One kind's outcome; losses in nats a byte."""

    kind: str
    active: int
    total: int
    training: float
    validation: float
    seconds: float
    used_experts: Optional[float]


def result(run: Run) -> Result:
    """Of a finished run that has been evaluated."""
    recent = [loss for _, loss in run.history.training[-20:]]
    return Result(
        run.model.kind,
        run.model.active_parameters,
        sum(p.numel() for block in run.model.blocks for p in block.parameters()),
        sum(recent) / len(recent),
        run.history.validation[-1][1],
        run.history.seconds,
        _used_experts(run),
    )


def _used_experts(run: Run) -> Optional[float]:
    counts = [getattr(block.feed_forward, "expert_usage", None) for block in run.model.blocks]
    found = [count for count in counts if count is not None and count.sum() > 0]
    return float((torch.cat(found) > 0).double().mean()) if found else None


def print_table(console: Console, results: Sequence[Result]) -> None:
    """The kinds, best first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("layers")
    for name in ("active", "all", "training", "validation", "bits/byte", "seconds"):
        table.add_column(name, justify="right")
    best = min(each.validation for each in results)
    for each in sorted(results, key=lambda each: each.validation):
        style = "bold" if each.validation == best else ""
        table.add_row(
            each.kind,
            f"{each.active:,}",
            f"{each.total:,}",
            f"{each.training:.3f}",
            Text(f"{each.validation:.3f}", style=style),
            f"{each.validation / math.log(2):.3f}",
            f"{each.seconds:.0f}",
        )
    console.print(table)
    note = (
        "Parameters of the blocks: active ones, which one token's computation reads, and all. "
        "Losses in nats a byte."
    )
    for each in results:
        if each.used_experts is not None:
            note += f" {each.kind} chose {each.used_experts:.1%} of its experts."
    console.print(note + "\n", style="dim", highlight=False)


def print_sample(console: Console, kind: str, prompt: bytes, sample: bytes) -> None:
    """Generated text, with the prompt set off."""
    text = Text(prompt.decode("utf-8", "replace"), style="bold")
    text.append(sample[len(prompt) :].decode("utf-8", "replace"), style="not bold")
    console.print(Panel(text, title=f"written by {kind}", box=box.ROUNDED, title_align="left"))


def write_losses(histories: Dict[str, History], path: Path) -> None:
    """All losses as a table of comma-separated values."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["kind", "part", "step", "loss"])
        for kind, history in histories.items():
            for part in ("training", "validation"):
                for step, loss in getattr(history, part):
                    rows.writerow([kind, part, step, f"{loss:.5f}"])


def draw_curves(histories: Dict[str, History], path: Path) -> bool:
    """The losses over the steps as a PNG; False if matplotlib is not there."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for number, (kind, history) in enumerate(histories.items()):
        color = f"C{number}"
        steps, losses = zip(*history.training)
        axes.plot(steps, _smoothed(losses), color=color, linewidth=1, alpha=0.5)
        if history.validation:
            steps, losses = zip(*history.validation)
            axes.plot(steps, losses, color=color, marker="o", markersize=3, label=kind)
    axes.set(xlabel="step", ylabel="nats a byte", title="Validation (dots) and training loss")
    axes.set_yscale("log")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    return True


def _smoothed(losses: Sequence[float], rate: float = 0.1) -> List[float]:
    """The exponentially weighted mean of the losses so far."""
    smooth, weight, means = 0.0, 0.0, []
    for loss in losses:
        smooth = (1 - rate) * smooth + rate * loss
        weight = (1 - rate) * weight + rate
        means.append(smooth / weight)
    return means
