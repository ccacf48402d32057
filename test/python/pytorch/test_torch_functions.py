"""Results of the functions: types, shapes, autocast, fake tensors, errors."""

import pytest

torch = pytest.importorskip("torch")

import omnimoe
import omnimoe.torch as omt
import torch_reference as reference
from torch_helpers import (
    ACTIVATIONS,
    SCHEDULES,
    TOLERANCE,
    assert_close,
    expert_arguments,
    layer_params,
    mlp_arguments,
    normal,
    upcast,
)

SHORT = [torch.float16, torch.bfloat16]


def test_import_of_omnimoe_does_not_import_torch(run_python):
    run_python("import sys, omnimoe; assert 'torch' not in sys.modules")


@pytest.mark.parametrize("tokens", [0, 1, 17])
def test_route_chooses_as_on_arrays(tokens):
    rows, columns = normal(tokens, 7), normal(tokens, 9, seed=1)
    scores, ids = omt.route(rows, columns, 5)
    expected_scores, expected_ids = omnimoe.route(rows.numpy(), columns.numpy(), 5)
    assert scores.dtype == torch.float32 and ids.dtype == torch.int32
    assert scores.numpy().tobytes() == expected_scores.tobytes()
    assert ids.numpy().tobytes() == expected_ids.tobytes()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_experts_schedules(schedule):
    arguments = expert_arguments(grad=False)
    y = omt.experts(*arguments, schedule=schedule)
    assert_close(y, reference.experts(*upcast(arguments)), TOLERANCE[y.dtype])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    arguments = expert_arguments(grad=False, width=2)
    y = omt.experts(*arguments, activation=activation)
    assert_close(y, reference.experts(*upcast(arguments), activation), TOLERANCE[y.dtype])
    arguments = mlp_arguments(grad=False)
    y = omt.mlp(*arguments, activation=activation)
    assert_close(y, reference.mlp(*upcast(arguments), activation), TOLERANCE[y.dtype])


@pytest.mark.parametrize("dtype", SHORT)
def test_short_types(dtype):
    arguments = expert_arguments(grad=False, dtype=dtype)
    y = omt.experts(*arguments)
    assert y.dtype == dtype
    assert_close(y, reference.experts(*upcast(arguments)), TOLERANCE[dtype])


def test_leading_sizes_of_any_rank():
    x, up, down, weights, ids = expert_arguments(tokens=12, grad=False)
    flat = omt.experts(x, up, down, weights, ids)
    batched = omt.experts(
        x.reshape(3, 4, -1), up, down, weights.reshape(3, 4, -1), ids.reshape(3, 4, -1)
    )
    assert batched.shape == (3, 4, 32)
    assert torch.equal(batched.flatten(0, 1), flat)
    one = omt.experts(x[0], up, down, weights[0], ids[0])
    assert one.shape == (32,)
    scores, chosen = omt.route(normal(2, 3, 6), normal(2, 3, 8, seed=1), 4)
    assert scores.shape == chosen.shape == (2, 3, 4)
    arguments = mlp_arguments(tokens=12, grad=False)
    y = omt.mlp(arguments[0].reshape(2, 6, -1), *arguments[1:])
    assert torch.equal(y.flatten(0, 1), omt.mlp(*arguments))


def test_ids_of_int64_and_out_of_range():
    x, up, down, weights, ids = expert_arguments(grad=False)
    ids[0, 0], ids[3, 2] = -1, 48
    y = omt.experts(x, up, down, weights, ids.long())
    assert_close(y, reference.experts(*upcast([x, up, down, weights, ids])), 1e-5)


@pytest.mark.parametrize("weighting", ["exp", "softmax"])
@pytest.mark.parametrize("norm", [True, False])
def test_layer(weighting, norm):
    params = layer_params(norm=norm)
    x = normal(17, 32, seed=5)
    y = omt.layer(x, params, top_k=5, weighting=weighting)
    exact = {name: value.double() for name, value in params.items()}
    expected = reference.layer(x.double(), exact, 5, weighting=weighting)
    assert_close(y, expected, 1e-5)


def test_autocast_casts_matrices_but_not_the_router():
    x, up, down, weights, ids = expert_arguments(grad=False)
    rows, columns = normal(17, 7), normal(17, 9, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        y = omt.experts(x, up, down, weights, ids)
        z = omt.mlp(*mlp_arguments(grad=False))
        scores, chosen = omt.route(rows, columns, 5)
    assert y.dtype == z.dtype == torch.bfloat16
    assert torch.equal(chosen, omt.route(rows, columns, 5)[1])
    expected = omt.experts(x.bfloat16(), up.bfloat16(), down.bfloat16(), weights, ids)
    assert torch.equal(y, expected)
    params = layer_params()
    with torch.autocast("cpu", torch.bfloat16):
        y = omt.layer(x, params, top_k=5)
    cast = {k: v if "norm" in k else v.bfloat16() for k, v in params.items()}
    assert torch.equal(y, omt.layer(x.bfloat16(), cast, top_k=5))


def test_meta_and_fake_tensors_have_shapes_only():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        scores, ids = omt.route(torch.empty(4, 6), torch.empty(4, 8), 5)
        assert scores.shape == ids.shape == (4, 5) and ids.dtype == torch.int32
        tables = torch.empty(48, 32), torch.empty(48, 32)
        assert omt.experts(torch.empty(4, 32), *tables, scores, ids).shape == (4, 32)


def test_errors_name_the_argument():
    x, up, down, weights, ids = expert_arguments(grad=False)
    with pytest.raises(omnimoe.ShapeError, match="^down: "):
        omt.experts(x, up, down[:, :-1], weights, ids)
    with pytest.raises(omnimoe.ShapeError, match="^up: expected element type bfloat16"):
        omt.experts(x.bfloat16(), up, down, weights, ids)
    with pytest.raises(omnimoe.ArgumentError, match="did you mean 'silu'"):
        omt.experts(x, up, down, weights, ids, activation="sulu")
    with pytest.raises(omnimoe.ArgumentError, match="top_k"):
        omt.route(normal(3, 2), normal(3, 2), 5)
    with pytest.raises(omnimoe.ArgumentError, match="down_proj"):
        omt.layer(x, {"gate_proj": up, "up_proj": up}, top_k=1)
    with pytest.raises(omnimoe.ArgumentError, match="^x: expected a torch.Tensor, got ndarray"):
        omt.mlp(x.numpy(), up, up, up)
