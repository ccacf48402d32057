"""The operators under torch.compile, opcheck, autocast and checkpointing."""

import shutil

import pytest

torch = pytest.importorskip("torch")

import omnimoe.torch as omt
from torch_helpers import assert_close, expert_arguments, layer_params, mlp_arguments, normal
from torch.utils.checkpoint import checkpoint

#: aot_eager traces forward and backward as inductor does, without its C++ code.
TRACED = {"fullgraph": True, "backend": "aot_eager"}

# aot_dispatch_dynamic re-traces the whole of autograd: once for all is enough.
TESTS = ("test_schema", "test_autograd_registration", "test_faketensor")


def test_opcheck():
    arguments = expert_arguments(tokens=5)
    torch.library.opcheck(
        torch.ops.omnimoe.experts.default, (*arguments, "silu", "auto", False)
    )
    x, up, *rest = arguments
    torch.library.opcheck(
        torch.ops.omnimoe.gated_experts.default,
        (x, normal(48, 32, seed=9, grad=True), up, *rest, "silu", "auto", False),
        test_utils=TESTS,
    )
    torch.library.opcheck(
        torch.ops.omnimoe.route.default,
        (normal(5, 4, grad=True), normal(5, 6, seed=1, grad=True), 3),
        test_utils=TESTS,
    )
    arguments = mlp_arguments(tokens=5)
    torch.library.opcheck(torch.ops.omnimoe.mlp.default, (*arguments, "silu"), test_utils=TESTS)
    cotangent = normal(5, 32)
    inputs = [a.detach() for a in arguments]
    torch.library.opcheck(
        torch.ops.omnimoe.mlp_backward.default,
        (inputs, [], [cotangent], [0, 2], "silu"),
        test_utils=TESTS,
    )
    params = layer_params()
    torch.library.opcheck(
        torch.ops.omnimoe.layer.default,
        (normal(5, 32), list(params.values()), list(params), 5, "silu", "exp", "auto", False, 1e-5),
        test_utils=TESTS,
    )


def step(module, x):
    module.zero_grad()
    y = module(x)
    y.square().mean().backward()
    return y.detach(), [p.grad.clone() for p in module.parameters() if p.grad is not None]


def make(**options):
    torch.manual_seed(0)
    return omt.OmniMoE(omt.OmniMoEConfig(32, 48, "silu", 64, 5, **options))


@pytest.mark.parametrize("training", [True, False])
def test_module_without_a_graph_break(training):
    layer = make(balance_coefficient=0.1, count_usage=True).train(training)
    other = make(balance_coefficient=0.1, count_usage=True).train(training)
    compiled = torch.compile(other, **TRACED)
    for tokens in (17, 9):  # the second size is traced with a symbolic T
        x = normal(tokens, 32, seed=tokens)
        y, grads = step(layer, x)
        z, others = step(compiled, x)
        assert_close(z, y, 1e-5)
        for a, b in zip(others, grads):
            assert_close(a, b, 1e-4)
    if training:
        assert_close(other.auxiliary_loss, layer.auxiliary_loss, 1e-5)
        assert torch.equal(other.expert_usage, layer.expert_usage)
        assert_close(other.router_norm_x.running_var, layer.router_norm_x.running_var, 1e-5)


@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
def test_inductor():
    x, up, down, weights, ids = expert_arguments()

    def function(x, weights):
        return omt.experts(x * 2, up, down, weights.exp(), ids).square().sum()

    expected = torch.autograd.grad(function(x, weights), (x, weights))
    found = torch.autograd.grad(torch.compile(function, fullgraph=True)(x, weights), (x, weights))
    for a, b in zip(found, expected):
        assert_close(a, b, 1e-5)


def test_autocast():
    layer, x = make(), normal(17, 32)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        ids = layer.route(x).experts
    assert y.dtype == torch.bfloat16
    assert torch.equal(ids, layer.route(x).experts)  # routed in float32 either way
    y.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())
    compiled = torch.compile(layer, **TRACED)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(compiled(x), y, 1e-2)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(reentrant):
    layer, x = make(), normal(17, 32, grad=True)
    y, grads = step(layer, x)
    expected = x.grad.clone()
    x.grad = None
    layer.zero_grad()
    z = checkpoint(layer, x, use_reentrant=reentrant)
    z.square().mean().backward()
    assert torch.equal(z.detach(), y)
    assert torch.equal(x.grad, expected)
    for p, grad in zip(layer.parameters(), grads):
        assert torch.equal(p.grad, grad)
