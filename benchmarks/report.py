"""What a benchmark found: rows with their targets, as a table and as JSON."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, List, Optional

from rich import box
from rich.console import Console
from rich.table import Table

from .measure import Machine, Times, Work


@dataclass(frozen=True)
class Row:
    """One number beside its target.

    `ratio` is how many times better than `target_ratio`'s reference the number
    is: baseline time / our time, or limit / measured. The row passes at
    `target_ratio` or above; without a target it only informs.
    """

    name: str
    measured: float
    unit: str
    reference: Optional[float] = None
    reference_name: str = ""
    ratio: Optional[float] = None
    target_ratio: Optional[float] = None
    work: Optional[Work] = None
    note: str = ""

    @property
    def passed(self) -> Optional[bool]:
        if self.target_ratio is None:
            return None
        return self.ratio is not None and self.ratio >= self.target_ratio


def beside(
    name: str,
    times: Times,
    other: str,
    *,
    ours: str = "omnimoe",
    target: float,
    work: Optional[Work] = None,
    note: str = "",
) -> Row:
    """Our time beside that of `other`, if it was timed too; `target` is the
    least speed-up."""
    if other not in times.rounds:
        return Row(name, times[ours], "s", work=work, note=note)
    ratio = times.ratio(other, ours)
    return Row(name, times[ours], "s", times[other], other, ratio, target, work, note)


def within_limit(
    name: str,
    measured: float,
    limit: float,
    unit: str,
    *,
    work: Optional[Work] = None,
    note: str = "",
) -> Row:
    """A number that must not pass a limit. Of two zeros the ratio is 1."""
    ratio = limit / measured if measured > 0 else 1.0
    return Row(name, measured, unit, limit, "limit", ratio, 1.0, work, note)


@dataclass
class Report:
    """Everything one run found; `facts` say where."""

    machine: Machine
    facts: Dict[str, object]
    rows: List[Row] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)

    @property
    def failed(self) -> List[Row]:
        return [row for row in self.rows if row.passed is False]

    def print(self, console: Console) -> None:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("what", overflow="fold")
        table.add_column("omnimoe", justify="right", no_wrap=True)
        table.add_column("beside", justify="right")
        table.add_column("ratio", justify="right", no_wrap=True)
        table.add_column("target", justify="right", no_wrap=True)
        table.add_column("floor", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for row in self.rows:
            table.add_row(*_cells(row, self._floor(row)))
        console.print(table)
        for row in self.rows:
            if row.note:
                console.print(f"  {row.name}: {row.note}", style="dim", highlight=False)
        for note in self.notes:
            console.print(f"  {note}", style="dim", highlight=False)
        judged = [row for row in self.rows if row.passed is not None]
        console.print(f"{len(judged) - len(self.failed)} of {len(judged)} targets met")

    def write_json(self, path: Path) -> None:
        machine = {
            **self.facts,
            "threads": self.machine.threads,
            "copy_bytes_per_s": self.machine.copy_rate,
            "matmul_flop_per_s": self.machine.matmul_rate,
        }
        rows = [
            {**asdict(row), "floor": self._floor(row), "passed": row.passed} for row in self.rows
        ]
        content = {"machine": machine, "rows": rows, "notes": self.notes}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _floor(self, row: Row) -> Optional[float]:
        return None if row.work is None else self.machine.floor(row.work)


def _cells(row: Row, floor: Optional[float]) -> List[str]:
    beside = ""
    if row.reference is not None:
        beside = f"{row.reference_name} {quantity(row.reference, row.unit)}"
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: ""}
    return [
        row.name,
        quantity(row.measured, row.unit),
        beside,
        "" if row.ratio is None else f"{row.ratio:.2f}x",
        "" if row.target_ratio is None else f"≥ {row.target_ratio:.3g}x",
        "" if floor is None else quantity(floor, "s"),
        marks[row.passed],
    ]


def quantity(value: float, unit: str) -> str:
    """A number with its unit, three digits wide."""
    if unit == "s":
        for factor, name in ((1, "s"), (1e3, "ms")):
            if value * factor >= 1:
                return f"{value * factor:.3g} {name}"
        return f"{value * 1e6:.3g} µs"
    if unit == "B":
        return f"{value / 2**20:.3g} MiB"
    return f"{value:.3g} {unit}".rstrip()
