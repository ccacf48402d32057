"""mlp and layer against the reference."""

import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import omnimoe
import reference
from helpers import ACTIVATIONS, DTYPES, SCHEDULES, assert_close, make_layer, normal

TOKENS = st.sampled_from([0, 1, 2, 17, 70])
SEEDS = st.integers(0, 2**32 - 1)
#: (D, I)
MLPS = [(32, 48), (64, 128), (7, 5), (1, 1), (100, 33)]


def mlp_arguments(seed, tokens, hidden, inner, dtype="f32"):
    rng = np.random.default_rng(seed)
    return (
        normal(rng, (tokens, hidden), dtype),
        normal(rng, (inner, hidden), dtype, hidden**-0.5),
        normal(rng, (inner, hidden), dtype, hidden**-0.5),
        normal(rng, (hidden, inner), dtype, inner**-0.5),
    )


@given(st.sampled_from(MLPS), TOKENS, SEEDS)
def test_mlp(sizes, tokens, seed):
    arguments = mlp_arguments(seed, tokens, *sizes)
    assert_close(omnimoe.mlp(*arguments), reference.mlp(*arguments), "f32")


@given(st.sampled_from(["f16", "bf16"]), TOKENS, SEEDS)
def test_mlp_of_short_floats(dtype, tokens, seed):
    arguments = mlp_arguments(seed, tokens, 32, 48, dtype)
    y = omnimoe.mlp(*arguments)
    assert y.dtype == DTYPES[dtype]
    assert_close(y, reference.mlp(*arguments), dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_activations(activation):
    arguments = mlp_arguments(1, 17, 32, 48)
    y = omnimoe.mlp(*arguments, activation=activation)
    assert_close(y, reference.mlp(*arguments, activation), "f32")


def check_layer(x, params, top_k, dtype="f32", **options):
    y = omnimoe.layer(x, params, top_k=top_k, **options)
    assert y.dtype == x.dtype
    options.pop("schedule", None)
    expected, gap = reference.layer(x, params, top_k, **options)
    assert y.shape == expected.shape
    # A token whose next expert scores almost the same may rightly take it.
    sure = gap > 1e-4
    assert sure.sum() >= 0.8 * len(x)
    assert_close(y[sure], expected[sure], dtype)


@given(st.sampled_from(SCHEDULES), TOKENS, SEEDS)
def test_layer(schedule, tokens, seed):
    params = make_layer(seed)
    x = normal(np.random.default_rng(seed + 1), (tokens, 32), "f32")
    check_layer(x, params, 5, schedule=schedule)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_layer_of_short_floats(dtype):
    params = make_layer(1, dtype=dtype)
    for tokens in (0, 1, 17):
        x = normal(np.random.default_rng(2), (tokens, 32), dtype)
        check_layer(x, params, 5, dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"norm": False},
        {"affine": True},
        {"width": 2},
        {"rows": 1, "columns": 13},
        {"hidden": 19, "inner": 11, "rows": 5, "columns": 5},
    ],
    ids=str,
)
def test_layer_variants(options):
    params = make_layer(3, **options)
    x = normal(np.random.default_rng(4), (17, params["up_embed"].shape[-1]), "f32")
    check_layer(x, params, 3)


def test_layer_weighting_activation_and_all_experts():
    params = make_layer(5)
    x = normal(np.random.default_rng(6), (17, 32), "f32")
    check_layer(x, params, 5, weighting="softmax")
    check_layer(x, params, 5, activation="gelu")
    check_layer(x, params, 48)
    check_layer(x, params, 1, weighting="softmax")


def test_layer_agrees_with_its_parts():
    """The layer chooses the same experts as route on the same logits."""
    params = make_layer(7, norm=False)
    x = normal(np.random.default_rng(8), (17, 32), "f32")
    rows, columns = (a.astype(np.float32) for a in reference.router(x, params))
    scores, ids = omnimoe.route(rows, columns, 5)
    routed = omnimoe.experts(x, params["up_embed"], params["down_embed"], np.exp(scores), ids)
    shared = omnimoe.mlp(x, params["gate_proj"], params["up_proj"], params["down_proj"])
    _, gap = reference.layer(x, params, 5)
    sure = gap > 1e-4
    y = omnimoe.layer(x, params, top_k=5)
    assert_close(y[sure], (routed + shared).astype(np.float64)[sure], "f32")


def test_parameters_as_state_dict_or_object():
    params = make_layer(9)
    x = normal(np.random.default_rng(10), (17, 32), "f32")
    y = omnimoe.layer(x, params, top_k=5)

    state = {k if "norm" in k else k + ".weight": v for k, v in params.items()}
    np.testing.assert_array_equal(omnimoe.layer(x, state, top_k=5), y)

    module = types.SimpleNamespace()
    for name, array in params.items():
        head, _, part = name.partition(".")
        if part:
            norm = module.__dict__.setdefault(head, types.SimpleNamespace(eps=1e-5))
            setattr(norm, part, array)
        else:
            setattr(module, name, types.SimpleNamespace(weight=array))
    np.testing.assert_array_equal(omnimoe.layer(x, module, top_k=5), y)
    module.router_norm_x.eps = module.router_norm_y.eps = 0.5
    other = omnimoe.layer(x, module, top_k=5)
    np.testing.assert_array_equal(other, omnimoe.layer(x, params, top_k=5, norm_eps=0.5))
    assert not np.array_equal(other, y)
