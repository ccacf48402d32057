"""experts on the GPU: every schedule and type against float64 and the CPU."""

import numpy as np
import pytest
import reference
from gpu_arrays import (
    DTYPES,
    SCHEDULES,
    TOKENS,
    all_to_gpu,
    assert_close,
    is_lowered,
    make_experts,
    poison,
    skip_unless_lowered,
    take,
    to_gpu,
    torch,
)
from helpers import ACTIVATIONS

import omnimoe

# D, N, K: odd D, K = 1, K = N, K > N, one expert, and sizes of use.
SIZES = [(1, 1, 1), (7, 5, 3), (33, 64, 1), (100, 9, 9), (24, 6, 20), (257, 48, 8), (1024, 256, 16)]


@pytest.fixture(params=SCHEDULES)
def schedule(request):
    skip_unless_lowered(request.param)
    return request.param


def check(arguments, dtype, activation="silu", **options):
    if not is_lowered(options.get("schedule"), arguments, dtype):
        with pytest.raises(omnimoe.CompileError, match="' is not available on target"):
            omnimoe.experts(*all_to_gpu(arguments), activation=activation, **options)
        return None
    poison()
    y = omnimoe.experts(*all_to_gpu(arguments), activation=activation, **options)
    assert y.is_cuda and y.shape == arguments.x.shape
    assert_close(y, reference.experts(*arguments, activation), dtype)
    return y


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [33, 64])
def test_small(schedule, dtype, hidden):
    for ids in ("random", "wild"):
        arguments = make_experts(1, 19, hidden, 48, 6, dtype=dtype, ids=ids)
        check(arguments, dtype, schedule=schedule)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden, count, top_k", SIZES)
def test_sizes(schedule, dtype, hidden, count, top_k):
    arguments = make_experts(2, max(TOKENS), hidden, count, top_k, dtype=dtype)
    for tokens in TOKENS:
        check(take(arguments, tokens), dtype, schedule=schedule)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ids", ["one", "wild"])
def test_ids(schedule, dtype, ids):
    """All tokens on one expert; ids out of range, which add nothing."""
    for tokens in TOKENS:
        check(make_experts(3, tokens, 64, 64, 8, dtype=dtype, ids=ids), dtype, schedule=schedule)


def test_heavy_skew(schedule):
    """A few experts with most of the pairs, most experts with none."""
    rng = np.random.default_rng(4)
    arguments = make_experts(4, 600, 64, 4096, 8, dtype="bf16")
    ids = np.minimum(rng.geometric(0.02, arguments.ids.shape) - 1, 4095).astype(np.int32)
    check(arguments._replace(ids=ids), "bf16", schedule=schedule)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize("width, hidden", [(1, 64), (3, 48), (16, 40), (3, 64)])
def test_wide_experts(schedule, dtype, width, hidden):
    arguments = make_experts(5, 40, hidden, 20, 5, width=width, dtype=dtype)
    for tokens in (0, 1, 40):
        check(take(arguments, tokens), dtype, schedule=schedule)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    arguments = make_experts(6, 17, 32, 16, 4)
    # Products from tiny to large, so that every branch of an approximation is met.
    scale = np.logspace(-4, 2, 17, dtype=np.float32)[:, None]
    check(arguments._replace(x=arguments.x * scale), "f32", activation)


@pytest.mark.parametrize("tokens", [1, 3, 16])
@pytest.mark.parametrize("top_k", [64, 512])
def test_few_tokens_of_many_experts(tokens, top_k):
    """Decoding: the experts of a token are split over the GPU."""
    arguments = make_experts(7, tokens, 512, 4096, top_k, dtype="bf16")
    check(arguments, "bf16")
    check(arguments, "bf16", deterministic=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_agrees_with_the_cpu(schedule, dtype):
    """Not to the bit: sums are taken in another order."""
    arguments = make_experts(8, 200, 128, 144, 12, dtype=dtype)
    if not is_lowered(schedule, arguments, dtype):
        pytest.skip(f"{schedule} takes no vectors of {dtype}")
    y = omnimoe.experts(*all_to_gpu(arguments), schedule=schedule)
    on_cpu = omnimoe.experts(*arguments, schedule="token_centric")
    assert_close(y, on_cpu.astype(np.float64), dtype, times=2)


@pytest.mark.parametrize("weight_dtype", ["f16", "bf16"])
def test_short_weights(weight_dtype):
    arguments = make_experts(9, 9, 32, 16, 4, dtype="bf16")
    weights = arguments.weights.astype(DTYPES[weight_dtype])
    check(arguments._replace(weights=weights), "bf16")


def test_deterministic(schedule):
    arguments = all_to_gpu(make_experts(10, 700, 256, 256, 16, dtype="bf16", ids="random"))
    if schedule == "hybrid":
        with pytest.raises(omnimoe.CompileError, match="for deterministic results"):
            omnimoe.experts(*arguments, schedule=schedule, deterministic=True)
        schedule = "auto"
    first = omnimoe.experts(*arguments, schedule=schedule, deterministic=True)
    for _ in range(5):
        poison()
        again = omnimoe.experts(*arguments, schedule=schedule, deterministic=True)
        assert torch.equal(first, again)


def test_check():
    arguments = make_experts(11, 5, 32, 16, 4)
    gpu = all_to_gpu(arguments)
    expected = omnimoe.experts(*gpu)
    assert torch.equal(omnimoe.experts(*gpu, check=True), expected)
    for wrong in (-1, 16):
        ids = arguments.ids.copy()
        ids[3, 2] = wrong
        with pytest.raises(omnimoe.ExpertIdError, match=str(wrong)):
            omnimoe.experts(*gpu[:4], to_gpu(ids), check=True)


def test_experts_that_are_not_chosen_are_not_read():
    """A table is full of NaN but for the chosen vectors."""
    arguments = make_experts(12, 17, 64, 64, 4)
    unused = np.setdiff1d(np.arange(64), arguments.ids)
    assert len(unused)
    expected = reference.experts(*arguments)
    for table in (arguments.up, arguments.down):
        table[unused] = np.nan
    poison()
    y = omnimoe.experts(*all_to_gpu(arguments), schedule="token_centric")
    assert_close(y, expected, "f32")


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_views(dtype):
    """First addresses that are not aligned to 16 bytes, and turned tables."""
    arguments = make_experts(13, 20, 33, 48, 6, dtype=dtype)
    x, up, down, weights, ids = all_to_gpu(arguments)
    few = take(arguments, 20)
    few = few._replace(x=few.x[3:], weights=few.weights[3:], ids=few.ids[3:])
    turned = up.T.contiguous().T
    assert not turned.is_contiguous()
    poison()
    y = omnimoe.experts(x[3:], turned, down, weights[3:], ids[3:])
    assert_close(y, reference.experts(*few), dtype)


def test_tables_beyond_32_bits():
    """N * D above 2^31, so that offsets need 64 bits."""
    count, hidden = (1 << 20) + 5, 2056
    if torch.cuda.mem_get_info()[0] < 20e9:
        pytest.skip("needs 20 GB of free GPU memory")
    made = torch.Generator("cuda").manual_seed(0)
    up, down = (
        torch.empty(count, hidden, dtype=torch.bfloat16, device="cuda") for _ in range(2)
    )
    for table in (up, down):
        for part in table.split(1 << 17):
            part.copy_(torch.randn(part.shape, generator=made, device="cuda") * hidden**-0.5)
    x = torch.randn(9, hidden, generator=made, device="cuda").bfloat16()
    weights = torch.rand(9, 16, generator=made, device="cuda")
    ids = torch.randint(count - 100, count, (9, 16), generator=made, device="cuda").int()
    ids[:, 0] = count - 1
    poison()
    y = omnimoe.experts(x, up, down, weights, ids)
    chosen = ids.long()
    products = torch.einsum("td,tkd->tk", x.double(), up[chosen].double())
    gates = torch.nn.functional.silu(products) * weights.double()
    expected = torch.einsum("tk,tkd->td", gates, down[chosen].double())
    assert float((y.double() - expected).norm() / expected.norm()) < 4e-3


# D, N, K: one step of a product, an odd number, and many; groups of a whole grid row
# that is a multiple of 16 experts and of one that is not; two products for 320 columns.
GROUPED = [
    (64, 48, 6, "silu"),
    (64, 100, 9, "gelu"),
    (192, 289, 40, "relu2"),
    (320, 16, 16, "identity"),
    (1024, 320, 64, "silu"),
    (1024, 1600, 24, "gelu_tanh"),
]


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("hidden, count, top_k, activation", GROUPED[:3])
def test_groups_small(dtype, hidden, count, top_k, activation):
    for ids in ("random", "wild"):
        arguments = make_experts(7, 150, hidden, count, top_k, dtype=dtype, ids=ids)
        check(arguments, dtype, activation, schedule="expert_centric")


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("ids", ["random", "one", "wild"])
@pytest.mark.parametrize("hidden, count, top_k, activation", GROUPED)
def test_groups(dtype, ids, hidden, count, top_k, activation):
    """Tiles that are full, partly filled and empty, on tensor cores."""
    arguments = make_experts(8, 700, hidden, count, top_k, dtype=dtype, ids=ids)
    for tokens in (*TOKENS, 700):
        check(take(arguments, tokens), dtype, activation, schedule="expert_centric")


def test_repeated_experts_in_groups():
    """A token that chose an expert several times gets it several times."""
    arguments = make_experts(9, 200, 128, 256, 12, dtype="bf16")
    ids = arguments.ids // 40 * 40
    check(arguments._replace(ids=ids), "bf16", schedule="expert_centric")


def test_unchosen_products_are_never_looked_at():
    """Products that overflow in f32 belong to experts that nobody chose."""
    arguments = make_experts(10, 60, 64, 64, 4, dtype="bf16")
    up = arguments.up.copy()
    up[32:] = np.finfo(np.float32).max
    ids = arguments.ids % 32
    check(arguments._replace(up=up, ids=ids), "bf16", schedule="expert_centric")
