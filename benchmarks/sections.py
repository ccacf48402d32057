"""The sections of benchmarks/cpu.py: each returns rows of the report."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

import omnimoe

from . import baselines, gradients, workloads
from .agreement import check
from .measure import Times, Work, interleave
from .report import Row, beside, quantity, within_limit
from .workloads import Experts

SCHEDULES = ("token_centric", "expert_centric", "dense")

EXPERTS = Experts(tokens=1024, hidden=512, rows=256, columns=256, top_k=32)
ROUTER = Experts(tokens=4096, hidden=64, rows=128, columns=128, top_k=64)
MLP = dict(tokens=1024, hidden=512, intermediate=2048)

# Spread over the number of tokens and the share K/N of experts that one takes.
SCHEDULE_SHAPES = (
    Experts(tokens=1, hidden=512, rows=64, columns=64, top_k=16),
    Experts(tokens=16, hidden=512, rows=128, columns=128, top_k=512),
    Experts(tokens=256, hidden=512, rows=256, columns=256, top_k=32),
    Experts(tokens=1024, hidden=512, rows=64, columns=64, top_k=64),
    Experts(tokens=1024, hidden=512, rows=32, columns=32, top_k=128),
    Experts(tokens=2048, hidden=512, rows=16, columns=16, top_k=128),
)

PROBE = Path(__file__).with_name("probe.py")
COMPILE_LAYER = Path(__file__).parents[1] / "examples" / "real_text" / "compile_layer.py"

SPEED_OF_BEST = 1 / 1.15


@dataclass(frozen=True)
class Context:
    """What every section is given; `torch` is the module, or None."""

    threads: int
    torch: Any
    rounds: int

    def tensors(self, arrays) -> tuple:
        """The arrays as torch tensors over the same memory; ids as int64, which
        torch's own indexing works in."""
        return tuple(
            self.torch.from_numpy(a.astype(np.int64) if a.dtype == np.int32 else a) for a in arrays
        )


def _turns(functions: List[Callable[[], object]]) -> Callable[[int], object]:
    """One candidate that calls the functions, one an input set, in turn."""
    return lambda call: functions[call % len(functions)]()


def _bind(function: Callable, sets, *extra, **options) -> Callable[[int], object]:
    return _turns([lambda s=s: function(*s, *extra, **options) for s in sets])


def _beside_torch(
    context: Context,
    ours: Callable[[int], object],
    baseline: Callable,
    sets: Sequence[Sequence[np.ndarray]],
    *extra: object,
) -> Times:
    """Times `ours` and, if torch is there, `baseline` on the same input sets."""
    candidates = {"omnimoe": ours}
    if context.torch:
        candidates["torch"] = _bind(baseline, [context.tensors(s) for s in sets], *extra)
    return interleave(candidates, rounds=context.rounds)


# ------------------------------------------------------------------------------
# Functions beside torch
# ------------------------------------------------------------------------------


def experts(context: Context) -> List[Row]:
    """Routed experts beside torch's gather and einsum: time, then memory."""
    inputs = workloads.expert_inputs(EXPERTS)
    sets = [each.arguments for each in inputs]
    times = _beside_torch(context, _bind(omnimoe.experts, sets), baselines.experts_torch, sets)
    work = workloads.expert_work(inputs[0])
    rows = [beside(f"experts {EXPERTS}", times, "torch", target=4.0, work=work)]

    output = inputs[0].x.nbytes
    ours = run_script(PROBE, "memory", "omnimoe", str(context.threads))["bytes"]
    note = f"the result alone is {output / 2**20:.3g} MiB; limit 1.5 times that"
    if context.torch:
        torch_bytes = run_script(PROBE, "memory", "torch", str(context.threads))["bytes"]
        note += f"; torch takes {torch_bytes / 2**20:.3g} MiB"
    rows.append(within_limit("experts, memory of a call", ours, 1.5 * output, "B", note=note))
    return rows


def training(context: Context) -> List[Row]:
    """Forward and backward of the experts beside torch's autograd."""
    sets = gradients.input_sets()
    step = gradients.step()
    errors = [
        baselines.relative_error(found, expected)
        for found, expected in zip(step(*sets[0]), gradients.reference(sets[0]))
    ]
    rows = [within_limit("gradients: error vs float64", max(errors), 1e-5, "")]
    times = _beside_torch(context, _bind(step, sets), gradients.step_torch, sets)
    rows.append(beside(f"experts with gradients {gradients.SHAPE}", times, "torch", target=4.0))

    if context.torch:
        results = gradients.result_bytes(sets[0])
        ours, theirs = (
            run_script(PROBE, "gradient-memory", library, str(context.threads))["bytes"] - results
            for library in ("omnimoe", "torch")
        )
        note = f"beside the {results / 2**20:.3g} MiB of the results; a tenth of torch's"
        rows.append(
            within_limit("experts with gradients, memory", max(0, ours), theirs / 10, "B", note=note)
        )
    return rows


def route(context: Context) -> List[Row]:
    """The router beside torch's two steps of top-k."""
    sets = workloads.route_inputs(ROUTER)
    ours = _bind(omnimoe.route, sets, ROUTER.top_k)
    times = _beside_torch(context, ours, baselines.route_torch, sets, ROUTER.top_k)
    moved = sum(a.nbytes for a in sets[0]) + 8 * ROUTER.tokens * ROUTER.top_k
    name = f"route T={ROUTER.tokens} {ROUTER.rows}x{ROUTER.columns} K={ROUTER.top_k}"
    return [beside(name, times, "torch", target=8.0, work=Work(moved))]


def mlp(context: Context) -> List[Row]:
    """The shared MLP beside torch's matrix products."""
    sets = workloads.mlp_inputs(**MLP)
    times = _beside_torch(context, _bind(omnimoe.mlp, sets), baselines.mlp_torch, sets)
    flops = 6 * MLP["tokens"] * MLP["hidden"] * MLP["intermediate"]
    moved = sum(a.nbytes for a in sets[0]) + sets[0][0].nbytes
    name = "mlp T={tokens} D={hidden} I={intermediate}".format(**MLP)
    return [beside(name, times, "torch", target=0.8, work=Work(moved, flops))]


# ------------------------------------------------------------------------------
# Schedules
# ------------------------------------------------------------------------------


def schedules(context: Context) -> List[Row]:
    """Every schedule and the compiler's own choice, at six shapes."""
    rows = []
    for shape in SCHEDULE_SHAPES:
        inputs = workloads.expert_inputs(shape)
        sets = [each.arguments for each in inputs]
        times = interleave(
            {name: _bind(omnimoe.experts, sets, schedule=name) for name in (*SCHEDULES, "auto")},
            rounds=context.rounds,
        )
        best = min(SCHEDULES, key=lambda name: times[name])
        note = ", ".join(f"{name} {quantity(times[name], 's')}" for name in SCHEDULES)
        rows.append(
            beside(
                f"auto {shape}",
                times,
                best,
                ours="auto",
                target=SPEED_OF_BEST,
                work=workloads.expert_work(inputs[0]),
                note=f"{note}; K/N = {shape.top_k / shape.count:.3g}",
            )
        )
    return rows


# ------------------------------------------------------------------------------
# Compile time and call overhead, each in a fresh process
# ------------------------------------------------------------------------------


def compile_times(context: Context) -> List[Row]:
    """The example's layer compiled from nothing, then from the disk cache."""
    cold, cached = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(run_script(COMPILE_LAYER, cache_dir=folder)["seconds"])
            found = run_script(COMPILE_LAYER, cache_dir=folder)
            if not found["cached"]:
                raise RuntimeError("the second process did not find the program in the disk cache")
            cached.append(found["seconds"])
    return [
        within_limit("compile the layer, cold", statistics.median(cold), 3.0, "s"),
        within_limit("compile the layer, disk cache", statistics.median(cached), 0.060, "s"),
    ]


def overhead(context: Context) -> List[Row]:
    """A call for one token, of programs too small to take time themselves."""
    found = run_script(PROBE, "overhead", str(context.threads))
    return [
        within_limit(f"call of {name}, T=1", seconds, 30e-6, "s") for name, seconds in found.items()
    ]


def run_script(script: Path, *arguments: str, cache_dir: Optional[str] = None) -> Dict[str, Any]:
    """Runs a script in a fresh process; returns the JSON that it printed."""
    environment = dict(os.environ)
    if cache_dir is not None:
        environment["OMNIMOE_CACHE_DIR"] = cache_dir
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def agreement(context: Context) -> List[Row]:
    """Chosen experts bit for bit, values against float64."""
    return check([ROUTER, EXPERTS, *SCHEDULE_SHAPES], SCHEDULES)


SECTIONS: Dict[str, Callable[[Context], List[Row]]] = {
    "agreement": agreement,
    "experts": experts,
    "training": training,
    "route": route,
    "mlp": mlp,
    "schedules": schedules,
    "compile": compile_times,
    "overhead": overhead,
}
