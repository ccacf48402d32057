"""The report of the example, readable at a glance."""

from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from benchmarks.report import quantity

from .measurements import Measurements, Part


def print_report(
    console: Console,
    *,
    title: str,
    schedules: Sequence[Any],
    tokens: int,
    compile_seconds: Dict[str, float],
    measurements: Measurements,
    timing_note: str,
    ir_files: List[Path],
) -> None:
    """Prints everything; `schedules` are the `ScheduleChoice`s of the program."""
    console.print(Panel(title, box=box.ROUNDED, expand=False, style="bold"))
    console.print(_schedule_table(schedules, tokens))
    if len(schedules) > 1:
        console.print("; ".join(_range(choice) for choice in schedules), style="dim")
    console.print(_compile_line(compile_seconds))
    console.print(_part_table(measurements.parts, tokens))
    console.print(f"{timing_note} {_error_note(measurements, tokens)}", style="dim", highlight=False)
    console.print(_load_panel(measurements.load))
    folder = ir_files[0].parent
    console.print(f"IR of each stage: {folder}", highlight=False, soft_wrap=True)
    console.print("  " + ", ".join(file.name for file in ir_files), style="dim", highlight=False)


def _error_note(measurements: Measurements, tokens: int) -> str:
    note = (
        "Errors are relative, against float64 in NumPy; the router's is the share of choices"
        " that differ from its definition."
    )
    if measurements.decided < tokens:
        note += (
            f" The layer's is over the {measurements.decided} tokens whose last expert is"
            " ahead of the next by more than rounding."
        )
    return note + "\n"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")


def _schedule_table(schedules: Sequence[Any], tokens: int) -> Table:
    """Estimates of the range that `tokens` lies in, fastest first."""
    here = next(c for c in schedules if c.max_tokens is None or tokens <= c.max_tokens)
    table = _table()
    table.add_column("schedule of the experts")
    table.add_column(f"estimate for {here.tokens:,} tokens", justify="right")
    table.add_column("")
    for name, estimate in sorted(here.estimates.items(), key=lambda item: item[1]):
        chosen = "[green]chosen[/]" if name == here.schedule else ""
        table.add_row(name, quantity(estimate, "s"), chosen)
    return table


def _range(choice: Any) -> str:
    limit = "more" if choice.max_tokens is None else f"{choice.max_tokens}"
    return f"T {choice.min_tokens} to {limit}: {choice.schedule}"


def _compile_line(seconds: Dict[str, float]) -> Text:
    text = Text("Compile time of the layer:  ")
    for i, (name, value) in enumerate(seconds.items()):
        text.append("   " if i else "")
        text.append(f"{name} ")
        text.append(quantity(value, "s"), style="bold")
    return text.append("\n")


def _part_table(parts: List[Part], tokens: int) -> Table:
    others = [name for name in parts[0].times.rounds if name != "omnimoe"]
    table = _table()
    table.add_column("part")
    table.add_column("omnimoe", justify="right", style="bold")
    table.add_column("tokens/s", justify="right")
    for name in others:
        table.add_column(name, justify="right")
        table.add_column("", justify="right")
    table.add_column("error", justify="right", no_wrap=True)
    for part in parts:
        ours = part.times["omnimoe"]
        cells = [part.name, quantity(ours, "s"), f"{tokens / ours:,.0f}"]
        for name in others:
            cells += [
                quantity(part.times[name], "s"),
                f"{part.times.ratio(name, 'omnimoe'):.1f}x",
            ]
        cells.append("none" if part.error == 0 else f"{part.error:.1e}")
        table.add_row(*cells)
    return table


def _load_panel(load: np.ndarray) -> Group:
    used = np.count_nonzero(load)
    mean = load.mean()
    line = Text("Experts used: ")
    line.append(f"{used / len(load):.1%}", style="bold")
    line.append(f" of {len(load)}; tokens of an expert: mean {mean:.1f}, most {load.max()}")
    return Group(line, *_histogram(load), "")


def _histogram(load: np.ndarray) -> List[Text]:
    """How many experts have how many tokens: one bar a range of loads, each
    range twice as far as the one before."""
    limits = [0] + [2**i for i in range(int(load.max()).bit_length() + 1)]
    counts = [np.count_nonzero((load >= a) & (load < b)) for a, b in zip(limits, limits[1:])]
    most = max(counts)
    lines = []
    for count, begin, end in zip(counts, limits, limits[1:]):
        name = f"{begin}" if end - begin == 1 else f"{begin}-{end - 1}"
        lines.append(Text(f"  {name:>9} tokens {_bar(count / most, 32):<32} {count} experts"))
    return lines


def _bar(share: float, width: int) -> str:
    """A bar of `share` of `width` characters, to an eighth of one."""
    eighths = round(share * width * 8)
    partial = "▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else ""
    return "█" * (eighths // 8) + partial
