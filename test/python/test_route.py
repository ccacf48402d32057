"""route: the exact choice, bit for bit, in every order of ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import omnimoe
import reference
from helpers import DTYPES

# (R, C, K): square and not, K = 1, K = R*C, one row or column, odd sizes.
GRIDS = [(8, 8, 4), (5, 7, 35), (3, 11, 1), (1, 9, 9), (16, 1, 5), (12, 16, 17), (1, 1, 1)]
TOKENS = st.sampled_from([0, 1, 2, 17])


def check(rows, columns, top_k):
    scores, experts = omnimoe.route(rows, columns, top_k)
    expected_scores, expected_experts = reference.route(rows, columns, top_k)
    assert scores.dtype == np.float32 and experts.dtype == np.int32
    np.testing.assert_array_equal(experts, expected_experts)
    np.testing.assert_array_equal(scores, expected_scores)


@given(st.sampled_from(GRIDS), TOKENS, st.integers(0, 2**32 - 1))
def test_random_logits(grid, tokens, seed):
    rows, columns, top_k = grid
    rng = np.random.default_rng(seed)
    check(
        rng.standard_normal((tokens, rows), np.float32),
        rng.standard_normal((tokens, columns), np.float32),
        top_k,
    )


@given(st.sampled_from(GRIDS), TOKENS, st.integers(0, 2**32 - 1))
def test_many_equal_logits(grid, tokens, seed):
    """Few different values: most sums are tied."""
    rows, columns, top_k = grid
    rng = np.random.default_rng(seed)
    values = np.array([-1.0, 0.0, 0.0, 0.5, 1.0], np.float32)
    check(rng.choice(values, (tokens, rows)), rng.choice(values, (tokens, columns)), top_k)


@given(st.sampled_from(GRIDS), st.integers(0, 2**32 - 1))
def test_sums_made_equal_by_rounding(grid, seed):
    """Column logits below half a unit in the last place of the rows'."""
    rows, columns, top_k = grid
    rng = np.random.default_rng(seed)
    high = rng.integers(1, 3, (17, rows)).astype(np.float32) * np.float32(2**20)
    low = rng.standard_normal((17, columns), np.float32) * np.float32(0.05)
    check(high, low, top_k)


@given(st.sampled_from(GRIDS), st.integers(0, 2**32 - 1))
def test_not_finite_logits(grid, seed):
    rows, columns, top_k = grid
    rng = np.random.default_rng(seed)
    values = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0, -0.0, 1.0], np.float32)
    check(rng.choice(values, (17, rows)), rng.choice(values, (17, columns)), top_k)


@pytest.mark.parametrize("value", [0.0, -0.0, np.nan, -np.inf, np.inf])
def test_all_logits_alike(value):
    check(np.full((2, 8), value, np.float32), np.full((2, 8), value, np.float32), 4)


def test_negative_zero_is_zero():
    """-0.0 and 0.0 are equal, so the lower index wins."""
    rows = np.array([[-0.0, 0.0] * 4], np.float32)
    check(rows, rows[:, ::-1].copy(), 4)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_short_floats_are_widened_exactly(dtype):
    rng = np.random.default_rng(3)
    rows, columns = (rng.standard_normal((17, 8)).astype(DTYPES[dtype]) for _ in range(2))
    scores, experts = omnimoe.route(rows, columns, 4)
    wide = omnimoe.route(rows.astype(np.float32), columns.astype(np.float32), 4)
    np.testing.assert_array_equal(scores, wide[0])
    np.testing.assert_array_equal(experts, wide[1])


def test_large_grid():
    rng = np.random.default_rng(5)
    rows, columns = (rng.standard_normal((9, 128), np.float32) for _ in range(2))
    scores, experts = omnimoe.route(rows, columns, 64)
    sums = rows[:, :, None] + columns[:, None, :]
    best = -np.sort(-sums.reshape(9, -1), axis=1)[:, :64]
    np.testing.assert_array_equal(scores, best)
    np.testing.assert_array_equal(scores, np.take_along_axis(sums.reshape(9, -1), experts, 1))
    assert all(len(set(row)) == 64 for row in experts.tolist())


@pytest.mark.parametrize("top_k", [0, -1, 65, 2**40])
def test_top_k_out_of_range(top_k):
    logits = np.zeros((2, 8), np.float32)
    with pytest.raises(ValueError, match=r"top_k: expected 1 <= top_k <= 64 .*8 x 8.* got"):
        omnimoe.route(logits, logits, top_k)


@pytest.mark.parametrize("top_k", [2.0, "4", None, True])
def test_top_k_is_an_integer(top_k):
    logits = np.zeros((2, 8), np.float32)
    with pytest.raises(omnimoe.ArgumentError, match="top_k: expected an integer, got"):
        omnimoe.route(logits, logits, top_k)


def test_top_k_may_be_a_numpy_integer():
    logits = np.zeros((2, 8), np.float32)
    assert omnimoe.route(logits, logits, np.int64(4))[1].shape == (2, 4)
