#!/usr/bin/env python3
"""Measures omnimoe on a CUDA GPU against its targets; see docs/Benchmarks.md.

usage: gpu.py [--rows TEXT,...] [--beside NAME,...] [--peers FOLDER] [--quick]
              [--backward] [--json FILE] [--plot PNG]

Prints tables and exits 1 if a target was missed, 2 if there is nothing to
measure on.
"""

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import List, Optional

# Before anything starts the driver: what it compiles when it loads kernels it keeps
# in a disk cache of its own, which is empty to begin with, like omnimoe's.
_DRIVER_CACHE = tempfile.TemporaryDirectory(prefix="omnimoe-benchmark-driver-cache-")
os.environ["CUDA_CACHE_PATH"] = _DRIVER_CACHE.name
os.environ.pop("CUDA_CACHE_DISABLE", None)

from rich.console import Console  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import omnimoe  # noqa: E402

BESIDE = ("torch", "compile", "dense", "triton")


def parse_arguments(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", default="", metavar="TEXT,...", help="only rows whose name contains one of these"
    )
    parser.add_argument(
        "--beside",
        default=",".join(BESIDE),
        metavar="NAME,...",
        help=f"what to stand beside, of {', '.join(BESIDE)}; empty: nothing (default: all)",
    )
    parser.add_argument(
        "--peers",
        type=Path,
        metavar="FOLDER",
        help="holds checkouts of the published Triton implementations, one a folder",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=600,
        metavar="SECONDS",
        help="that torch.compile and Triton's autotuning may take in all (default: 600)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions; noisier")
    parser.add_argument(
        "--backward", action="store_true", help="forward and backward of omnimoe.torch instead"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="also draw the rows")
    options = parser.parse_args(arguments)
    options.beside = tuple(name for name in options.beside.split(",") if name)
    for name in options.beside:
        if name not in BESIDE:
            parser.error(f"--beside: unknown name '{name}' (known: {', '.join(BESIDE)})")
    if options.peers and not options.peers.is_dir():
        parser.error(f"--peers: there is no folder {options.peers}")
    if options.plot:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            parser.error("--plot: matplotlib is not installed")
    return options


def what_is_missing() -> str:
    """Why nothing can be measured here; empty if something can."""
    try:
        if not any(device.target for device in omnimoe.devices()):
            return "omnimoe cannot compile for any GPU of this machine"
    except omnimoe.DeviceError as error:
        return str(error)
    try:
        import torch
    except ImportError:
        return "torch is not installed; it holds the inputs and stands beside"
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} does not see the GPU (is it a build for CUDA?)"
    return ""


def pick_rows(options: argparse.Namespace) -> list:
    if options.backward:
        from benchmarks.cuda import backward

        known = backward.all_rows()
    else:
        from benchmarks.cuda import rows

        known = rows.all_rows()
    wanted = [text for text in options.rows.split(",") if text]
    found = [row for row in known if not wanted or any(text in row.name for text in wanted)]
    if not found:
        names = "\n  ".join(row.name for row in known)
        sys.exit(f"gpu.py: --rows: no row's name contains {options.rows!r}; rows are\n  {names}")
    return found


def measure(options: argparse.Namespace, console: Console):
    import torch

    from benchmarks.cuda import host, peers, report, run
    from benchmarks.cuda.measure import QUICK, THOROUGH, measure_gpu

    def say(text: str) -> None:
        console.print(text, style="dim", highlight=False, markup=False)

    torch.set_grad_enabled(bool(options.backward))
    effort = QUICK if options.quick else THOROUGH
    session = run.Session(effort, options.beside, options.budget, say)
    chosen = pick_rows(options)
    facts = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "omnimoe": omnimoe.__version__,
        "python": platform.python_version(),
    }
    result = report.Report(facts, measure_gpu(torch.device("cuda")))
    for row in chosen:
        say(f"measuring {row.name} ...")
        result.results.append(session.measure(row))
    if not options.backward:
        result.host = host.measure_host(effort)
    if "triton" in options.beside:
        published = peers.Peers(options.peers)
        result.notes += [f"not importable: {each}" for each in published.missing]
        for row, found in zip(chosen, result.results):
            say(f"published implementations: {row.name} ...")
            try:
                session.measure_peers(row, published, found)
            except Exception as error:  # what it did may have ended the context
                result.notes.append(f"published implementations stopped at {row.name}: {error}")
                break
    return result


def main() -> int:
    options = parse_arguments()
    missing = what_is_missing()
    if missing:
        print(f"gpu.py: there is no GPU to measure on: {missing}", file=sys.stderr)
        return 2
    # A file or a pipe has no width to keep to.
    console = Console() if sys.stdout.isatty() else Console(width=150)
    result = measure(options, console)
    result.print(console)
    if options.json:
        result.write_json(options.json)
        console.print(f"wrote {options.json}", highlight=False)
    if options.plot:
        from benchmarks.cuda.report import plot

        plot(result, options.plot)
        console.print(f"wrote {options.plot}", highlight=False)
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
