"""Forward and backward of the routed experts, beside autograd of torch."""

from typing import Callable, List, Sequence, Tuple

import numpy as np

import omnimoe
from omnimoe import TensorSpec
from omnimoe._autodiff import backward_ir

from . import baselines, workloads
from .workloads import Experts

SHAPE = Experts(tokens=1024, hidden=512, rows=128, columns=128, top_k=32)

Arrays = Tuple[np.ndarray, ...]


def input_sets(sets: int = workloads.INPUT_SETS) -> List[Arrays]:
    """Arguments of the experts with the cotangent of their result."""
    generator = np.random.default_rng(31)
    return [
        (*each.arguments, generator.standard_normal(each.x.shape, np.float32))
        for each in workloads.expert_inputs(SHAPE, sets)
    ]


def step() -> Callable[..., Sequence[np.ndarray]]:
    """Result and gradients of one call; what the forward program saves is
    handed to the backward one, as a training step does."""
    tokens = (None, SHAPE.hidden)
    table = TensorSpec("float32", (SHAPE.count, SHAPE.hidden))
    pairs = (None, SHAPE.top_k)
    text = omnimoe.jit(
        lambda x, up, down, weights, ids: omnimoe.experts(x, up, down, weights, ids)
    ).program_text(
        [TensorSpec("float32", tokens), table, table, TensorSpec("float32", pairs),
         TensorSpec("int32", pairs)]
    )[0]
    forward, backward = (
        omnimoe.compile(backward_ir(text, save=True, emit=stage))
        for stage in ("forward", "backward")
    )

    def run(x, up, down, weights, ids, cotangent):
        y, *saved = forward(x, up, down, weights, ids)
        return (y, *backward(x, up, down, weights, ids, *saved, cotangent))

    return run


def step_torch(x, up, down, weights, ids, cotangent):
    """The same by eager autograd of gather and einsum. Ids are int64."""
    import torch

    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in (x, up, down, weights)]
        y = baselines.experts_torch(*leaves, ids)
        return (y.detach(), *torch.autograd.grad(y, leaves, cotangent))


def result_bytes(arguments: Arrays) -> int:
    """Bytes of what a step returns: the result and four gradients."""
    x, up, down, weights, *_ = arguments
    return 2 * x.nbytes + up.nbytes + down.nbytes + weights.nbytes


def reference(arguments: Arrays) -> List[np.ndarray]:
    """Result and gradients in float64, by the formulas, without autograd."""
    x, up, down, weights, ids, dy = (
        a if a.dtype == np.int32 else a.astype(np.float64) for a in arguments
    )
    y, dx, dweights = np.empty_like(x), np.empty_like(x), np.empty_like(weights)
    dup, ddown = np.zeros_like(up), np.zeros_like(down)
    for t, chosen in enumerate(ids):
        products = up[chosen] @ x[t]
        gate = 1 / (1 + np.exp(-products))
        coefficients = products * gate * weights[t]
        y[t] = coefficients @ down[chosen]
        da = down[chosen] @ dy[t]
        dweights[t] = da * products * gate
        dproducts = da * weights[t] * gate * (1 + products * (1 - gate))
        dx[t] = dproducts @ up[chosen]
        np.add.at(dup, chosen, dproducts[:, None] * x[t])
        np.add.at(ddown, chosen, coefficients[:, None] * dy[t])
    return [y, dx, dup, ddown, dweights]
