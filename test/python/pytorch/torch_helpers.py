"""Inputs and comparisons of the tests with torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

#: Relative errors that results and gradients may have.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 4e-3}
GRADIENT_TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 1e-2}
ACTIVATIONS = ["silu", "gelu", "gelu_tanh", "relu", "relu2", "identity"]
SCHEDULES = ["auto", "token_centric", "expert_centric", "dense"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, scale=1.0, dtype=torch.float32, seed=0, grad=False):
    made = torch.randn(*shape, generator=generator(seed)) * scale
    return made.to(dtype).requires_grad_(grad)


def error(value, reference):
    """||value - reference|| / ||reference||, in float64."""
    value, reference = value.detach().double(), reference.detach().double()
    assert value.shape == reference.shape
    if reference.numel() == 0:
        return 0.0
    scale = reference.norm().item()
    return (value - reference).norm().item() / (scale if scale > 0 else 1.0)


def assert_close(value, reference, tolerance):
    assert torch.isfinite(value).all()
    found = error(value, reference)
    assert found < tolerance, f"relative error {found:.2e}, allowed {tolerance:.0e}"


def upcast(tensors):
    """Leaves in float64 with the same values; integers stay."""
    return [
        t.detach().double().requires_grad_(t.requires_grad) if t.is_floating_point() else t
        for t in tensors
    ]


def check_gradients(function, reference, tensors):
    """Compares results and gradients with float64 autograd on upcast inputs."""
    exact = upcast(tensors)
    y, expected = function(*tensors), reference(*exact)
    assert_close(y, expected, TOLERANCE[y.dtype])
    cotangent = normal(*y.shape, seed=99).to(y)
    y.backward(cotangent)
    expected.backward(cotangent.double())
    for tensor, other in zip(tensors, exact):
        if tensor.requires_grad:
            assert tensor.grad.dtype == tensor.dtype
            assert_close(tensor.grad, other.grad, GRADIENT_TOLERANCE[tensor.dtype])


def expert_arguments(tokens=17, hidden=32, count=48, top_k=5, width=None, dtype=torch.float32,
                     seed=0, grad=True):
    """x, up, down, weights, experts."""
    table = (count, hidden) if width is None else (count, width, hidden)
    ids = torch.stack([torch.randperm(count, generator=generator(seed + t))[:top_k]
                       for t in range(tokens)]) if tokens else torch.zeros(0, top_k)
    return [
        normal(tokens, hidden, dtype=dtype, seed=seed, grad=grad),
        normal(*table, scale=hidden**-0.5, dtype=dtype, seed=seed + 1, grad=grad),
        normal(*table, dtype=dtype, seed=seed + 2, grad=grad),
        normal(tokens, top_k, seed=seed + 3, grad=grad),
        ids.to(torch.int32),
    ]


def mlp_arguments(tokens=17, hidden=32, inner=48, dtype=torch.float32, seed=0, grad=True):
    """x, gate, up, down."""
    return [
        normal(tokens, hidden, dtype=dtype, seed=seed, grad=grad),
        normal(inner, hidden, scale=hidden**-0.5, dtype=dtype, seed=seed + 1, grad=grad),
        normal(inner, hidden, scale=hidden**-0.5, dtype=dtype, seed=seed + 2, grad=grad),
        normal(hidden, inner, scale=inner**-0.5, dtype=dtype, seed=seed + 3, grad=grad),
    ]


def layer_params(hidden=32, inner=48, rows=6, columns=8, width=None, norm=True,
                 dtype=torch.float32, seed=0, grad=False):
    """A mapping with the published names."""
    table = (rows * columns, hidden) if width is None else (rows * columns, width, hidden)
    shapes = {
        "gate_proj": (inner, hidden),
        "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
        "router_gate_x": (rows, hidden),
        "router_gate_y": (columns, hidden),
        "up_embed": table,
        "down_embed": table,
    }
    params = {
        name: normal(*shape, scale=shape[-1] ** -0.5, dtype=dtype, seed=seed + i, grad=grad)
        for i, (name, shape) in enumerate(shapes.items())
    }
    if norm:
        for axis, size in (("x", rows), ("y", columns)):
            params[f"router_norm_{axis}.running_mean"] = normal(size, scale=0.3, seed=seed + 50)
            params[f"router_norm_{axis}.running_var"] = (
                torch.rand(size, generator=generator(seed + 51)) + 0.5
            )
    return params
