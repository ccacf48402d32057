"""Measures what needs a fresh process, and prints it as JSON.

usage: probe.py memory (omnimoe|torch) THREADS
       probe.py gradient-memory (omnimoe|torch) THREADS
       probe.py overhead THREADS
"""

import json
import sys
from pathlib import Path
from typing import Any, Dict

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import omnimoe  # noqa: E402

from benchmarks import baselines, gradients, measure, sections, workloads  # noqa: E402


def memory(library: str, threads: int) -> Dict[str, int]:
    """Bytes that one call of the experts takes, its result included.

    The warm-up is for few tokens, so that the program is compiled and threads
    run, but no buffer that a large call could take again is left behind.
    """
    inputs = workloads.expert_inputs(sections.EXPERTS, sets=1)[0]
    runs = {"omnimoe": omnimoe.experts, "torch": baselines.experts_torch}
    return _growth(library, threads, runs[library], inputs.arguments)


def gradient_memory(library: str, threads: int) -> Dict[str, int]:
    """The same of a forward and backward pass, all gradients included."""
    run = gradients.step() if library == "omnimoe" else gradients.step_torch
    return _growth(library, threads, run, gradients.input_sets(1)[0])


def _growth(library: str, threads: int, run: Any, arguments: Any) -> Dict[str, int]:
    tokens = len(arguments[0])
    few = [a[:1] if len(a) == tokens else a for a in arguments]
    if library == "torch":
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)

        def tensors(arrays):
            return [
                torch.from_numpy(a.astype(np.int64) if a.dtype == np.int32 else a) for a in arrays
            ]

        arguments, few = tensors(arguments), tensors(few)
    else:
        omnimoe.set_num_threads(threads)
    for _ in range(3):
        run(*few)
    return {"bytes": measure.resident_growth(lambda: run(*arguments))}


def overhead(threads: int) -> Dict[str, float]:
    """Seconds of a call for one token of very small programs."""
    omnimoe.set_num_threads(threads)
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, np.float32)

    x, table = normal(1, 16), normal(16, 16)
    params = {
        "router_gate_x": normal(4, 16),
        "router_gate_y": normal(4, 16),
        "up_embed": table,
        "down_embed": normal(16, 16),
        "gate_proj": normal(16, 16),
        "up_proj": normal(16, 16),
        "down_proj": normal(16, 16),
    }
    weights, ids = np.ones((1, 1), np.float32), np.zeros((1, 1), np.int32)
    calls = {
        "route": lambda: omnimoe.route(x, x, 1),
        "experts": lambda: omnimoe.experts(x, table, table, weights, ids),
        "mlp": lambda: omnimoe.mlp(x, table, table, table),
        "layer": lambda: omnimoe.layer(x, params, top_k=1),
    }
    return {name: measure.median_of_calls(call, 2000) for name, call in calls.items()}


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "memory":
        found = memory(arguments[0], int(arguments[1]))
    elif what == "gradient-memory":
        found = gradient_memory(arguments[0], int(arguments[1]))
    else:
        found = overhead(int(arguments[0]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
