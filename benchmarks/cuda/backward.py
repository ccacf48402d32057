"""Rows of benchmarks/gpu.py --backward: forward and backward of `omnimoe.torch`."""

from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch

from ..measure import Work
from ..workloads import Experts
from . import baselines, workloads
from .measure import Candidate
from .peers import Peers
from .rows import CHECK_ELEMENTS, HIDDEN, Prepared, Row

GRADIENT_ERROR = 1e-2


def _gradients(
    function: Callable[..., Any], sets: Sequence[Sequence[torch.Tensor]], cotangent: torch.Tensor
) -> Candidate:
    """A call and the gradients of its floating-point arguments."""

    def run(call: int) -> Tuple[torch.Tensor, ...]:
        arguments = sets[call % len(sets)]
        wanted = [a for a in arguments if a.requires_grad]
        return torch.autograd.grad(function(*arguments), wanted, cotangent)

    return run


def _error(given: workloads.ExpertSet, function: Callable[..., Any]) -> float:
    """The largest relative error of a gradient, for some of the tokens."""
    pairs = given.ids.shape[1] * given.x.shape[1]
    count = max(1, min(256, CHECK_ELEMENTS // pairs, len(given.x)))
    few = (given.x[:count], given.up, given.down, given.weights[:count])
    ids = given.ids[:count]
    cotangent = torch.randn_like(few[0])
    ours = [a.detach().clone().requires_grad_() for a in few]
    found = torch.autograd.grad(function(*ours, ids), ours, cotangent)
    wide = [a.detach().double().requires_grad_() for a in few]
    y = baselines.experts(*wide, ids.long())
    expected = torch.autograd.grad(y, wide, cotangent.double())
    return max(map(baselines.relative_error, found, expected))


def experts(shape: Experts, target: float) -> Row:
    def prepare(peers: Optional[Peers]) -> Prepared:
        import omnimoe.torch  # here, so that where it is missing the row says so

        ours = omnimoe.torch.experts
        with torch.no_grad():
            given = workloads.expert_sets(shape)
            cotangent = torch.randn_like(given[0].x)
        sets = [each.arguments for each in given]
        for *floats, _ in sets:
            for tensor in floats:
                tensor.requires_grad_()
        work = workloads.expert_work(given[0])
        tables = 2 * given[0].up.nbytes
        found = Prepared(
            ours=_gradients(ours, sets, cotangent),
            sets=len(sets),
            # Gradients of the tables are written whole; 4 products more a pair.
            work=Work(2 * work.bytes + tables, 3 * work.flops),
            error=lambda: _error(given[0], ours),
            error_limit=GRADIENT_ERROR,
        )
        if shape.tokens * shape.top_k * shape.hidden <= baselines.MOST_GATHERED / 6:
            found.torch = _gradients(baselines.experts, sets, cotangent)
            compiled = torch.compile(baselines.experts, dynamic=False)
            found.compiled = _gradients(compiled, sets, cotangent)
        if shape.tokens * shape.count <= baselines.MOST_DENSE:
            found.dense = _gradients(baselines.experts_dense, sets, cotangent)
        if peers and "flash_moe" in peers.experts:
            half = [(*a[:3], a[3].detach().to(a[0].dtype).requires_grad_(), a[4]) for a in sets]
            function = peers.experts["flash_moe"]
            found.peers["flash_moe"] = _gradients(function, half, cotangent)
        return found

    return Row(f"experts backward {shape}".replace(f" D={HIDDEN}", ""), target, prepare)


def all_rows() -> List[Row]:
    """bf16, D = 1024; seconds of a forward and a backward together."""
    targets = {(4096, 64, 64, 16): 0.30, (4096, 128, 128, 64): 1.0, (4096, 320, 320, 512): 3.0}
    return [
        experts(Experts(tokens, HIDDEN, rows, columns, k), target * 1e-3)
        for (tokens, rows, columns, k), target in targets.items()
    ]
