"""The report of benchmarks/gpu.py: tables, JSON, and a plot."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, List, Optional

from rich import box
from rich.console import Console
from rich.table import Table

from ..measure import Machine
from ..report import quantity
from .host import LIMIT
from .run import Figures, Result

#: Limits of the first call with nothing compiled, and out of the disk cache.
COLD_LIMIT = 1.5
CACHED_LIMIT = 0.030

MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: ""}


@dataclass
class Report:
    """Everything that one run found; `facts` say where."""

    facts: Dict[str, object]
    machine: Machine
    results: List[Result] = field(default_factory=list)
    host: Dict[str, float] = field(default_factory=dict)
    notes: List[str] = field(default_factory=list)

    @property
    def failed(self) -> List[str]:
        """Names of what missed its target, or gave a wrong result."""
        names = [r.name for r in self.results if r.passed is False]
        names += [f"host: {name}" for name in self.host if not self._host_passed(name)]
        names += [f"first call: {r.name}" for r in self.results if not _first_passed(r)]
        return names

    def _host_passed(self, name: str) -> bool:
        return name.startswith("torch") or self.host[name] <= LIMIT

    def print(self, console: Console) -> None:
        console.print(
            f"\n{self.facts['gpu']}: copies {self.machine.copy_rate / 1e12:.3g} TB/s, bf16 matrix"
            f" product {self.machine.matmul_rate / 1e12:.3g} TFLOP/s; torch {self.facts['torch']},"
            f" omnimoe {self.facts['omnimoe']}",
            highlight=False,
        )
        console.print(self._targets())
        if any(r.beside for r in self.results):
            console.print(self._beside())
        if any(r.cold is not None for r in self.results):
            console.print(self._first_calls())
        if self.host:
            console.print(self._host())
        for result in self.results:
            for name, note in result.notes.items():
                line = f"  {result.name}: {name}: {note}"
                console.print(line, style="dim", highlight=False, markup=False)
        for note in self.notes:
            console.print(f"  {note}", style="dim", highlight=False, markup=False)
        judged = sum(r.passed is not None for r in self.results) + len(self.host)
        judged += sum(r.cold is not None for r in self.results)
        console.print(f"{judged - len(self.failed)} of {judged} targets met")

    def _targets(self) -> Table:
        table = _table("what", "in a graph", "alone", "target", "ratio", "floor")
        for name in ("TB/s", "TFLOP/s", "error"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for r in self.results:
            cells = [r.name + (f" ({r.schedule})" if "auto" in r.name and r.schedule else "")]
            if r.figures is None:
                cells += ["", "", _time(r.target), "", "", "", "", ""]
            else:
                moved = r.streamed or r.work.bytes
                cells += [
                    _time(r.figures.graph),
                    _time(r.figures.single),
                    _time(r.target),
                    "" if r.ratio is None else f"{r.ratio:.2f}x",
                    _time(self.machine.floor(r.work)),
                    f"{moved / r.figures.best / 1e12:.2f}",
                    f"{r.work.flops / r.figures.best / 1e12:.4g}" if r.work.flops else "",
                    "none" if r.error == 0 else f"{r.error:.1e}",
                ]
            table.add_row(*cells, MARKS[r.passed])
        return table

    def _beside(self) -> Table:
        names: List[str] = []
        for result in self.results:
            names += [name for name in result.beside if name not in names]
        table = _table("what", "omnimoe", *names)
        for r in self.results:
            if r.beside and r.figures:
                others = [_against(r.beside.get(name), r.figures.best) for name in names]
                table.add_row(r.name, _time(r.figures.best), *others)
        return table

    def _first_calls(self) -> Table:
        table = _table("first call", "cold", "limit", "disk cache", "limit", "")
        for r in self.results:
            if r.cold is not None:
                limits = _time(COLD_LIMIT), _time(CACHED_LIMIT)
                times = _time(r.cold), _time(r.cached)
                mark = MARKS[_first_passed(r)]
                table.add_row(r.name, times[0], limits[0], times[1], limits[1], mark)
        return table

    def _host(self) -> Table:
        table = _table("host time of a call, T=1", "time", "limit", "")
        for name, seconds in self.host.items():
            limited = not name.startswith("torch")
            mark = MARKS[self._host_passed(name)] if limited else ""
            table.add_row(name, _time(seconds), _time(LIMIT) if limited else "", mark)
        return table

    def write_json(self, path: Path) -> None:
        content = {
            "machine": {
                **self.facts,
                "copy_bytes_per_s": self.machine.copy_rate,
                "matmul_flop_per_s": self.machine.matmul_rate,
            },
            "rows": [
                {
                    **asdict(r),
                    "floor": None if r.work is None else self.machine.floor(r.work),
                    "passed": r.passed,
                }
                for r in self.results
            ],
            "host_seconds": self.host,
            "notes": self.notes,
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _first_passed(result: Result) -> bool:
    if result.cold is None or result.cached is None:
        return True
    return result.cold <= COLD_LIMIT and result.cached <= CACHED_LIMIT


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _time(seconds: Optional[float]) -> str:
    return "" if seconds is None else quantity(seconds, "s")


def _against(figures: Optional[Figures], ours: float) -> str:
    return "" if figures is None else f"{_time(figures.best)} ({figures.best / ours:.2g}x)"


def plot(report: Report, path: Path) -> None:
    """Bars of every row on a logarithmic scale, with targets and floors."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [r for r in report.results if r.figures]
    names = ["omnimoe"]
    for row in rows:
        names += [name for name in row.beside if name not in names]
    height = 0.8 / len(names)
    figure, axes = pyplot.subplots(figsize=(10, 1.5 + 0.22 * len(names) * len(rows)))
    for i, name in enumerate(names):
        found = {"omnimoe": lambda r: r.figures}.get(name, lambda r, n=name: r.beside.get(n))
        values = [(y, found(r).best * 1e3) for y, r in enumerate(rows) if found(r)]
        places = [y + (i - (len(names) - 1) / 2) * height for y, _ in values]
        axes.barh(places, [value for _, value in values], height * 0.95, label=name)
    for y, row in enumerate(rows):
        floor = report.machine.floor(row.work) * 1e3
        axes.plot([floor, floor], [y - 0.4, y + 0.4], "k:", label="floor" if y == 0 else None)
    aimed = [(y, r.target * 1e3) for y, r in enumerate(rows) if r.target]
    if aimed:
        heights, values = zip(*aimed)
        axes.plot(values, heights, "kD", markersize=4, label="target")
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds, median")
    axes.set_title(f"omnimoe {report.facts['omnimoe']} on {report.facts['gpu']}", fontsize=10)
    axes.grid(axis="x", which="both", alpha=0.25)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
