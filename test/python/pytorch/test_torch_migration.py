"""Checkpoints of the published modules load unchanged and give the same outputs.

The formulas are written here in plain PyTorch from the published definitions, in
float64; the state dicts are made by hand, with the published names and shapes.
docs/Migration.md tells users what this file checks.
"""

import math
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

import omnimoe
import omnimoe.torch as omt
import torch.nn.functional as F
from torch_helpers import assert_close, normal

D, I, N, K = 32, 48, 64, 5


def published_state(experts=N, flash=False, seed=0):
    """A state dict with the names and shapes of the published module."""
    side = math.isqrt(experts)
    shapes = {
        "gate_proj.weight": (I, D),
        "up_proj.weight": (I, D),
        "down_proj.weight": (D, I),
        "up_embed.weight": (experts, D),
        "down_embed.weight": (experts, D),
    }
    gates = {"router_gate": 2 * side} if flash else {"router_gate_x": side, "router_gate_y": side}
    norms = {"router_norm": D} if flash else {"router_norm_x": side, "router_norm_y": side}
    for name, size in gates.items():
        shapes[name + ".weight"] = (size, D)
    state = {
        name: normal(*shape, scale=D**-0.5, seed=seed + i)
        for i, (name, shape) in enumerate(shapes.items())
    }
    for i, (name, size) in enumerate(norms.items()):
        state[name + ".running_mean"] = normal(size, scale=0.3, seed=seed + 20 + i)
        state[name + ".running_var"] = normal(size, seed=seed + 30 + i).abs() + 0.5
        state[name + ".num_batches_tracked"] = torch.tensor(7)
    return state


def normalised(x, state, name, training):
    if training:
        return (x - x.mean(0)) / torch.sqrt(x.var(0, correction=0) + 1e-5)
    return (x - state[name + ".running_mean"]) / torch.sqrt(state[name + ".running_var"] + 1e-5)


def mixture(x, row_logits, column_logits, state, first, second, norm_topk=False):
    """Routing by the product of two softmaxes, atomic experts, and the MLP."""
    rows, columns = F.softmax(row_logits, -1), F.softmax(column_logits, -1)
    grid = (rows[:, :, None] * columns[:, None, :]).flatten(1)
    weights, ids = grid.topk(K, dim=-1)
    if norm_topk:
        weights = weights / weights.sum(-1, keepdim=True)
    activations = F.silu(torch.einsum("td,tkd->tk", x, state[first][ids]))
    routed = torch.einsum("tk,tkd->td", activations * weights, state[second][ids])
    hidden = F.silu(x @ state["gate_proj.weight"].T) * (x @ state["up_proj.weight"].T)
    return routed + hidden @ state["down_proj.weight"].T


def published_omnimoe(x, state, training=False):
    tokens = x.double().flatten(0, -2)
    state = {name: value.double() for name, value in state.items()}
    logits = [
        normalised(tokens @ state[f"router_gate_{a}.weight"].T, state, f"router_norm_{a}", training)
        for a in "xy"
    ]
    y = mixture(tokens, *logits, state, "up_embed.weight", "down_embed.weight")
    return y.reshape(x.shape)


def published_flash(x, state, norm_topk, training=False):
    tokens = x.double().flatten(0, -2)
    state = {name: value.double() for name, value in state.items()}
    both = normalised(tokens, state, "router_norm", training) @ state["router_gate.weight"].T
    rows, columns = both.chunk(2, dim=-1)
    # This module's table of first vectors is called down_embed.
    y = mixture(tokens, rows, columns, state, "down_embed.weight", "up_embed.weight", norm_topk)
    return y.reshape(x.shape), torch.stack([rows, columns])


@pytest.mark.parametrize("experts", [N, 70])  # 70 is no square: 6 are never chosen
@pytest.mark.parametrize("training", [False, True])
def test_omnimoe(experts, training):
    layer = omt.OmniMoE(omt.OmniMoEConfig(D, I, "silu", experts, K)).train(training)
    state = published_state(experts)
    assert list(layer.load_state_dict(state)) == [[], []]  # nothing missing, nothing more
    assert {name: value.shape for name, value in layer.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }
    x = normal(2, 9, D, seed=50)
    assert_close(layer(x), published_omnimoe(x, state, training), 1e-5)


def test_running_statistics_move_as_published():
    layer = omt.OmniMoE(omt.OmniMoEConfig(D, I, "silu", N, K))
    state = published_state()
    layer.load_state_dict(state)
    norm = torch.nn.BatchNorm1d(8, affine=False)
    norm.load_state_dict(
        {k[len("router_norm_x.") :]: v.clone() for k, v in state.items() if "norm_x" in k}
    )
    x = normal(18, D, seed=51)
    layer(x)
    norm(x @ state["router_gate_x.weight"].T)
    assert_close(layer.router_norm_x.running_mean, norm.running_mean, 1e-5)
    assert_close(layer.router_norm_x.running_var, norm.running_var, 1e-5)
    assert layer.router_norm_x.num_batches_tracked == 8


@pytest.mark.parametrize("norm_topk", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_flashmoe(norm_topk, training):
    layer = omt.FlashMoE(omt.FlashMoEConfig(D, I, "silu", N, K, norm_topk)).train(training)
    state = published_state(flash=True)
    assert list(layer.load_state_dict(state)) == [[], []]
    x = normal(2, 9, D, seed=52)
    y, logits = layer(x)
    expected, expected_logits = published_flash(x, state, norm_topk, training)
    assert_close(y, expected, 1e-5)
    assert_close(logits, expected_logits, 1e-5)


def test_checkpoint_in_bfloat16():
    layer = omt.OmniMoE(omt.OmniMoEConfig(D, I, "silu", N, K)).bfloat16().eval()
    state = {k: v.bfloat16() if v.is_floating_point() else v for k, v in published_state().items()}
    layer.load_state_dict(state)
    x = normal(2, 9, D, seed=53).bfloat16()
    y = layer(x)
    assert y.dtype == torch.bfloat16
    assert_close(y, published_omnimoe(x, state), 1e-2)
    layer.train()
    assert_close(layer(x), published_omnimoe(x, state, training=True), 1e-2)


def test_functions_take_the_state_dict_and_the_module():
    state, x = published_state(), normal(18, D, seed=54)
    layer = omt.OmniMoE(omt.OmniMoEConfig(D, I, "silu", N, K)).eval()
    layer.load_state_dict(state)
    y = layer(x)
    assert torch.equal(omt.layer(x, state, top_k=K), y)
    assert torch.equal(omt.layer(x, layer, top_k=K), y)
    assert torch.equal(omnimoe.layer(x, state, top_k=K), y)


def test_configuration_objects_of_the_published_package():
    config = SimpleNamespace(
        hidden_size=D,
        intermediate_size=I,
        hidden_act="silu",
        num_experts=N,
        num_experts_per_token=K,
    )
    assert omt.OmniMoE(config).config == omt.OmniMoEConfig(D, I, "silu", N, K)
    del config.num_experts_per_token
    with pytest.raises(omnimoe.ArgumentError, match="without num_experts_per_token"):
        omt.OmniMoE(config)
    config.num_experts_per_tok = K
    assert omt.FlashMoE(config).top_k == K
