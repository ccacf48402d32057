"""The functions in plain PyTorch, written for clarity: gradients come from its
autograd. Called on float64 it is the reference; nothing is shared with omnimoe."""

from __future__ import annotations

import torch
import torch.nn.functional as F

ACTIVATIONS = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x) ** 2,
    "identity": lambda x: x,
}


def route(rows, columns, top_k):
    """Scores and ids of the top K sums of each token."""
    sums = (rows[:, :, None] + columns[:, None, :]).flatten(1)
    return sums.topk(top_k, dim=1)


def scores_of(rows, columns, ids):
    """The scores of given pairs."""
    ids = ids.long()
    count = columns.shape[1]
    return rows.gather(1, ids // count) + columns.gather(1, ids % count)


def experts(x, up, down, weights, ids, activation="silu", gate=None):
    """The weighted sum of the chosen experts, gated MLPs if there is a `gate`;
    ids outside [0, N) add nothing."""
    count, hidden = up.shape[0], up.shape[-1]
    valid = (ids >= 0) & (ids < count)
    ids = torch.where(valid, ids, 0).long()
    up, down = (table.reshape(count, -1, hidden)[ids] for table in (up, down))
    products = torch.einsum("td,tkrd->tkr", x, up)
    if gate is None:
        products = ACTIVATIONS[activation](products)
    else:
        gates = torch.einsum("td,tkrd->tkr", x, gate.reshape(count, -1, hidden)[ids])
        products = ACTIVATIONS[activation](gates) * products
    gated = products * torch.where(valid, weights, 0.0)[:, :, None]
    return torch.einsum("tkr,tkrd->td", gated, down)


def mlp(x, gate, up, down, activation="silu"):
    return (ACTIVATIONS[activation](x @ gate.T) * (x @ up.T)) @ down.T


def log_probs(x, gate, norm=None, eps=1e-5):
    logits = x @ gate.T
    if norm is not None:
        mean, variance = norm
        logits = (logits - mean) / torch.sqrt(variance + eps)
    return F.log_softmax(logits, dim=-1)


def routed_layer(x, rows, columns, params, top_k, activation, weighting, ids=None):
    """The layer behind its router's log-probabilities."""
    if ids is None:
        ids = route(rows, columns, top_k)[1]
    scores = scores_of(rows, columns, ids)
    weights = scores.softmax(dim=-1) if weighting == "softmax" else scores.exp()
    routed = experts(x, params["up_embed"], params["down_embed"], weights, ids, activation)
    shared = mlp(x, params["gate_proj"], params["up_proj"], params["down_proj"], activation)
    return routed + shared


def layer(x, params, top_k, activation="silu", weighting="exp", eps=1e-5, ids=None):
    """A layer with the running statistics of its norms, if it has norms."""
    both = []
    for axis in ("x", "y"):
        norm = None
        if f"router_norm_{axis}.running_mean" in params:
            parts = ("running_mean", "running_var")
            norm = [params[f"router_norm_{axis}.{part}"] for part in parts]
        both.append(log_probs(x, params[f"router_gate_{axis}"], norm, eps))
    return routed_layer(x, both[0], both[1], params, top_k, activation, weighting, ids)
