#!/usr/bin/env python3
"""An OmniMoE layer over real text: compiled, run, timed and checked.

The UTF-8 bytes of the Python language reference become tokens; a layer of
64 x 64 atomic experts and a shared MLP is compiled for this machine, for its GPU
if there is one, and run on them. Prints a report and writes the IR of each stage
to a folder.

usage: run.py [--tokens T] [--device auto|cpu|gpu] [--output FOLDER]
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy  # noqa: E402
from rich.console import Console  # noqa: E402

import omnimoe  # noqa: E402

from examples.real_text import device, measurements, model, report, text  # noqa: E402


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4096, metavar="T", help="bytes of the text")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="where to run (default: a CUDA GPU if there is one)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "build" / "real_text",
        metavar="FOLDER",
        help="receives the IR of each stage (default: build/real_text)",
    )
    options = parser.parse_args()
    available = len(text.language_reference())
    if not 1 <= options.tokens <= available:
        parser.error(f"--tokens: expected 1 to {available}, got {options.tokens}")
    return options


def compile_in_fresh_processes(target: str) -> Dict[str, float]:
    """Seconds to compile the layer with an empty disk cache, then a filled one."""
    script = Path(__file__).with_name("compile_layer.py")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "OMNIMOE_CACHE_DIR": folder, "OMNIMOE_DUMP": ""}
        runs = [
            json.loads(
                subprocess.check_output([sys.executable, str(script), target], env=environment)
            )
            for _ in range(2)
        ]
    if runs[0]["cached"] or not runs[1]["cached"]:
        raise RuntimeError(f"the disk cache was not used as expected: {runs}")
    return {"cold": runs[0]["seconds"], "from the disk cache": runs[1]["seconds"]}


def compile_with_ir(arguments: tuple, folder: Path) -> Any:
    """Compiles the layer once more, with the IR of every stage in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return omnimoe.compile(model.layer, args=arguments, dump=f"all:{folder}")


def main() -> None:
    options = parse_arguments()
    console = Console()
    sizes = model.Sizes()
    try:
        where, why_not_gpu = device.pick(options.device)
    except omnimoe.DeviceError as error:
        sys.exit(f"run.py: --device gpu: {error}")
    if why_not_gpu:
        console.print(f"on the CPU: {why_not_gpu}", style="dim", highlight=False)
    x = text.embed(text.language_reference()[: options.tokens], sizes.hidden)
    params = model.make_parameters(sizes)

    console.print("compiling the layer in fresh processes, cold and cached ...", style="dim")
    compile_seconds = compile_in_fresh_processes(where.target)
    arguments = where.put(x), {name: where.put(array) for name, array in params.items()}
    program = compile_with_ir((*arguments, sizes.top_k), options.output)
    console.print("running and checking it ...", style="dim")
    found = measurements.measure_parts(program, x, params, sizes, where)

    libraries: List[str] = [f"NumPy {numpy.__version__}"]
    torch = where.torch
    libraries.append(f"torch {torch.__version__}" if torch else "torch not installed")
    report.print_report(
        console,
        title=(
            f"An OmniMoE layer over the Python {platform.python_version()} language reference\n"
            f"{options.tokens} tokens (bytes), D = {sizes.hidden}, {sizes.rows} x {sizes.columns}"
            f" experts, K = {sizes.top_k}, I = {sizes.intermediate}\n"
            f"{where.describe(program)}; beside {', '.join(libraries)}"
        ),
        schedules=program.schedules,
        tokens=options.tokens,
        compile_seconds=compile_seconds,
        measurements=found,
        timing_note=where.note,
        ir_files=sorted(path for path in options.output.iterdir() if path.is_file()),
    )


if __name__ == "__main__":
    main()
