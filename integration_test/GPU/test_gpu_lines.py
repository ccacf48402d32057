"""Experts grouped by the rows and columns of a grid, against float64."""

import numpy as np
import pytest
import reference
from gpu_arrays import (
    all_to_gpu,
    assert_close,
    make_experts,
    poison,
    take,
    to_gpu,
    to_numpy,
    torch,
)

import omnimoe
import omnimoe.torch

# R, C, D, K, T: no square, either way; lines in two parts; more groups than the dispatch has
# a table for; pairs that it sorts in shared memory, and more than fit there; one step of a
# product; several chunks of tokens.
GRIDS = [
    (24, 40, 64, 17, 300),
    (40, 24, 128, 30, 300),
    (330, 330, 64, 60, 500),
    (520, 520, 64, 20, 200),
    (48, 48, 192, 300, 400),
    (80, 80, 64, 5000, 20),
    (16, 16, 64, 9, 2000),
    (64, 64, 2048, 24, 9000),
]


def routed(grid, dtype, seed=0):
    """Arguments of experts whose ids a router has chosen, and its logits."""
    rows, columns, hidden, top_k, tokens = grid
    arguments = make_experts(seed, tokens, hidden, rows * columns, top_k, dtype=dtype)
    rng = np.random.default_rng(seed)
    logits = [rng.standard_normal((tokens, n)).astype(np.float32) for n in (rows, columns)]
    ids = to_numpy(omnimoe.route(*all_to_gpu(logits), top_k)[1])
    return arguments._replace(ids=ids), logits


def by_router(top_k, **options):
    """Experts as one program with their router, which tells the grid."""

    @omnimoe.jit(**options)
    def program(x, up, down, weights, row_logits, col_logits):
        _, ids = omnimoe.route(row_logits, col_logits, top_k)
        return omnimoe.experts(x, up, down, weights, ids, schedule="expert_centric")

    return program


def run(arguments, logits, **options):
    program = by_router(arguments.ids.shape[1], **options)
    poison()
    return program(*all_to_gpu([*arguments[:4], *logits]))


def expected_rows(arguments, count=60):
    """The reference of a few tokens, and which."""
    chosen = np.unique(np.linspace(0, len(arguments.x) - 1, count).astype(int))
    x, up, down, weights, ids = arguments
    few = arguments._replace(x=x[chosen], weights=weights[chosen], ids=ids[chosen])
    return reference.experts(*few, "silu"), chosen


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("grid", GRIDS)
def test_grids(grid, dtype):
    arguments, logits = routed(grid, dtype)
    y = run(arguments, logits)
    expected, chosen = expected_rows(arguments)
    assert_close(y[torch.from_numpy(chosen).cuda()], expected, dtype)


@pytest.mark.sanitizer
@pytest.mark.parametrize("grid", [GRIDS[0], GRIDS[1], (17, 330, 64, 12, 70), (48, 48, 64, 300, 40)])
def test_grids_small(grid):
    arguments, logits = routed(grid, "bf16", seed=1)
    for tokens in (0, 1, 40, len(arguments.x)):
        few = take(arguments, tokens)
        y = run(few, [part[:tokens] for part in logits])
        assert_close(y, reference.experts(*few, "silu"), "bf16")


@pytest.mark.parametrize("ids", ["one", "row", "column", "cross", "wild"])
def test_ids_of_a_grid(ids):
    """All pairs in one place, one line, a row and a column; ids of nobody."""
    side, top_k = 50, 40
    arguments = make_experts(2, 700, 64, side * side, top_k, dtype="bf16", ids="wild")
    rng = np.random.default_rng(3)
    line = rng.integers(0, side, arguments.ids.shape)
    row, column = 7 * side + line, line * side + 11
    made = {"one": 0 * line + 1234, "row": row, "column": column}
    made["cross"] = np.where(rng.random(line.shape) < 0.5, row, column)
    arguments = arguments._replace(ids=made.get(ids, arguments.ids).astype(np.int32))
    for deterministic in (False, True):
        poison()
        y = omnimoe.experts(
            *all_to_gpu(arguments), schedule="expert_centric", deterministic=deterministic
        )
        assert_close(y, reference.experts(*arguments, "silu"), "bf16")


@pytest.mark.parametrize("grid", [GRIDS[0], GRIDS[4], GRIDS[7]])
def test_same_bits(grid):
    """Whatever the order of pairs and of sums."""
    arguments, logits = routed(grid, "bf16", seed=4)
    first = run(arguments, logits, deterministic=True)
    for _ in range(4):
        assert torch.equal(first, run(arguments, logits, deterministic=True))
    expected, chosen = expected_rows(arguments)
    assert_close(first[torch.from_numpy(chosen).cuda()], expected, "bf16")


def test_gradients():
    """The saving forward keeps what pairs picked, wherever they were sorted to."""
    arguments, _ = routed((48, 48, 128, 40, 600), "bf16", seed=5)
    gradients = {}
    for schedule in ("expert_centric", "token_centric"):
        leaves = [to_gpu(a).requires_grad_() for a in arguments[:4]]
        ids = to_gpu(arguments.ids)
        y = omnimoe.torch.experts(*leaves, ids, schedule=schedule)
        y.float().square().sum().backward()
        gradients[schedule] = [leaf.grad.double() for leaf in leaves]
    for found, expected in zip(*gradients.values()):
        assert float((found - expected).norm() / expected.norm()) < 2e-2
