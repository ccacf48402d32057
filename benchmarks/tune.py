#!/usr/bin/env python3
"""Measures the schedules of experts on a CUDA GPU; see docs/Benchmarks.md.

usage: tune.py [--only TEXT,...] [--json FILE] [--write FOLDER]

Prints, for each shape, what every schedule takes, what the cost model expects,
and what its choice loses. Exits 1 if a shape failed, 2 if there is no GPU.
"""

import argparse
import gc
import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import omnimoe  # noqa: E402
from benchmarks.workloads import Experts  # noqa: E402
from omnimoe import _tuned  # noqa: E402

TARGET = "sm_90a"
POWERS = tuple(4**i for i in range(8))

#: Side of the grid, D, K, and the numbers of tokens.
GRID = (
    (64, 1024, 16, POWERS),
    (64, 512, 8, (1024, 16384)),
    (64, 1024, 64, (256, 4096)),
    (64, 2048, 256, (64, 1024, 4096)),
    (128, 1024, 64, POWERS),
    (128, 512, 128, (512, 8192)),
    (128, 2048, 32, (16, 2048)),
    (256, 1024, 32, (64, 1024, 8192)),
    (256, 512, 512, (16, 512, 4096)),
    (256, 2048, 128, (256, 4096)),
    (320, 1024, 512, POWERS),
    (320, 1024, 4096, (16, 256, 1024)),
    (320, 512, 1024, (128, 2048)),
    (512, 1024, 64, (256, 4096, 16384)),
    (512, 1024, 1024, (64, 1024, 4096)),
    (512, 512, 256, (1024, 8192)),
    (1024, 1024, 64, (64, 1024, 4096)),
    (1024, 1024, 512, (256, 2048)),
    (1024, 512, 2048, (64, 512)),
    (1024, 1024, 8, (1, 16384)),
)

#: Relative difference of two schedules' results in bf16, at most.
DIFFERENCE = 2e-2


class Sizes(NamedTuple):
    """What one program is compiled for."""

    side: int
    hidden: int
    top_k: int

    def shape(self, tokens: int) -> Experts:
        return Experts(tokens, self.hidden, self.side, self.side, self.top_k)


@dataclass
class Result:
    """Seconds of a shape, by schedule; `chosen` is the cost model's choice."""

    shape: str
    block: str
    tokens: int
    chosen: str
    estimates: Dict[str, float]
    seconds: Dict[str, float] = field(default_factory=dict)
    failure: str = ""

    @property
    def best(self) -> str:
        return min(self.seconds, key=self.seconds.__getitem__)

    @property
    def loss(self) -> Optional[float]:
        """By how much the choice is slower than the best: 0.1 for 10 %."""
        if self.failure or self.chosen not in self.seconds:
            return None
        return self.seconds[self.chosen] / self.seconds[self.best] - 1


# The cost model ---------------------------------------------------------------


def _schedules(sizes: Sizes, tokens: object) -> List[dict]:
    """What `omnimoe-select-schedule` writes for experts, by estimates alone;
    `tokens` is T, or "?"."""
    count, hidden, top_k = sizes.side**2, sizes.hidden, sizes.top_k
    x, y = f"tensor<{tokens}x{hidden}xbf16>", f"tensor<{tokens}x{hidden}xf32>"
    table, ids = f"tensor<{count}x{hidden}xbf16>", f"tensor<{tokens}x{top_k}xi32>"
    pairs = f"tensor<{tokens}x{top_k}xf32>"
    text = omnimoe.run_pipeline(
        f"""func.func @f(%x: {x}, %w: {table}, %e: {ids}, %s0: {pairs}, %y0: {y}) -> {y} {{
          %s = omnimoe.grouped_matmul ins(%x, %w, %e : {x}, {table}, {ids})
            outs(%s0 : {pairs}) -> {pairs}
          %y = omnimoe.combine to_tokens ins(%s, %w, %e : {pairs}, {table}, {ids})
            outs(%y0 : {y}) -> {y}
          return %y : {y}
        }}""",
        f"omnimoe-attach-target{{chip={TARGET}}},omnimoe-select-schedule",
    )
    listed = re.search(r"omnimoe\.schedules = \[(.*)\], omnimoe", text)
    assert listed, text
    found = re.findall(
        r'block = "(.*?)",.*? estimates = \{(.*?)\},.*? max_tokens = (-?\d+).*?schedule = "(\w+)"',
        listed.group(1),
    )
    return [
        {
            "block": block,
            "estimates": {
                name: float(seconds) for name, seconds in re.findall(r"(\w+) = (\S+) :", estimates)
            },
            "max_tokens": int(limit),
            "schedule": schedule,
        }
        for block, estimates, limit, schedule in found
    ]


def expected(sizes: Sizes, tokens: int) -> Result:
    """The estimates for T, and what a program for any T chooses there."""
    versions = _schedules(sizes, "?")
    version = next(v for v in versions if v["max_tokens"] < 0 or tokens < v["max_tokens"])
    (exact,) = _schedules(sizes, tokens)
    shape = str(sizes.shape(tokens))
    return Result(shape, exact["block"], tokens, version["schedule"], exact["estimates"])


# Measuring --------------------------------------------------------------------

Program = Tuple[Sizes, str]


def compile_program(program: Program) -> object:
    """The executable, or why there is none."""
    (side, hidden, top_k), schedule = program
    spec = omnimoe.TensorSpec
    table = spec("bfloat16", (side * side, hidden))
    pairs = [spec(dtype, (None, top_k)) for dtype in ("float32", "int32")]
    args = (spec("bfloat16", (None, hidden)), table, table, *pairs)
    try:
        return omnimoe.compile(omnimoe.experts, args=args, target=TARGET, schedule=schedule)
    except omnimoe.OmniMoEError as error:
        return error


def measure(result: Result, shape: Experts, programs: Dict[str, object]) -> None:
    """Times each schedule in a CUDA graph over several sets of inputs."""
    import torch

    from benchmarks.cuda import baselines, workloads
    from benchmarks.cuda.measure import QUICK, in_graph, single_call

    gc.collect()
    torch.cuda.empty_cache()
    sets = workloads.expert_sets(shape)
    reference = None
    for schedule, program in programs.items():
        if isinstance(program, Exception):
            raise program

        def call(number: int, program: object = program) -> object:
            return program(*sets[number].arguments)

        found = call(0)
        if reference is None:
            reference = found.double()
        elif not baselines.relative_error(found, reference) < DIFFERENCE:
            raise ArithmeticError(f"{schedule}: another result than {next(iter(programs))}")
        seconds = in_graph(call, len(sets), QUICK) or single_call(call, len(sets), QUICK)
        result.seconds[schedule] = float(f"{seconds:.4g}")


def measure_all(wanted: List[str]) -> List[Result]:
    import torch

    torch.set_grad_enabled(False)
    shapes = [
        (Sizes(side, hidden, top_k), tokens)
        for side, hidden, top_k, counts in GRID
        for tokens in counts
    ]
    named = [(sizes, tokens, str(sizes.shape(tokens))) for sizes, tokens in shapes]
    chosen = [each for each in named if not wanted or any(text in each[2] for text in wanted)]
    results = [expected(sizes, tokens) for sizes, tokens, _ in chosen]
    needed = dict.fromkeys(
        (sizes, schedule)
        for (sizes, _, _), result in zip(chosen, results)
        for schedule in result.estimates
    )
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        compiled = dict(zip(needed, pool.map(compile_program, needed)))
    print(f"{len(compiled)} programs compiled in {time.monotonic() - began:.0f} s", flush=True)
    for (sizes, tokens, _), result in zip(chosen, results):
        programs = {schedule: compiled[sizes, schedule] for schedule in result.estimates}
        try:
            measure(result, sizes.shape(tokens), programs)
        except Exception as error:
            result.failure = f"{type(error).__name__}: {str(error)[:160]}".splitlines()[0]
        print(line(result), flush=True)
    return results


# Reporting --------------------------------------------------------------------


def line(result: Result) -> str:
    parts = [f"{result.shape:<34}"]
    for schedule, estimate in result.estimates.items():
        seconds = result.seconds.get(schedule)
        took = "-" if seconds is None else f"{1e6 * seconds:.1f}"
        parts.append(f"{schedule} {took:>8} us (estimate {1e6 * estimate:8.1f})")
    if result.loss is not None:
        parts.append(f"chosen {result.chosen:<14} loss {100 * result.loss:3.0f} %")
    return "  ".join(parts + [result.failure])


def summary(results: List[Result]) -> str:
    judged = [result for result in results if result.loss is not None]
    text = f"{len(judged)} of {len(results)} shapes measured"
    if judged:
        worst = max(judged, key=lambda result: result.loss)
        near = sum(result.loss <= 0.1 for result in judged)
        text += (
            f"; the cost model's choice is within 10 % of the best at {near}; "
            f"worst: {100 * worst.loss:.0f} % at {worst.shape}"
        )
    return text


def table_of(results: List[Result]) -> _tuned.Table:
    table: _tuned.Table = {}
    for result in results:
        if result.seconds and not result.failure:
            table.setdefault(result.block, {})[result.tokens] = result.seconds
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", default="", metavar="TEXT,...", help="shapes whose name contains one of these"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="that receives the GPU's table of schedules"
    )
    options = parser.parse_args()
    from benchmarks.gpu import what_is_missing

    missing = what_is_missing()
    if missing:
        print(f"tune.py: there is no GPU to measure on: {missing}", file=sys.stderr)
        return 2
    machine = _tuned.machine(TARGET)
    print(f"omnimoe {omnimoe.__version__} on {machine}; bf16, in a CUDA graph", flush=True)
    results = measure_all([text for text in options.only.split(",") if text])
    print(summary(results))
    if options.json:
        rows = [{**asdict(result), "loss": result.loss} for result in results]
        options.json.write_text(json.dumps({"machine": machine, "shapes": rows}, indent=1))
    if options.write:
        path = options.write / f"{machine}.json"
        _tuned.write(path, table_of(results))
        print(f"wrote {path}")
    return 1 if any(result.failure for result in results) or not results else 0


if __name__ == "__main__":
    sys.exit(main())
