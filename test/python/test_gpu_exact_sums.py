"""Sums that do not depend on their order, without a GPU: see exact_sums.py.

Numbers of experts that are squares make groups of lines of a grid, and clusters of
blocks.
"""

import pytest

pytest.importorskip("torch")


@pytest.fixture
def run(run_on_fake_gpu):
    return lambda script: run_on_fake_gpu(
        "import numpy as np\nfrom exact_sums import check, make\n"
        "x, up, down, weights, ids = arrays = make(40, 110, 128, 9)\n" + script
    )


@pytest.mark.parametrize(
    "sizes",
    [
        "20, 48, 64, 6",
        "150, 110, 128, 9",
        "20, 1610, 320, 12",
        "20, 49, 64, 6",
        "150, 100, 128, 9",
    ],
)
def test_sizes(run, sizes):
    run(f"check(make({sizes}), lambda again: again == 0)")


def test_dense(run):
    run("check(make(20, 700, 128, 9), lambda again: again == 0, schedule='dense')")


@pytest.mark.parametrize("tokens", [0, 1])
def test_few_tokens(run, tokens):
    run(f"check([x[:{tokens}], up, down, weights[:{tokens}], ids[:{tokens}]])")


@pytest.mark.parametrize(
    "change",
    [
        "ids[:] = ids // 25 * 25",
        "ids[:] = 7",
        "ids[::2, 3], ids[1::2, 0], ids[5] = -1, 110, -7",
        "weights[:] = 0",
        "weights[:] = 10 ** np.random.default_rng(0).uniform(-5, 0, weights.shape)",
    ],
)
def test_once(run, change):
    """Experts that a token chose several times, or that nobody has; weights of all
    sizes, and nothing to add."""
    run(f"{change}\ncheck(arrays, lambda again: again == 0)")


def test_limits_that_are_too_small(run):
    """What is looked at, the first choice and the fifth, says nothing of the rest."""
    run("""
up[90:] *= 8
down[90:] *= 512
ids %= 90
ids[::3, 1] = 90 + ids[::3, 1] % 10
check(arrays, lambda again: 7 <= again <= 14)
""")


def test_limits_that_are_too_large(run):
    """The first choice has a large vector and no weight."""
    run("""
down[:10] *= 1000
ids[:] = 10 + ids % 90
ids[::4, 0] %= 10
weights[::4, 0] = 0
check(arrays, lambda again: again == 10)
""")


def test_values_that_are_not_finite(run):
    """Rows of such tokens, and no others, are no numbers, whatever is met first."""
    run("""
weights[3, 2] = np.nan
weights[5, 1], weights[5, 2] = np.inf, -np.inf
x[7, 5], x[9, 4] = np.nan, np.inf
weights[11, 0] = 3e38
y = check(arrays)
assert set(np.flatnonzero(~np.isfinite(y).all(1))) == {3, 5, 7, 9, 11}
""")
