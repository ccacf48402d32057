"""Gradients against float64 autograd on upcast inputs, and what autograd and
torch.func may do with the functions."""

import pytest

torch = pytest.importorskip("torch")

import omnimoe.torch as omt
import torch_reference as reference
from torch_helpers import (
    ACTIVATIONS,
    SCHEDULES,
    assert_close,
    check_gradients,
    expert_arguments,
    layer_params,
    mlp_arguments,
    normal,
)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_experts(schedule, dtype):
    check_gradients(
        lambda *a: omt.experts(*a, schedule=schedule),
        reference.experts,
        expert_arguments(dtype=dtype),
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("width", [None, 3])
def test_gated_experts(schedule, width):
    arguments = expert_arguments(width=width)
    gate = normal(*arguments[1].shape, scale=32**-0.5, seed=9, grad=True)
    check_gradients(
        lambda gate, *a: omt.experts(*a, gate=gate, schedule=schedule),
        lambda gate, *a: reference.experts(*a, gate=gate),
        [gate, *arguments],
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    check_gradients(
        lambda *a: omt.experts(*a, activation=activation),
        lambda *a: reference.experts(*a, activation),
        expert_arguments(),
    )


@pytest.mark.parametrize(
    "sizes",
    [
        {"tokens": 1},
        {"tokens": 0},
        {"hidden": 19, "count": 7, "top_k": 3},
        {"width": 3},
        {"count": 5, "top_k": 5},
    ],
    ids=str,
)
def test_experts_of_odd_shapes(sizes):
    check_gradients(omt.experts, reference.experts, expert_arguments(**sizes))


def test_repeated_and_invalid_experts_and_zero_weights():
    x, up, down, weights, ids = expert_arguments()
    ids[:, 1] = ids[:, 0]  # an expert twice for one token
    ids[3:8] = ids[2]
    ids[0, 2], ids[1, 3] = -1, 48
    with torch.no_grad():
        weights[:, 4] = 0
    check_gradients(omt.experts, reference.experts, [x, up, down, weights, ids])
    assert (weights.grad[0, 2], weights.grad[1, 3]) == (0, 0)
    assert weights.grad[:, 4].abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mlp(dtype):
    check_gradients(omt.mlp, reference.mlp, mlp_arguments(dtype=dtype))
    odd = mlp_arguments(tokens=5, hidden=7, inner=11, dtype=dtype)
    check_gradients(omt.mlp, reference.mlp, odd)


def test_route():
    rows, columns = normal(17, 6, grad=True), normal(17, 8, seed=1, grad=True)
    ids = omt.route(rows, columns, 5)[1]
    check_gradients(
        lambda r, c: omt.route(r, c, 5)[0],
        lambda r, c: reference.scores_of(r, c, ids),
        [rows, columns],
    )


@pytest.mark.parametrize("weighting", ["exp", "softmax"])
def test_layer(weighting):
    params = layer_params(grad=True)
    check_gradients(
        lambda x, *v: omt.layer(x, dict(zip(params, v)), top_k=5, weighting=weighting),
        lambda x, *v: reference.layer(x, dict(zip(params, v)), 5, weighting=weighting),
        [normal(17, 32, seed=7, grad=True), *params.values()],
    )


def test_only_what_needs_a_gradient_gets_one():
    x, up, down, weights, ids = expert_arguments()
    omt.experts(x.detach(), up, down.detach(), weights, ids).sum().backward()
    assert x.grad is None and down.grad is None
    assert up.grad is not None and weights.grad is not None
    with torch.no_grad():
        assert not omt.experts(x, up, down, weights, ids).requires_grad
    ids = omt.route(normal(4, 3, grad=True), normal(4, 3, seed=1), 2)[1]
    assert not ids.requires_grad


def test_one_tensor_in_two_places():
    x, up, _, weights, ids = expert_arguments()
    check_gradients(
        lambda x, t, w, e: omt.experts(x, t, t, w, e),
        lambda x, t, w, e: reference.experts(x, t, t, w, e),
        [x, up, weights, ids],
    )


def test_non_contiguous_and_expanded():
    x, up, down, weights, ids = expert_arguments()
    check_gradients(
        lambda x, *a: omt.experts(x.T, *a),
        lambda x, *a: reference.experts(x.T, *a),
        [x.detach().T.contiguous().requires_grad_(), up, down, weights, ids],
    )
    y = omt.mlp(*mlp_arguments())
    y.sum().backward()  # an expanded cotangent


def test_second_derivatives_are_refused():
    x, up, down, weights, ids = expert_arguments()
    y = omt.experts(x, up, down, weights, ids)
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        grad.sum().backward()


def test_deterministic_gradients_are_bitwise_equal():
    def grads():
        arguments = expert_arguments(tokens=64)
        omt.experts(*arguments, deterministic=True).square().sum().backward()
        return [a.grad for a in arguments[:4]]

    assert all(torch.equal(a, b) for a, b in zip(grads(), grads()))


# torch.func ------------------------------------------------------------------


def test_func_grad_and_vjp():
    x, up, down, weights, ids = expert_arguments()

    def loss(up, weights):
        return omt.experts(x.detach(), up, down.detach(), weights, ids).square().sum()

    got = torch.func.grad(loss, argnums=(0, 1))(up.detach(), weights.detach())
    expected = torch.autograd.grad(loss(up, weights), (up, weights))
    assert all(torch.equal(a, b) for a, b in zip(got, expected))
    _, pull = torch.func.vjp(lambda w: loss(up.detach(), w), weights.detach())
    assert torch.equal(pull(torch.ones(()))[0], expected[1])


def test_func_vmap():
    x, up, down, weights, ids = expert_arguments(tokens=12, grad=False)
    split = lambda t: t.reshape(3, 4, -1)  # noqa: E731
    # One call for all samples where only tokens are batched ...
    y = torch.func.vmap(omt.experts, in_dims=(0, None, None, 0, 0))(
        split(x), up, down, split(weights), split(ids)
    )
    assert torch.equal(y.flatten(0, 1), omt.experts(x, up, down, weights, ids))
    # ... and a call a sample where tables are.
    tables = torch.stack([up, 2 * up])
    y = torch.func.vmap(omt.experts, in_dims=(None, 0, None, None, None))(
        x, tables, down, weights, ids
    )
    assert torch.equal(y[1], omt.experts(x, 2 * up, down, weights, ids))
    # Gradients of each sample.
    per_sample = torch.func.vmap(
        torch.func.grad(lambda u, x, w, i: omt.experts(x, u, down, w, i).sum()),
        in_dims=(None, 0, 0, 0),
    )(up, split(x), split(weights), split(ids))
    whole = torch.func.grad(lambda u: omt.experts(x, u, down, weights, ids).sum())(up)
    assert_close(per_sample.sum(0), whole, 1e-5)


def test_functional_call_of_a_module():
    layer = omt.OmniMoE(omt.OmniMoEConfig(16, 24, "silu", 16, 3, router_norm=False))
    x = normal(8, 16)
    params = {name: p.detach() for name, p in layer.named_parameters()}
    got = torch.func.grad(lambda p: torch.func.functional_call(layer, p, (x,)).sum())(params)
    layer(x).sum().backward()
    assert torch.equal(got["up_embed.weight"], layer.up_embed.weight.grad)
    assert torch.equal(got["router_gate_x.weight"], layer.router_gate_x.weight.grad)
