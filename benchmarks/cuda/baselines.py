"""The parts of the layer in torch: eager, and dense with the gates as a mask.

`experts` gathers the vectors of every choice; `experts_dense` multiplies all
of them; likewise for wide experts, whose products torch can group. T tokens, D
hidden, K experts a token, N experts in all.
"""

import torch
from torch.nn import functional

from .. import baselines

# The largest intermediates that a baseline may make: bytes of one gather, and
# elements of the mask.
MOST_GATHERED = 6e9
MOST_DENSE = 2.2e9

route = baselines.route_torch
mlp = baselines.mlp_torch


def experts(x, up, down, weights, ids):
    """Two gathers, two batched products."""
    products = torch.einsum("td,tkd->tk", x, up[ids])
    coefficients = functional.silu(products) * weights.to(x.dtype)
    return torch.einsum("tk,tkd->td", coefficients, down[ids])


def experts_dense(x, up, down, weights, ids):
    """Two full products with a [T, N] mask of gates between them."""
    gates = torch.zeros(len(x), len(up), dtype=x.dtype, device=x.device)
    gates.scatter_(1, ids.long(), weights.to(x.dtype))
    return (functional.silu(x @ up.T) * gates) @ down


def wide_experts(x, gate, up, down, weights, ids):
    """Pairs sorted by expert, grouped products, and the pairs' results in the
    tokens' order again. Without a gate, it is None."""
    owners, order = torch.sort(ids.flatten(), stable=True)
    bounds = torch.arange(len(up), device=ids.device, dtype=owners.dtype)
    ends = torch.searchsorted(owners, bounds, right=True, out_int32=True)
    rows = x[order // ids.shape[1]]
    hidden = torch._grouped_mm(rows, up.mT, offs=ends)
    if gate is None:
        hidden = functional.silu(hidden)
    else:
        hidden = functional.silu(torch._grouped_mm(rows, gate.mT, offs=ends)) * hidden
    hidden = hidden * weights.flatten()[order, None].to(x.dtype)
    pairs = torch.empty_like(rows)
    pairs[order] = torch._grouped_mm(hidden, down, offs=ends)
    return pairs.view(*ids.shape, -1).sum(1)


def wide_experts_dense(x, gate, up, down, weights, ids):
    """Full products with a mask of routing weights between them."""
    mask = torch.zeros(len(x), len(up), dtype=x.dtype, device=x.device)
    mask.scatter_add_(1, ids.long(), weights.to(x.dtype))
    hidden = x @ up.flatten(0, 1).T
    if gate is None:
        hidden = functional.silu(hidden)
    else:
        hidden = functional.silu(x @ gate.flatten(0, 1).T) * hidden
    hidden = hidden.view(*mask.shape, -1) * mask[..., None]
    return hidden.flatten(1) @ down.flatten(0, 1)


def dispatch(ids, experts: int, group_size: int):
    """Pairs sorted by group, and where each group begins."""
    groups, pairs = torch.sort(ids.flatten() // group_size, stable=True)
    bounds = torch.arange(-(-experts // group_size) + 1, device=ids.device, dtype=groups.dtype)
    return torch.searchsorted(groups, bounds), pairs


def product(x, w):
    """What the library that torch calls makes of x @ w.T."""
    return functional.linear(x, w)


def gathered_product(x, w, rows):
    return functional.linear(x.index_select(0, rows), w)


def router_logits(x, params):
    """Log-probabilities of rows and columns, in float32."""
    return tuple(
        torch.log_softmax((x @ params[f"router_gate_{axis}"].T).float(), 1) for axis in "xy"
    )


def layer(x, params, top_k: int):
    """Router, experts and shared MLP; weights are exp(score)."""
    scores, ids = route(*router_logits(x, params), top_k)
    routed = experts(x, params["up_embed"], params["down_embed"], scores.exp(), ids)
    return routed + mlp(x, params["gate_proj"], params["up_proj"], params["down_proj"])


def relative_error(result: torch.Tensor, reference: torch.Tensor) -> float:
    """||result - reference|| / ||reference||; NaN if the result has one."""
    return float((result.double() - reference).norm() / reference.norm())
