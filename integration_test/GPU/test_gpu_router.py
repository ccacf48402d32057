"""A router and its projections in one kernel."""

import numpy as np
import pytest
import reference
from gpu_arrays import all_to_gpu, assert_close, poison, to_numpy
from helpers import make_layer, normal
from routers import router_text
from test_gpu_layer import check_layer

import omnimoe

# Tokens whose choice is compared: those at either end, since the rule is slow in
# Python.
COMPARED = 80


def check(tokens, hidden, sizes, top_k, dtype, shifted=False, kernels=1):
    rng = np.random.default_rng(tokens + hidden)
    x = normal(rng, (tokens, hidden), dtype)
    arrays = [x]
    expected = []
    for size in sizes:
        weight, shift = normal(rng, (size, hidden), dtype), normal(rng, (size,), "f32")
        arrays += [weight, shift]
        known = x.astype(np.float64) @ weight.astype(np.float64).T + shift * shifted
        expected.append(reference.log_softmax(known))
    arguments = all_to_gpu(arrays)
    found = None
    for all_results in (True, False):  # logits that nobody else reads stay in registers
        text = router_text(hidden, sizes, top_k, dtype, shifted, all_results)
        program = omnimoe.compile(text, target=omnimoe.devices()[0].target)
        assert program.ptx.count(".entry") == kernels
        poison()
        *logits, scores, ids = program(*arguments)
        for result, known in zip(logits, expected):
            assert_close(result, known, "f32", times=10)
        if all_results:
            some = np.unique(np.r_[: min(COMPARED, tokens), max(0, tokens - COMPARED) : tokens])
            rows = [to_numpy(each).astype(np.float32)[some] for each in logits]
            found = reference.route(*rows, top_k)
        np.testing.assert_array_equal(to_numpy(ids)[some], found[1])
        np.testing.assert_array_equal(to_numpy(scores).astype(np.float32)[some], found[0])


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize(
    "hidden, sizes, top_k",
    [(128, (64, 64), 16), (136, (33, 7), 32), (1160, (64, 48), 24), (256, (1, 64), 64)],
)
def test_sizes(dtype, hidden, sizes, top_k):
    """Pieces of the summed loop, columns that no tile is full of, more steps than
    stages, candidates that are all sorted and that are not."""
    check(100, hidden, sizes, top_k, dtype)


@pytest.mark.parametrize("tokens", [0, 1, 31, 32, 33, 63, 64, 65, 5000])
def test_any_number_of_tokens(tokens):
    check(tokens, 1024, (64, 64), 16, "bf16")


def test_what_comes_from_memory_besides():
    check(70, 256, (40, 64), 16, "bf16", shifted=True)


@pytest.mark.parametrize(
    "hidden, sizes, top_k", [(64, (64, 64), 16), (256, (64, 64), 512), (256, (65, 64), 16)]
)
def test_what_has_a_kernel_of_its_own(hidden, sizes, top_k):
    check(70, hidden, sizes, top_k, "bf16", kernels=2)


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("norm", [False, True])
def test_layer(dtype, norm):
    params = make_layer(6, 256, 96, 16, 16, dtype=dtype, norm=norm)
    x = normal(np.random.default_rng(7), (100, 256), dtype)
    for tokens in (0, 1, 100):
        check_layer(x[:tokens], params, dtype, top_k=16)
