"""What a call costs the host: programs that the GPU is done with sooner."""

from typing import Dict

import torch

import omnimoe

from .measure import Effort, host_time

#: Seconds of a call of a compiled function from Python, at most.
LIMIT = 15e-6


def measure_host(effort: Effort) -> Dict[str, float]:
    """Seconds of the host for a call of each function with one token."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device="cuda").bfloat16()

    x, table, rows = normal(1, 64), normal(16, 64), torch.randn(1, 4, device="cuda")
    params = {
        "router_gate_x": normal(4, 64),
        "router_gate_y": normal(4, 64),
        "up_embed": table,
        "down_embed": normal(16, 64),
        "gate_proj": normal(64, 64),
        "up_proj": normal(64, 64),
        "down_proj": normal(64, 64),
    }
    weights = torch.ones(1, 1, device="cuda")
    ids = torch.zeros(1, 1, dtype=torch.int32, device="cuda")
    matrices = [params[name] for name in ("gate_proj", "up_proj", "down_proj")]
    calls = {
        "route": lambda _: omnimoe.route(rows, rows, 1),
        "experts": lambda _: omnimoe.experts(x, table, table, weights, ids),
        "mlp": lambda _: omnimoe.mlp(x, *matrices),
        "layer": lambda _: omnimoe.layer(x, params, top_k=1),
        "torch: one matmul": lambda _: x @ table.T,
    }
    found = {}
    for name, call in calls.items():
        try:
            found[name] = host_time(call, 1, effort)
        except omnimoe.OmniMoEError:
            pass  # the rows of that function say why
    return found
