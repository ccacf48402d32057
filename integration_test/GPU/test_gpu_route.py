"""route on the GPU: the bits of the CPU's, which are those of the definition."""

import numpy as np
import pytest
import reference
from gpu_arrays import DTYPES, TOKENS, poison, to_gpu, torch

import omnimoe

# R, C, K: K = 1, K = R*C, R != C, odd sizes, K beyond both axes, and large.
SIZES = [
    (1, 1, 1),
    (8, 8, 1),
    (8, 6, 48),
    (7, 13, 20),
    (1, 9, 5),
    (33, 100, 77),
    (64, 64, 16),
    (128, 128, 64),
    (20, 300, 129),
    (320, 320, 512),
]


def check(rows, columns, top_k, against_definition=True):
    """Runs on the GPU and compares bit for bit."""
    poison()
    scores, ids = omnimoe.route(to_gpu(rows), to_gpu(columns), top_k)
    assert scores.dtype == torch.float32 and ids.dtype == torch.int32
    assert scores.is_cuda and ids.is_cuda
    on_cpu = omnimoe.route(rows, columns, top_k)
    np.testing.assert_array_equal(ids.cpu().numpy(), on_cpu[1])
    np.testing.assert_array_equal(scores.cpu().numpy(), on_cpu[0])
    if against_definition:
        expected = reference.route(rows, columns, top_k)
        np.testing.assert_array_equal(ids.cpu().numpy(), expected[1])
        np.testing.assert_array_equal(scores.cpu().numpy(), expected[0])


def logits(seed, tokens, size, dtype="f32"):
    values = np.random.default_rng(seed).standard_normal((tokens, size))
    return values.astype(DTYPES[dtype])


@pytest.mark.parametrize("rows, columns, top_k", SIZES)
def test_sizes(rows, columns, top_k):
    for tokens in TOKENS:
        small = tokens * rows * columns < 1e6
        check(logits(1, tokens, rows), logits(2, tokens, columns), top_k, small)


@pytest.mark.sanitizer
@pytest.mark.parametrize("rows, columns, top_k", [(7, 13, 20), (8, 6, 48), (64, 64, 16)])
def test_small(rows, columns, top_k):
    check(logits(3, 19, rows), logits(4, 19, columns), top_k)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_short_floats(dtype):
    """Widened exactly; many sums are equal."""
    check(logits(5, 40, 24, dtype), logits(6, 40, 17, dtype), 30)


def test_ties():
    """Whole numbers: nearly every sum occurs several times."""
    rng = np.random.default_rng(7)
    for levels in (1, 2, 5):
        rows = rng.integers(0, levels, (50, 16)).astype(np.float32)
        columns = rng.integers(0, levels, (50, 12)).astype(np.float32)
        for top_k in (1, 30, 192):
            check(rows, columns, top_k)


def test_sums_that_round_together():
    """Logits of which only some bits survive the sum."""
    rng = np.random.default_rng(8)
    rows = (1e6 + rng.random((40, 16))).astype(np.float32)
    columns = (rng.random((40, 16)) * 1e-3).astype(np.float32)
    check(rows, columns, 40)


@pytest.mark.parametrize("size, top_k", [(64, 16), (128, 64), (320, 200)])
def test_neighbouring_logits(size, top_k):
    """Rows and columns that differ by the last bit: sums of two or three pairs are
    equal, some of them out of the order of their ids."""
    rng = np.random.default_rng(12)
    rows, columns = logits(13, 300, size), logits(14, 300, size)
    for axis in (rows, columns):
        axis[:, 1::8] = np.nextafter(axis[:, ::8], np.float32(np.inf))
        axis[:] = axis[:, rng.permutation(size)]
    check(rows, columns, top_k)


def test_not_finite():
    rows, columns = logits(9, 40, 16), logits(10, 40, 12)
    rng = np.random.default_rng(11)
    for array in (rows, columns):
        for value in (np.nan, np.inf, -np.inf):
            array[rng.random(array.shape) < 0.15] = value
    rows[0], columns[1] = np.nan, -np.inf
    rows[2] = columns[2] = np.nan
    for top_k in (1, 20, 192):
        check(rows, columns, top_k)


def test_extremes():
    """Denormals, signed zeros, and sums beyond the largest float."""
    values = np.array([0.0, -0.0, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 1.0], np.float32)
    rng = np.random.default_rng(12)
    check(rng.choice(values, (60, 9)), rng.choice(values, (60, 11)), 50)


def test_views():
    """Rows that are not aligned, and arrays that are not row-major."""
    rows, columns = to_gpu(logits(13, 20, 21)), to_gpu(logits(14, 20, 15))
    expected = omnimoe.route(rows[3:].clone(), columns[3:].clone(), 9)
    for result, other in zip(omnimoe.route(rows[3:], columns[3:], 9), expected):
        assert torch.equal(result, other)
    turned = omnimoe.route(rows.T.contiguous().T[3:], columns[3:], 9)
    assert torch.equal(turned[1], expected[1])
