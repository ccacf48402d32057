"""experts: every schedule, type, width and activation against the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import omnimoe
import reference
from helpers import ACTIVATIONS, DTYPES, SCHEDULES, assert_close, make_experts

TOKENS = st.sampled_from([0, 1, 2, 17, 40])
IDS = st.sampled_from(["random", "one", "wild"])
SEEDS = st.integers(0, 2**32 - 1)


def check(arguments, dtype="f32", activation="silu", schedule="auto", **options):
    y = omnimoe.experts(*arguments, activation=activation, schedule=schedule, **options)
    assert y.dtype == arguments.x.dtype
    assert_close(y, reference.experts(*arguments, activation), dtype)
    return y


@given(st.sampled_from(SCHEDULES), TOKENS, IDS, SEEDS)
def test_schedules(schedule, tokens, ids, seed):
    check(make_experts(seed, tokens, 64, 64, 8, ids=ids), schedule=schedule)


@given(st.sampled_from(SCHEDULES[1:]), TOKENS, IDS, SEEDS)
def test_wide_experts(schedule, tokens, ids, seed):
    check(make_experts(seed, tokens, 48, 20, 5, width=3, ids=ids), schedule=schedule)


@given(st.sampled_from(SCHEDULES), st.sampled_from([None, 3]), TOKENS, IDS, SEEDS)
def test_gated_experts(schedule, width, tokens, ids, seed):
    arguments = make_experts(seed, tokens, 48, 20, 5, width=width, ids=ids)
    gate = np.ascontiguousarray(arguments.up[::-1, ..., ::-1])
    y = omnimoe.experts(*arguments, gate=gate, schedule=schedule)
    assert_close(y, reference.experts(*arguments, gate=gate), "f32")


def test_gated_experts_in_short_floats():
    arguments = make_experts(3, 40, 64, 16, 4, width=16, dtype="bf16")
    gate = arguments.up[::-1].copy()
    expected = reference.experts(*arguments, gate=gate)
    for schedule in SCHEDULES:
        assert_close(omnimoe.experts(*arguments, gate=gate, schedule=schedule), expected, "bf16")

    @omnimoe.jit
    def jitted(x, up, down, weights, ids, gate):
        return omnimoe.experts(x, up, down, weights, ids, gate=gate)

    assert_close(jitted(*arguments, gate), expected, "bf16")


def test_wrong_gates_are_refused():
    arguments = make_experts(3, 4, 64, 16, 4)
    with pytest.raises(omnimoe.ShapeError, match=r"gate: expected \[16, 64\] as up, got"):
        omnimoe.experts(*arguments, gate=arguments.up[:, None])
    with pytest.raises(omnimoe.ShapeError, match="gate: expected element type float32"):
        omnimoe.experts(*arguments, gate=arguments.up.astype(np.float16))


@given(st.sampled_from(["f16", "bf16"]), st.sampled_from(SCHEDULES[1:]), TOKENS, IDS, SEEDS)
def test_short_floats(dtype, schedule, tokens, ids, seed):
    check(make_experts(seed, tokens, 64, 64, 8, dtype=dtype, ids=ids), dtype, schedule=schedule)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    arguments = make_experts(1, 17, 32, 16, 4)
    # Products from tiny to large, so that every branch of an approximation is met.
    scale = np.logspace(-4, 2, 17, dtype=np.float32)[:, None]
    check(arguments._replace(x=arguments.x * scale), activation=activation)


@pytest.mark.parametrize("schedule", SCHEDULES[1:])
@pytest.mark.parametrize(
    "hidden, count, top_k",
    [(1, 1, 1), (7, 5, 3), (17, 33, 1), (100, 9, 9), (24, 6, 20)],
    ids=lambda value: str(value),
)
def test_odd_sizes(schedule, hidden, count, top_k):
    """D below and beside vector lengths, K = 1, K = N, K > N."""
    for tokens in (0, 1, 17):
        check(make_experts(2, tokens, hidden, count, top_k), schedule=schedule)


def test_expert_of_width_one_is_atomic():
    arguments = make_experts(4, 9, 32, 16, 4)
    wide = arguments._replace(up=arguments.up[:, None, :], down=arguments.down[:, None, :])
    assert_close(check(wide), reference.experts(*arguments), "f32")


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_short_weights(dtype):
    arguments = make_experts(6, 9, 32, 16, 4)
    check(arguments._replace(weights=arguments.weights.astype(DTYPES[dtype])))


@pytest.mark.parametrize("schedule", SCHEDULES[1:])
def test_large_and_skewed(schedule):
    """Some experts get most tokens, most experts none."""
    rng = np.random.default_rng(8)
    arguments = make_experts(8, 300, 64, 1024, 8)
    ids = np.minimum(rng.geometric(0.02, arguments.ids.shape) - 1, 1023).astype(np.int32)
    check(arguments._replace(ids=ids), schedule=schedule)


def test_no_reads_for_tokens_without_experts():
    """Only invalid ids: zeros, though the tables hold NaN."""
    arguments = make_experts(9, 5, 64, 64, 8)
    arguments.up[:] = np.nan
    arguments.down[:] = np.nan
    arguments.ids[:] = 64
    for schedule in SCHEDULES:
        # A dense product multiplies by zero what no token chose.
        arguments.down[:] = 1.0 if schedule == "dense" else np.nan
        assert not omnimoe.experts(*arguments, schedule=schedule).any()


@pytest.mark.parametrize("schedule", SCHEDULES[1:])
def test_experts_not_chosen_do_not_matter(schedule):
    """A NaN in an expert reaches only the tokens that chose it."""
    arguments = make_experts(10, 17, 64, 64, 8)
    arguments.ids[:] %= 32
    arguments.ids[3, 2] = 40
    arguments.up[40:] = np.nan
    y = omnimoe.experts(*arguments, schedule=schedule)
    assert np.isnan(y[3]).all()
    clean = arguments._replace(up=np.nan_to_num(arguments.up))
    expected = reference.experts(*clean)
    others = np.arange(17) != 3
    assert_close(y[others], expected[others], "f32")


def test_deterministic():
    arguments = make_experts(11, 200, 64, 64, 8)
    for schedule in SCHEDULES:
        first = omnimoe.experts(*arguments, schedule=schedule, deterministic=True)
        for _ in range(3):
            again = omnimoe.experts(*arguments, schedule=schedule, deterministic=True)
            np.testing.assert_array_equal(first, again)


def test_check_names_the_wrong_id():
    arguments = make_experts(12, 5, 64, 64, 8)
    assert omnimoe.experts(*arguments, check=True).shape == (5, 64)
    for wrong in (-1, 64, 2**31 - 1):
        ids = arguments.ids.copy()
        ids[3, 5] = wrong
        with pytest.raises(
            omnimoe.ExpertIdError, match=rf"experts: expected 0 <= id < 64, got {wrong} at \[3, 5\]"
        ):
            omnimoe.experts(*arguments._replace(ids=ids), check=True)
        ids = np.asfortranarray(ids)
        with pytest.raises(ValueError, match=r"at \[3, 5\]"):
            omnimoe.experts(*arguments._replace(ids=ids), check=True)


def test_poisoned_output_and_workspace():
    """Every element of the output is written, whatever memory held before."""
    arguments = make_experts(13, 17, 64, 64, 8)
    expected = reference.experts(*arguments)
    for schedule in SCHEDULES:
        executable = omnimoe.compile(
            lambda x, up, down, weights, ids: omnimoe.experts(x, up, down, weights, ids),
            schedule=schedule,
            args=arguments,
        )
        for tokens in (17, 1, 0):
            few = [a[:tokens] if i in (0, 3, 4) else a for i, a in enumerate(arguments)]
            out = np.full((tokens, 64), np.nan, np.float32)
            workspace = np.full(executable.workspace_size(tokens) + 128, 0xFF, np.uint8)
            executable.invoke(*few, out, workspace=workspace)
            assert_close(out, expected[:tokens], "f32")
            assert (workspace[-64:] == 0xFF).all(), "written past the workspace"


@pytest.mark.parametrize("schedule", SCHEDULES[1:])
def test_same_bits_for_any_number_of_threads(schedule):
    arguments = make_experts(12, 301, 256, 200, 24)
    before = omnimoe.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            omnimoe.set_num_threads(threads)
            results.append(omnimoe.experts(*arguments, schedule=schedule))
    finally:
        omnimoe.set_num_threads(before)
    for result in results[1:]:
        assert np.array_equal(result, results[0])
