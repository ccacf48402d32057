#!/usr/bin/env python3
"""Trains a small language model on real text, once for each kind of layer.

A byte-level transformer learns the Python language reference that ships with
CPython, or a file, with feed-forward layers of several kinds and equal active
parameters: OmniMoE, dense SwiGLU, PEER, coarse mixture of experts. Prints a table
of validation losses and a sample of text; writes checkpoints, losses.csv and
losses.png (if matplotlib is installed) to a folder.

usage: run.py [--kinds K,K...] [--text FILE] [--steps N] [--resume] ...
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Dict, List

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

try:
    import torch
except ImportError:
    sys.exit(
        "this example needs torch: .venv/bin/python -m pip install -r "
        "utils/requirements-torch-optional.txt"
    )
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402

import omnimoe  # noqa: E402

from examples.language_model import report, text, training  # noqa: E402
from examples.language_model.feed_forward import KINDS  # noqa: E402
from examples.language_model.model import Sizes  # noqa: E402


def parse_arguments() -> argparse.Namespace:
    sizes, plan = Sizes(), training.Options()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)} (default: all)")
    add("--text", type=Path, metavar="FILE", help="text to learn (default: pydoc_data.topics)")
    add("--steps", type=int, default=plan.steps, help=f"of training (default: {plan.steps})")
    add("--batch", type=int, default=plan.batch, help=f"windows a step (default: {plan.batch})")
    add("--window", type=int, default=sizes.window, help=f"bytes (default: {sizes.window})")
    add("--hidden", type=int, default=sizes.hidden, help=f"D (default: {sizes.hidden})")
    add("--inner", type=int, default=sizes.inner, help=f"dense I (default: {sizes.inner})")
    add("--layers", type=int, default=sizes.layers, help=f"(default: {sizes.layers})")
    add("--seed", type=int, default=plan.seed, help="of weights and batches")
    add("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda")
    add("--graph", action="store_true", help="on a GPU: replay each step as one CUDA graph")
    add("--threads", type=int, default=0, help="on the CPU (default: all cores)")
    add("--resume", action="store_true", help="continue from the checkpoints in the folder")
    add("--checkpoint-every", type=int, default=50, metavar="N", help="steps (default: 50)")
    add("--prompt", default="The import statement ", help="how the sample of text begins")
    add("--sample", type=int, default=300, metavar="N", help="bytes to generate (0: none)")
    add(
        "--output",
        type=Path,
        default=ROOT / "build" / "language_model",
        metavar="FOLDER",
        help="receives checkpoints and curves (default: build/language_model)",
    )
    options = parser.parse_args()
    options.kinds = [kind.strip() for kind in options.kinds.split(",") if kind.strip()]
    for kind in options.kinds:
        if kind not in KINDS:
            parser.error(f"--kinds: expected some of {', '.join(KINDS)}; got {kind!r}")
    for name in ("steps", "batch", "window", "hidden", "inner", "layers", "checkpoint_every"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1")
    if options.hidden % (2 * sizes.heads):
        parser.error(f"--hidden: expected a multiple of {2 * sizes.heads}, got {options.hidden}")
    if options.sample and not options.prompt:
        parser.error("--prompt: expected at least one character")
    return options


def choose_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def train(
    run: training.Run, checkpoint: Path, every: int, progress: Progress, task: object
) -> None:
    """Trains to the end of the plan. Where it is interrupted, a checkpoint of
    the last whole step is left."""
    began = time.perf_counter() - run.history.seconds
    try:
        while run.step < run.options.steps:
            loss = run.advance()
            run.history.seconds = time.perf_counter() - began
            if run.step % every == 0 and run.step < run.options.steps:
                run.evaluate(8192)
                run.save(checkpoint)
            rate = run.step * run.options.batch * run.model.sizes.window / run.history.seconds
            progress.update(
                task, completed=run.step, loss=f"{loss:.3f}", rate=f"{rate:,.0f} bytes/s"
            )
    except KeyboardInterrupt:
        run.save(checkpoint)
        raise


def main() -> None:
    options = parse_arguments()
    console = Console()
    device = choose_device(options.device)
    threads = options.threads or omnimoe.get_num_threads()
    torch.set_num_threads(threads)
    omnimoe.set_num_threads(threads)
    sizes = Sizes(
        hidden=options.hidden, inner=options.inner, layers=options.layers, window=options.window
    )
    try:
        data = text.split(text.read(options.text), sizes.window)
    except (OSError, ValueError) as error:
        sys.exit(f"--text: {error}")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{threads} threads"
    console.print(
        f"{len(data[0]):,} bytes to learn, {len(data[1]):,} to validate with; "
        f"{options.steps} steps of {options.batch} windows of {sizes.window} bytes; {where}",
        highlight=False,
    )

    runs: List[training.Run] = []
    with Progress(
        TextColumn("{task.description:8}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  loss {task.fields[loss]}  {task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        tasks = {
            kind: progress.add_task(kind, total=options.steps, loss="", rate="", start=False)
            for kind in options.kinds
        }
        for kind, task in tasks.items():
            plan = training.Options(
                steps=options.steps,
                batch=options.batch,
                warmup=min(training.Options.warmup, options.steps),
                seed=options.seed,
            )
            run = training.Run(kind, sizes, plan, data, device)
            checkpoint = options.output / f"{kind}.pt"
            if options.resume and checkpoint.exists():
                try:
                    run.load(checkpoint)
                except ValueError as error:
                    sys.exit(f"--resume: {error}")
            if options.graph and device.type == "cuda" and kind != "coarse":
                run.use_graph()  # the coarse mixture asks the GPU for its group sizes
            progress.start_task(task)
            try:
                train(run, checkpoint, options.checkpoint_every, progress, task)
            except KeyboardInterrupt:
                progress.stop()
                sys.exit(f"interrupted at step {run.step}; the same with --resume continues there")
            run.evaluate()
            run.save(checkpoint)
            runs.append(run)
    finish(console, runs, options)


def finish(console: Console, runs: List[training.Run], options: argparse.Namespace) -> None:
    """Table, curves and sample."""
    histories: Dict[str, training.History] = {run.model.kind: run.history for run in runs}
    report.print_table(console, [report.result(run) for run in runs])
    if options.sample:
        prompt = options.prompt.encode("utf-8")
        generator = torch.Generator().manual_seed(options.seed)
        sample = runs[0].model.generate(prompt, options.sample, 0.7, generator)
        report.print_sample(console, runs[0].model.kind, prompt, sample)
    report.write_losses(histories, options.output / "losses.csv")
    drawn = report.draw_curves(histories, options.output / "losses.png")
    curves = "losses.csv and losses.png" if drawn else "losses.csv (install matplotlib for a PNG)"
    console.print(f"{options.output}: checkpoints, {curves}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
