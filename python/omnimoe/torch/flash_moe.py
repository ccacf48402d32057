"""FlashMoE, the older interface of the same layer, as a module.

Constructor, parameters, buffers, state dict and results are those of the module
in flash-algo/flash-moe, `flash_moe/modules/flash_moe.py`. Mind its names: here
`down_embed` holds the vectors that meet the token, `up_embed` those that are
added up; `OmniMoE` has them the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from .._names import SCHEDULES, check_name
from ..errors import ArgumentError
from . import _functions, _parts


@dataclass
class FlashMoEConfig:
    """What a `FlashMoE` is like.

    Attributes:
      hidden_size: D.
      intermediate_size: I, of the shared MLP.
      hidden_act: as of `OmniMoEConfig`.
      num_experts: N; the grid is square, with floor(sqrt(N)) rows.
      num_experts_per_tok: K.
      norm_topk_prob: divide the chosen experts' probabilities by their sum.
      schedule, deterministic, initializer_range: as of `OmniMoEConfig`.
    """

    hidden_size: int
    intermediate_size: int
    hidden_act: str
    num_experts: int
    num_experts_per_tok: int
    norm_topk_prob: bool = False
    schedule: str = "auto"
    deterministic: Optional[bool] = None
    initializer_range: Optional[float] = None


class FlashMoE(nn.Module):
    """Atomic experts chosen from a square grid, beside a shared gated MLP.

    With [a, b] = router_gate(router_norm(x)), a token's K experts are those with
    the highest log_softmax(a)[i] + log_softmax(b)[j] among e = i * keys + j; their
    probabilities g are the exponentials of these scores, and

        y = sum over the chosen e of g[e] * act(down_embed[e] . x) up_embed[e]
            + down_proj(act(gate_proj(x)) * up_proj(x)).

    Parameters and buffers, keys = floor(sqrt(N)):

      gate_proj.weight, up_proj.weight    [I, D]
      down_proj.weight                    [D, I]
      router_gate.weight                  [2 * keys, D]
      router_norm.running_mean, .running_var, .num_batches_tracked    [D], [D], []
      down_embed.weight, up_embed.weight  [N, D]

    Args:
      config: a `FlashMoEConfig`, or an object with its first five attributes.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        for name in ("hidden_size", "intermediate_size", "num_experts", "num_experts_per_tok"):
            if not hasattr(config, name):
                raise ArgumentError(
                    f"config: expected a FlashMoEConfig, got a {type(config).__name__} "
                    f"without {name}"
                )
            _parts.positive(**{name: getattr(config, name)})
        self.config = config
        self.hidden_size = hidden = config.hidden_size
        self.intermediate_size = inner = config.intermediate_size
        self.num_experts = config.num_experts
        self.num_keys = _parts.square_side(config.num_experts)
        self.top_k = config.num_experts_per_tok
        self.norm_topk_prob = bool(getattr(config, "norm_topk_prob", False))
        self.activation = _parts.activation_name(config.hidden_act)
        self.schedule = getattr(config, "schedule", "auto")
        self.deterministic = getattr(config, "deterministic", None)
        check_name("schedule", self.schedule, SCHEDULES)
        if self.top_k > self.num_keys**2:
            raise ArgumentError(
                f"num_experts_per_tok: expected at most {self.num_keys**2} (a grid of "
                f"{self.num_keys} x {self.num_keys} experts), got {self.top_k}"
            )
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)
        self.router_gate = nn.Linear(hidden, 2 * self.num_keys, bias=False)
        self.router_norm = nn.BatchNorm1d(hidden, affine=False)
        self.down_embed = nn.Embedding(self.num_experts, hidden)
        self.up_embed = nn.Embedding(self.num_experts, hidden)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial weights, by the rule of `OmniMoE.reset_parameters`."""
        std = getattr(self.config, "initializer_range", None)
        for linear in (self.gate_proj, self.up_proj, self.router_gate):
            _parts.normal(linear.weight, self.hidden_size, std)
        _parts.normal(self.down_proj.weight, self.intermediate_size, std)
        _parts.normal(self.down_embed.weight, self.hidden_size, std)
        _parts.normal(self.up_embed.weight, 1, std)

    def forward(
        self, hidden_states: torch.Tensor, **kwargs: Any
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """The layer's result and its router's logits.

        Args:
          hidden_states: [..., D]. Other arguments are ignored.

        Returns:
          y: [..., D].
          router_logits: float32 [2, T, keys], before the softmax.
        """
        x = _parts.tokens(hidden_states, self.hidden_size)
        with torch.autocast(x.device.type, enabled=False):
            normalised = _parts.batch_norm(self.router_norm, x.float())
            logits = F.linear(normalised, self.router_gate.weight.float())
            router_logits = logits.unflatten(-1, (2, self.num_keys)).transpose(0, 1)
            rows, columns = F.log_softmax(router_logits, dim=-1).unbind(0)
            scores, experts = _functions.route(rows, columns, self.top_k)
            # exp of scores over their sum is their softmax.
            weights = F.softmax(scores, dim=-1) if self.norm_topk_prob else scores.exp()
        routed = _functions.experts(
            x,
            self.down_embed.weight,
            self.up_embed.weight,
            weights,
            experts,
            activation=self.activation,
            schedule=self.schedule,
            deterministic=self.deterministic,
        )
        shared = _functions.mlp(
            x,
            self.gate_proj.weight,
            self.up_proj.weight,
            self.down_proj.weight,
            activation=self.activation,
        )
        return (shared + routed).reshape(hidden_states.shape), router_logits

    def extra_repr(self) -> str:
        return (
            f"{self.num_experts} experts in a grid of {self.num_keys} x {self.num_keys}, "
            f"{self.top_k} per token, activation={self.activation!r}, "
            f"norm_topk_prob={self.norm_topk_prob}"
        )
