"""The modules' options, their training behaviour, and what they report."""

import copy
import io
import pickle

import pytest

torch = pytest.importorskip("torch")

import omnimoe
import omnimoe.torch as omt
import torch_reference as reference
from torch_helpers import assert_close, normal


def make(seed=0, num_experts=48, grid=(6, 8), top_k=5, hidden=32, act="silu", **options):
    torch.manual_seed(seed)
    config = omt.OmniMoEConfig(hidden, 24, act, num_experts, top_k, grid=grid, **options)
    return omt.OmniMoE(config)


def expected(layer, x, training=False):
    """The module's formula in float64, with its own choice of experts."""
    params = {
        name.replace(".weight", ""): value.detach().double().requires_grad_()
        for name, value in layer.named_parameters()
    }
    tokens = x.detach().double().flatten(0, -2)
    both = []
    for axis in "xy":
        norm, statistics = getattr(layer, f"router_norm_{axis}"), None
        if isinstance(norm, torch.nn.BatchNorm1d):
            logits = tokens @ params[f"router_gate_{axis}"].T
            statistics = norm.running_mean.double(), norm.running_var.double()
            if training:
                statistics = logits.mean(0), logits.var(0, correction=0)
        both.append(reference.log_probs(tokens, params[f"router_gate_{axis}"], statistics))
    y = reference.routed_layer(
        tokens, *both, params, layer.top_k, layer.activation, layer.config.weighting
    )
    return y.reshape(x.shape), params


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weighting": "softmax"},
        {"router_norm": False},
        {"expert_width": 3},
        {"grid": (1, 13), "num_experts": 13},
        {"grid": None, "num_experts": 50, "act": "gelu_new"},
        {"schedule": "expert_centric", "deterministic": True, "act": "relu2"},
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
def test_options(options, training):
    layer = make(**options).train(training)
    x = normal(3, 7, 32, seed=3)
    exact, params = expected(layer, x, training)
    y = layer(x)
    assert_close(y, exact, 1e-5)
    cotangent = normal(*y.shape, seed=4)
    y.backward(cotangent)
    exact.backward(cotangent.double())
    for name, parameter in layer.named_parameters():
        # Batch norm divides by small variances, so errors of float32 grow.
        assert_close(parameter.grad, params[name.replace(".weight", "")].grad, 5e-5)


def test_norm_keeps_statistics_only_while_training():
    layer = make()
    before = layer.router_norm_x.running_mean.clone()
    layer.eval()(normal(20, 32))
    assert torch.equal(layer.router_norm_x.running_mean, before)
    layer.train()(normal(20, 32))
    assert not torch.equal(layer.router_norm_x.running_mean, before)
    assert layer.router_norm_x.num_batches_tracked == 1
    assert not [name for name in make(router_norm=False).state_dict() if "norm" in name]


def test_running_statistics_of_short_types():
    layer, short = make(), make().bfloat16()
    short.router_norm_x.momentum = layer.router_norm_x.momentum = None
    x = normal(64, 32).bfloat16()
    for _ in range(3):
        layer.route(x)
        short.route(x)
    assert short.router_norm_x.running_var.dtype == torch.bfloat16
    assert_close(short.router_norm_x.running_mean, layer.router_norm_x.running_mean, 2e-2)
    assert_close(short.router_norm_x.running_var, layer.router_norm_x.running_var, 2e-2)
    with torch.no_grad():
        assert_close(short.eval().route(x).scores, layer.eval().route(x).scores, 2e-2)


def test_balance_loss_is_one_if_even_and_falls_under_descent():
    rows, columns = torch.zeros(48, 6), torch.zeros(48, 8)
    uniform = [t.log_softmax(-1) for t in (rows, columns)]
    assert_close(omt.balance_loss(*uniform, torch.arange(48)[:, None]), torch.tensor(1.0), 1e-6)
    assert omt.balance_loss(*uniform, torch.zeros(48, 1, dtype=torch.int32)) == pytest.approx(1.0)
    peaked = [(9.0 * torch.eye(n)[:1]).expand(48, n).log_softmax(-1) for n in (6, 8)]
    assert omt.balance_loss(*peaked, torch.zeros(48, 1, dtype=torch.int32)) > 5

    layer = make(balance_coefficient=0.5, router_norm=False)
    with torch.no_grad():
        layer.router_gate_x.weight[0] += 1
    x = normal(64, 32, seed=1) + 0.3
    descent = torch.optim.SGD(layer.parameters(), lr=0.5)
    values = []
    for _ in range(20):
        layer(x)
        loss = omt.auxiliary_loss(layer)
        assert loss is not None and loss.requires_grad
        values.append(loss.item())
        descent.zero_grad()
        loss.backward()
        descent.step()
    assert values[0] > 0.55 and values[-1] < values[0] - 0.03
    assert omt.auxiliary_loss(make()) == 0


def test_usage_counts():
    layer = make(count_usage=True)
    x = normal(40, 32)
    layer(x)
    ids = layer.route(x).experts.flatten().long()
    assert layer.expert_usage.sum() == 40 * 5
    assert torch.equal(layer.expert_usage, torch.bincount(ids, minlength=48))
    layer.eval()(x)
    assert layer.expert_usage.sum() == 40 * 5
    layer.reset_usage()
    assert layer.expert_usage.sum() == 0
    assert "expert_usage" not in layer.state_dict()


def test_initial_scales():
    layer = make(hidden=256, num_experts=1024, grid=(32, 32), weighting="softmax")
    x = normal(256, 256)
    routing = layer.route(x)
    assert 0.9 < (x @ layer.router_gate_x.weight.T).std() < 1.1
    assert 0.9 < (x @ layer.up_embed.weight.T).std() < 1.1
    assert_close(routing.weights.sum(-1), torch.ones(256), 1e-5)
    assert 0.1 < layer(x).std() < 2
    small = make(initializer_range=0.02).down_embed.weight
    assert small.std().item() == pytest.approx(0.02, rel=0.1)


def test_copies_and_files():
    layer = make(count_usage=True, balance_coefficient=0.1)
    x = normal(9, 32)
    layer(x)  # leaves a loss with a graph behind
    layer.eval()
    y = layer(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = make(seed=1).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    for same in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x), y)


def test_text_and_errors():
    assert "48 experts in a grid of 6 x 8, 5 per token" in repr(make(expert_width=2))
    flash = omt.FlashMoE(omt.FlashMoEConfig(8, 8, "silu", 9, 2, True))
    assert "norm_topk_prob=True" in repr(flash)
    for options, message in [
        ({"act": "sulu"}, "did you mean 'silu'"),
        ({"grid": (7, 7)}, "at most num_experts = 48"),
        ({"top_k": 49}, "at most 48"),
        ({"weighting": "softmin"}, "softmax"),
        ({"hidden": 0}, "hidden_size: expected an integer of at least 1"),
    ]:
        with pytest.raises(omnimoe.ArgumentError, match=message):
            make(**options)
    with pytest.raises(omnimoe.ArgumentError, match="num_experts_per_tok: expected at most 9"):
        omt.FlashMoE(omt.FlashMoEConfig(8, 8, "silu", 9, 10))
    with pytest.raises(omnimoe.ShapeError, match=r"hidden_states: expected \[..., 32\]"):
        make().eval()(normal(4, 31))
