"""Expert-centric blocks on a GPU whose results are the same every time."""

import numpy as np
import pytest
import reference
from gpu_arrays import all_to_gpu, assert_close, make_experts, poison, take, to_numpy, torch

import omnimoe

OPTIONS = {"schedule": "expert_centric", "deterministic": True}


def disturb(seed):
    """Lets other work run beside the next call, of a size that differs."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        size = 256 + 64 * (seed % 7)
        a = torch.randn(size, size, device="cuda")
        for _ in range(seed % 5):
            a = a @ a.T / size
    return stream


def bits(tensor):
    return tensor.view(torch.int32 if tensor.dtype == torch.float32 else torch.int16).clone()


def repeated(arguments, times=8):
    """The result, which is the same each time."""
    first = omnimoe.experts(*arguments, **OPTIONS)
    for seed in range(times):
        poison()
        stream = disturb(seed)
        again = omnimoe.experts(*arguments, **OPTIONS)
        stream.synchronize()
        assert torch.equal(bits(first), bits(again))
    return first


def check(arguments, dtype="bf16", times=8):
    poison()
    y = repeated(all_to_gpu(arguments), times)
    assert_close(y, reference.experts(*arguments), dtype)
    return y


# D, N, K: odd groups, groups of whole grid rows, two copies of vectors a stage.
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize(
    "hidden, count, top_k", [(64, 48, 6), (64, 100, 9), (192, 289, 40), (1024, 1600, 24)]
)
def test_same_bits(dtype, hidden, count, top_k):
    arguments = make_experts(0, 700, hidden, count, top_k, dtype=dtype)
    for tokens in (0, 1, 17, 700):
        check(take(arguments, tokens), dtype)


def test_many_tiles():
    """More tiles than multiprocessors, of several chunks of tokens."""
    made = torch.Generator("cuda").manual_seed(0)
    tokens, count, hidden, top_k = 16384, 65536, 512, 64
    x, up, down = (
        torch.randn(n, hidden, generator=made, device="cuda").bfloat16()
        for n in (tokens, count, count)
    )
    up *= hidden**-0.5
    weights = torch.rand(tokens, top_k, generator=made, device="cuda")
    ids = torch.randint(count, (tokens, top_k), generator=made, device="cuda").int()
    y = repeated((x, up, down, weights, ids))
    few = slice(0, 64)
    chosen = ids[few].long()
    products = torch.einsum("td,tkd->tk", x[few].double(), up[chosen].double())
    gates = torch.nn.functional.silu(products) * weights[few].double()
    expected = torch.einsum("tk,tkd->td", gates, down[chosen].double())
    assert float((y[few].double() - expected).norm() / expected.norm()) < 4e-3


@pytest.mark.sanitizer
@pytest.mark.parametrize("ids", ["one", "wild"])
def test_ids(ids):
    check(make_experts(1, 300, 128, 256, 12, dtype="bf16", ids=ids))


def test_repeated_experts():
    """Three choices of an expert and more: their coefficients have no order."""
    arguments = make_experts(2, 300, 128, 256, 12, dtype="bf16")
    weights = arguments.weights * np.float32(10) ** np.random.default_rng(0).uniform(
        -4, 0, arguments.weights.shape
    ).astype(np.float32)
    check(arguments._replace(ids=arguments.ids // 64 * 64, weights=weights))


@pytest.mark.sanitizer
@pytest.mark.parametrize("scale", [256, 1 / 256])
def test_limits_that_do_not_fit(scale):
    """The first choices say nothing of the others: such tokens are computed twice."""
    arguments = make_experts(3, 400, 128, 256, 12, dtype="bf16")
    down = arguments.down.astype(np.float32)
    down[16:] *= np.float32(scale)
    ids = arguments.ids % 240 + 16
    ids[::3, 0] %= 16
    ids[::3, 6] %= 16
    weights = arguments.weights.copy()
    weights[::3, [0, 6]] *= np.float32(1e-4)
    down = down.astype(arguments.down.dtype)
    check(arguments._replace(down=down, ids=ids, weights=weights))


def test_values_that_are_not_finite():
    """The same bits, and nothing but such tokens' rows is touched."""
    arguments = make_experts(4, 200, 128, 256, 12, dtype="bf16")
    weights = arguments.weights.copy()
    weights[3, 2] = np.nan
    weights[5, 1], weights[5, 2] = np.inf, -np.inf
    weights[7, 4] = np.inf
    y = to_numpy(repeated(all_to_gpu(arguments._replace(weights=weights))))
    assert set(np.flatnonzero(~np.isfinite(y).all(1))) == {3, 5, 7}
    rest = np.setdiff1d(np.arange(200), [3, 5, 7])
    expected = reference.experts(*arguments)[rest]
    assert np.linalg.norm(y[rest] - expected) / np.linalg.norm(expected) < 4e-3


def test_graph():
    """Which tokens are computed twice is for the device to say, at each replay."""
    arguments = make_experts(5, 300, 128, 256, 12, dtype="bf16")
    x, up, down, weights, ids = all_to_gpu(arguments)
    omnimoe.experts(x, up, down, weights, ids, **OPTIONS)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = omnimoe.experts(x, up, down, weights, ids, **OPTIONS)
    large = down.clone()
    large[ids[::3, 1].long()] *= 4096
    for table in (down.clone(), large, down.clone()):
        down.copy_(table)
        graph.replay()
        replayed = y.clone()
        assert torch.equal(bits(replayed), bits(omnimoe.experts(x, up, down, weights, ids, **OPTIONS)))
        expected = reference.experts(*arguments._replace(down=to_numpy(table)))
        assert_close(replayed, expected, "bf16")
