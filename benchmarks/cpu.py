#!/usr/bin/env python3
"""Measures omnimoe on the CPU against its targets; see docs/Benchmarks.md.

usage: cpu.py [--quick] [--only SECTION,...] [--threads N] [--json FILE]

Prints a table and exits 1 if a target was missed.
"""

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import List, Optional

import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import measure, report, sections  # noqa: E402

import omnimoe  # noqa: E402


def parse_arguments(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds; noisier")
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="threads of either side"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    parser.add_argument(
        "--only",
        default=",".join(sections.SECTIONS),
        metavar="SECTION,...",
        help="some of: " + ", ".join(sections.SECTIONS),
    )
    options = parser.parse_args(arguments)
    options.only = [name for name in options.only.split(",") if name]
    for name in options.only:
        if name not in sections.SECTIONS:
            parser.error(
                f"--only: unknown section '{name}' (known: {', '.join(sections.SECTIONS)})"
            )
    if options.threads < 0:
        parser.error(f"--threads: expected a positive number, got {options.threads}")
    options.threads = options.threads or len(os.sched_getaffinity(0))
    return options


def import_torch(threads: int):
    """torch with `threads` threads, or None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    return torch


def measure_machine(threads: int, torch) -> measure.Machine:
    def torch_matmul(left, right):
        return torch.from_numpy(left) @ torch.from_numpy(right)

    return measure.Machine(
        threads=threads,
        copy_rate=measure.measure_copy_rate(threads),
        matmul_rate=measure.measure_matmul_rate(torch_matmul if torch else np.matmul),
    )


def facts(torch) -> dict:
    return {
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__ if torch else None,
        "omnimoe": omnimoe.__version__,
    }


def cpu_name() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> int:
    options = parse_arguments()
    # A file or a pipe has no width to keep to.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    omnimoe.set_num_threads(options.threads)
    torch = import_torch(options.threads)
    result = report.Report(measure_machine(options.threads, torch), facts(torch))
    if torch is None:
        result.notes.append("torch is not installed: rows beside it have no ratio and no mark")
    context = sections.Context(options.threads, torch, rounds=5 if options.quick else 15)
    for name in options.only:
        console.print(f"measuring {name} ...", style="dim", highlight=False)
        result.rows += sections.SECTIONS[name](context)
        # A machine that is shared is not always as fast as it can be.
        result.machine = result.machine.best(measure_machine(options.threads, torch))
    console.print(
        f"\n{result.facts['cpu']}, {options.threads} threads: copies"
        f" {result.machine.copy_rate / 1e9:.3g} GB/s, f32 matrix product"
        f" {result.machine.matmul_rate / 1e9:.3g} GFLOP/s"
        f" ({'torch ' + torch.__version__ if torch else 'NumPy ' + np.__version__})",
        highlight=False,
    )
    result.print(console)
    if options.json:
        result.write_json(options.json)
        console.print(f"wrote {options.json}", highlight=False)
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
