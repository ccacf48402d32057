"""The rows of benchmarks/gpu.py: what is run, beside what, and what is asked of it.

A row is prepared when its turn comes, since not all inputs fit into the GPU's
memory together.
"""

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import torch

import omnimoe

from .. import baselines as numpy_baselines
from ..measure import Work
from ..workloads import Experts
from . import baselines, programs, workloads
from .measure import Candidate
from .peers import Peers

HIDDEN = 1024
HALF_ERROR = 4e-3

# Elements of the largest float64 intermediate of a check.
CHECK_ELEMENTS = 2**27


@dataclass
class Prepared:
    """A row with its inputs in memory.

    `error` runs ours and returns how far it is from the reference, and
    `error_limit` what is allowed; `streamed` are bytes read with no re-use;
    `compiles` tells whether the first call of ours compiles.
    Where there is a `library`, ours is to be `library_ratio` times as fast.
    """

    ours: Candidate
    sets: int
    work: Work
    error: Callable[[], float]
    error_limit: float
    streamed: Optional[float] = None
    torch: Optional[Candidate] = None
    compiled: Optional[Candidate] = None
    dense: Optional[Candidate] = None
    library: Optional[Candidate] = None
    library_ratio: float = 1.0
    peers: Dict[str, Candidate] = field(default_factory=dict)
    schedule: Callable[[], str] = str
    compiles: bool = True


@dataclass(frozen=True)
class Row:
    """A number to measure; `target` in seconds, None where it only informs or is
    found by measuring a library."""

    name: str
    target: Optional[float]
    prepare: Callable[[Optional[Peers]], Prepared]


def _turns(function: Callable[..., Any], sets: Sequence[Sequence[Any]], *extra: Any) -> Candidate:
    return lambda call: function(*sets[call % len(sets)], *extra)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    torch.compiler.reset()
    return torch.compile(function, dynamic=False)


def poison(like: torch.Tensor, copies: int = 4) -> None:
    """Fills memory with NaN and frees it, so that torch's allocator hands it to
    the next result of that size: what is not written shows."""
    held = [torch.full_like(like, float("nan")) for _ in range(copies)]
    del held


# ------------------------------------------------------------------------------
# Router
# ------------------------------------------------------------------------------


def router(shape: Experts, target: float) -> Row:
    def prepare(peers: Optional[Peers]) -> Prepared:
        sets = workloads.route_sets(shape)
        k = shape.top_k

        def error() -> float:
            scores, ids = omnimoe.route(*sets[0], k)
            rows, columns = (a[:256].cpu().numpy() for a in sets[0])
            expected = numpy_baselines.route_exact(rows, columns, k)
            wrong = ids[:256].cpu().numpy() != expected[1]
            wrong |= scores[:256].cpu().numpy() != expected[0]
            return float(wrong.mean())

        logits = sum(a.nbytes for a in sets[0])
        found = Prepared(
            ours=_turns(omnimoe.route, sets, k),
            sets=len(sets),
            work=Work(logits + 8 * shape.tokens * k),
            error=error,
            error_limit=0.0,
        )
        if shape.tokens * min(k, shape.rows) * min(k, shape.columns) <= 1e9:
            found.torch = _turns(baselines.route, sets, k)
            found.compiled = _turns(_compiled(baselines.route), sets, k)
        if peers and peers.router:
            found.peers["omni_moe"] = _turns(peers.router, sets, k)
        return found

    name = f"route T={shape.tokens} {shape.rows}x{shape.columns} K={shape.top_k}"
    return Row(name, target, prepare)


# ------------------------------------------------------------------------------
# Experts
# ------------------------------------------------------------------------------


def _expert_error(given: workloads.ExpertSet, schedule: str) -> float:
    pairs = given.ids.shape[1] * given.x.shape[1]
    count = max(1, min(128, CHECK_ELEMENTS // pairs, len(given.x)))
    tokens = torch.linspace(0, len(given.x) - 1, count, device="cuda").long()
    ids = given.ids[tokens].long()
    products = torch.einsum("td,tkd->tk", given.x[tokens].double(), given.up[ids].double())
    coefficients = torch.nn.functional.silu(products) * given.weights[tokens].double()
    expected = torch.einsum("tk,tkd->td", coefficients, given.down[ids].double())
    poison(given.x)
    y = omnimoe.experts(*given.arguments, schedule=schedule)
    if not bool(torch.isfinite(y).all()):
        return float("nan")
    return baselines.relative_error(y[tokens], expected)


def experts(shape: Experts, schedule: str, target: Optional[float]) -> Row:
    def prepare(peers: Optional[Peers]) -> Prepared:
        given = workloads.expert_sets(shape)
        sets = [each.arguments for each in given]

        def ours(call: int) -> torch.Tensor:
            return omnimoe.experts(*sets[call % len(sets)], schedule=schedule)

        def chosen() -> str:
            def program(x, up, down, weights, ids):
                return omnimoe.experts(x, up, down, weights, ids, schedule=schedule)

            return omnimoe.compile(program, args=sets[0]).schedule_for(shape.tokens)

        found = Prepared(
            ours=ours,
            sets=len(sets),
            work=workloads.expert_work(given[0]),
            error=lambda: _expert_error(given[0], schedule),
            error_limit=HALF_ERROR,
            streamed=workloads.streamed_bytes(given[0]),
            schedule=chosen if schedule == "auto" else lambda: schedule,
        )
        # The baselines stand beside one of the rows of a shape.
        if schedule == "auto":
            if shape.tokens * shape.top_k * shape.hidden * 2 <= baselines.MOST_GATHERED:
                found.torch = _turns(baselines.experts, sets)
                found.compiled = _turns(_compiled(baselines.experts), sets)
            if shape.tokens * shape.count <= baselines.MOST_DENSE:
                found.dense = _turns(baselines.experts_dense, sets)
            if peers:
                half = [(x, up, down, w.to(x.dtype), ids) for x, up, down, w, ids in sets]
                for name, function in peers.experts.items():
                    found.peers[name] = _turns(function, half)
        return found

    return Row(f"experts {schedule} {shape}".replace(f" D={HIDDEN}", ""), target, prepare)


# ------------------------------------------------------------------------------
# Wide experts
# ------------------------------------------------------------------------------


def _wide_expert_error(given: Sequence[Any]) -> float:
    x, gate, up, down, weights, ids = given
    count = max(1, min(128, CHECK_ELEMENTS // (ids.shape[1] * up[0].numel()), len(x)))
    tokens = torch.linspace(0, len(x) - 1, count, device="cuda").long()
    few, chosen = x[tokens].double(), ids[tokens].long()

    def products(table: torch.Tensor) -> torch.Tensor:
        return torch.einsum("td,tkrd->tkr", few, table[chosen].double())

    hidden = products(up)
    if gate is None:
        hidden = torch.nn.functional.silu(hidden)
    else:
        hidden *= torch.nn.functional.silu(products(gate))
    hidden *= weights[tokens].double()[..., None]
    expected = torch.einsum("tkr,tkrd->td", hidden, down[chosen].double())
    poison(x)
    y = omnimoe.experts(x, up, down, weights, ids, gate=gate)
    if not bool(torch.isfinite(y).all()):
        return float("nan")
    return baselines.relative_error(y[tokens], expected)


def wide_experts(shape: workloads.WideExperts, target: Optional[float]) -> Row:
    def prepare(peers: Optional[Peers]) -> Prepared:
        sets = workloads.wide_expert_sets(shape)

        def ours(call: int) -> torch.Tensor:
            x, gate, up, down, weights, ids = sets[call % len(sets)]
            return omnimoe.experts(x, up, down, weights, ids, gate=gate)

        def chosen() -> str:
            x, gate, up, down, weights, ids = sets[0]

            def program(x, up, down, weights, ids, gate=None):
                return omnimoe.experts(x, up, down, weights, ids, gate=gate)

            arrays = (x, up, down, weights, ids) + ((gate,) if shape.gated else ())
            return omnimoe.compile(program, args=arrays).schedule_for(shape.tokens)

        found = Prepared(
            ours=ours,
            sets=len(sets),
            work=workloads.wide_expert_work(shape, sets[0]),
            error=lambda: _wide_expert_error(sets[0]),
            error_limit=HALF_ERROR,
            schedule=chosen,
            torch=_turns(baselines.wide_experts, sets),
            compiled=_turns(_compiled(baselines.wide_experts), sets),
        )
        if shape.tokens * shape.count * shape.width <= baselines.MOST_DENSE:
            found.dense = _turns(baselines.wide_experts_dense, sets)
        if peers and shape.gated:
            turned = [
                (x, gate, up, down.mT.contiguous(), w.to(x.dtype), ids.long())
                for x, gate, up, down, w, ids in sets
            ]
            for name, function in peers.gated_experts.items():
                found.peers[name] = _turns(function, turned)
        return found

    return Row(f"wide experts {shape}", target, prepare)


# ------------------------------------------------------------------------------
# Dispatch
# ------------------------------------------------------------------------------


def _dispatch_error(ids: np.ndarray, results: Sequence[np.ndarray], group: int) -> float:
    """1 if the result is not the order of pairs that the operation defines."""
    offsets, tokens, starts, pairs = results
    flat = ids.ravel()
    order = np.argsort(flat // group, kind="stable")
    groups, owners = flat[order] // group, order // ids.shape[1]
    first = np.flatnonzero(np.diff(groups, prepend=-1) | np.diff(owners, prepend=-1))
    slots = len(first)
    right = np.array_equal(pairs, order)
    right &= offsets[-1] == slots and starts[slots] == len(flat)
    right &= np.array_equal(starts[:slots], first)
    right &= np.array_equal(tokens[:slots], owners[first])
    bounds = np.searchsorted(groups[first], np.arange(len(offsets)))
    return float(not (right and np.array_equal(offsets, bounds)))


def dispatch(shape: Experts, group: int, target: Optional[float]) -> Row:
    def prepare(peers: Optional[Peers]) -> Prepared:
        logits = workloads.route_sets(shape)
        sets = [(workloads.choose(*each, shape.top_k)[1],) for each in logits]
        pairs = shape.tokens * shape.top_k
        bounds = -(-shape.count // group) + 1
        text = programs.DISPATCH.format(
            t=shape.tokens,
            k=shape.top_k,
            p=pairs,
            bounds=bounds,
            ends=pairs + 1,
            experts=shape.count,
            group=group,
        )
        program = omnimoe.compile(text, target=omnimoe.devices()[0].target)

        def error() -> float:
            results = program(*sets[0])
            return _dispatch_error(
                sets[0][0].cpu().numpy(), [r.cpu().numpy() for r in results], group
            )

        return Prepared(
            ours=_turns(program, sets),
            sets=len(sets),
            work=Work(16.0 * pairs + 4 * bounds),
            error=error,
            error_limit=0.0,
            torch=_turns(baselines.dispatch, sets, shape.count, group),
            compiles=False,
        )

    name = f"dispatch T={shape.tokens} {shape.rows}x{shape.columns} K={shape.top_k}"
    return Row(f"{name} by {group}", target, prepare)


# ------------------------------------------------------------------------------
# Products of two matrices
# ------------------------------------------------------------------------------

def product(m: int, n: int, k: int, ratio: float, of: Optional[int] = None) -> Row:
    """[m, k] by [n, k], or by `m` rows picked of `of`; a target is `ratio` times
    as fast as the library's product of rows side by side."""

    def prepare(peers: Optional[Peers]) -> Prepared:
        sets = workloads.product_sets(of or m, n, k)
        beside = [(x[:m], w) for x, w in sets]
        if of:
            picked = workloads.picked_rows(len(sets), m, of)
            sets = [(*each, rows) for each, rows in zip(sets, picked)]
        target = omnimoe.devices()[0].target
        program = omnimoe.compile(programs.product(m, n, k, of), target=target)

        def error() -> float:
            x, w, *rows = sets[0]
            poison(torch.empty(m, n, dtype=x.dtype, device="cuda"))
            y = program(*sets[0])
            if not bool(torch.isfinite(y).all()):
                return float("nan")
            left = x[rows[0][-256:].long()] if rows else x[-256:]
            return baselines.relative_error(y[-256:], left.double() @ w.double().T)

        return Prepared(
            ours=_turns(program, sets),
            sets=len(sets),
            work=Work(2.0 * (m * k + n * k + m * n) + 4.0 * m * bool(of), 2.0 * m * n * k),
            error=error,
            error_limit=HALF_ERROR,
            torch=_turns(baselines.gathered_product, sets) if of else None,
            library=_turns(baselines.product, beside),
            library_ratio=ratio,
            compiles=False,
        )

    name = f"product {m}x{n}x{k}" + (f" rows of {of}" if of else "")
    return Row(name, None, prepare)


# ------------------------------------------------------------------------------
# Shared MLP and the layer
# ------------------------------------------------------------------------------


def mlp(tokens: int, inner: int, target: float) -> Row:
    def prepare(peers: Optional[Peers]) -> Prepared:
        sets = workloads.mlp_sets(tokens, HIDDEN, inner)

        def error() -> float:
            x, *matrices = sets[0]
            poison(x)
            y = omnimoe.mlp(x, *matrices)
            if not bool(torch.isfinite(y).all()):
                return float("nan")
            expected = baselines.mlp(x[:256].double(), *(m.double() for m in matrices))
            return baselines.relative_error(y[:256], expected)

        moved = sum(a.nbytes for a in sets[0]) + sets[0][0].nbytes
        return Prepared(
            ours=_turns(omnimoe.mlp, sets),
            sets=len(sets),
            work=Work(moved, 6.0 * tokens * HIDDEN * inner),
            error=error,
            error_limit=HALF_ERROR,
            torch=_turns(baselines.mlp, sets),
            compiled=_turns(_compiled(baselines.mlp), sets),
        )

    return Row(f"mlp T={tokens} I={inner}", target, prepare)


def _layer_error(x: torch.Tensor, params: Dict[str, torch.Tensor], top_k: int) -> float:
    """Over tokens whose last expert is ahead of the next by more than rounding."""
    count = 256
    poison(x)
    y = omnimoe.layer(x, params, top_k=top_k)
    if not bool(torch.isfinite(y).all()):
        return float("nan")
    wide = {name: value.double() for name, value in params.items()}
    few = x[:count].double()
    logits = [torch.log_softmax(few @ wide[f"router_gate_{axis}"].T, 1) for axis in "xy"]
    scores, _ = baselines.route(*logits, top_k + 1)
    decided = scores[:, -2] - scores[:, -1] > 1e-4
    scores, ids = baselines.route(*logits, top_k)
    expected = baselines.experts(few, wide["up_embed"], wide["down_embed"], scores.exp(), ids)
    expected += baselines.mlp(few, wide["gate_proj"], wide["up_proj"], wide["down_proj"])
    return baselines.relative_error(y[:count][decided], expected[decided])


def layer(shape: Experts, inner: int, target: float) -> Row:
    def prepare(peers: Optional[Peers]) -> Prepared:
        sets = workloads.layer_sets(shape, inner)
        k = shape.top_k

        def ours(call: int) -> torch.Tensor:
            x, params = sets[call % len(sets)]
            return omnimoe.layer(x, params, top_k=k)

        x, params = sets[0]
        pairs = shape.tokens * k
        flops = 4.0 * pairs * HIDDEN + 6.0 * shape.tokens * HIDDEN * inner
        flops += 2.0 * shape.tokens * HIDDEN * (shape.rows + shape.columns)
        found = Prepared(
            ours=ours,
            sets=len(sets),
            work=Work(2 * x.nbytes + sum(p.nbytes for p in params.values()), flops),
            error=lambda: _layer_error(x, params, k),
            error_limit=HALF_ERROR,
            torch=_turns(baselines.layer, sets, k),
            compiled=_turns(_compiled(baselines.layer), sets, k),
        )
        if peers and peers.layer:
            module = peers.make_layer(HIDDEN, inner, shape.count, k)
            found.peers["omni_moe"] = lambda call: module(sets[call % len(sets)][0][None])
        return found

    name = f"layer T={shape.tokens} {shape.rows}x{shape.columns} K={shape.top_k} I={inner}"
    return Row(name, target, prepare)


# ------------------------------------------------------------------------------
# All of them
# ------------------------------------------------------------------------------


def _shape(tokens: int, rows: int, columns: int, top_k: int) -> Experts:
    return Experts(tokens, HIDDEN, rows, columns, top_k)


def all_rows() -> List[Row]:
    """Forward, bf16 (the router f32), D = 1024; targets of experts in milliseconds."""
    found = [
        router(_shape(4096, 64, 64, 16), 0.012e-3),
        router(_shape(4096, 128, 128, 64), 0.025e-3),
        router(_shape(1024, 256, 256, 32), 0.010e-3),
        router(_shape(4096, 320, 320, 512), 0.15e-3),
    ]
    token_centric = {
        (4096, 64, 64, 16): 0.050,
        (4096, 128, 128, 64): 0.21,
        (4096, 1024, 1024, 64): 0.37,
        (1024, 128, 128, 32): 0.036,
        (16, 320, 320, 512): 0.016,
        (1, 320, 320, 512): 0.008,
        (4096, 320, 320, 512): None,
        (1024, 320, 320, 4096): None,
    }
    chosen = {
        (4096, 64, 64, 16): 0.045,
        (4096, 128, 128, 64): 0.15,
        (4096, 320, 320, 512): 0.75,
        (1024, 320, 320, 4096): 0.60,
        (16384, 320, 320, 512): 2.9,
        (4096, 1024, 1024, 64): 0.37,
        (1024, 128, 128, 32): 0.036,
        (16, 320, 320, 512): 0.016,
        (1, 320, 320, 512): 0.008,
    }
    for name, table in (("token_centric", token_centric), ("auto", chosen)):
        for sizes, target in table.items():
            found.append(experts(_shape(*sizes), name, target and target * 1e-3))
    wide = {
        (4096, HIDDEN, 256, 256, 4, True): 0.25e-3,
        (4096, HIDDEN, 256, 256, 4, False): None,
        (1024, HIDDEN, 256, 256, 32, True): None,
        (64, HIDDEN, 256, 256, 4, True): None,
    }
    for sizes, target in wide.items():
        found.append(wide_experts(workloads.WideExperts(*sizes), target))
    found += [
        dispatch(_shape(4096, 320, 320, 512), 320, 0.06e-3),
        dispatch(_shape(4096, 320, 320, 512), 1, None),
        product(4096, 4096, 1024, 1.0),
        product(4096, 8192, 1024, 1.0),
        product(4096, 16384, 1024, 1.0),
        product(8192, 8192, 8192, 1.0),
        product(4096, 1024, 4096, 0.98),
        product(4096, 4096, 1024, 1.0, of=8192),
        mlp(4096, 4096, 0.152e-3),
        layer(_shape(4096, 64, 64, 16), 4096, 0.20e-3),
    ]
    return found
