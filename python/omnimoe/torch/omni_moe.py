"""The OmniMoE layer as a module.

Constructor, parameters, buffers and state dict are those of the module that its
authors publish (HKUSTDial/omni-moe, `omni_moe/modules/omni_moe.py`; paper:
arXiv 2602.05711), so a checkpoint moves over as it is; docs/Migration.md says
what differs. Options that it lacks follow its own in the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from .._names import SCHEDULES, WEIGHTINGS, check_name
from ..errors import ArgumentError
from . import _functions, _parts
from ._parts import Routing
from .losses import balance_loss, usage


@dataclass
class OmniMoEConfig:
    """What an `OmniMoE` is like. D, I, N, K, R, C, r as in the module.

    Attributes:
      hidden_size: D.
      intermediate_size: I, of the shared MLP.
      hidden_act: activation of the experts and the MLP, by the name that
        transformers has for it: silu (swish), gelu, gelu_new (gelu_tanh), relu,
        relu2, linear.
      num_experts: N.
      num_experts_per_token: K.
      grid: (R, C) with R * C <= N; None: square, with R = C = floor(sqrt(N)).
        Experts beyond R * C are never chosen.
      weighting: "exp", an expert's probability under the router, as the
        published code has it; "softmax", the softmax of the chosen experts'
        scores, as the published paper has it, so that weights sum to 1.
      router_norm: normalise the router's logits over the batch.
      expert_width: r, the hidden units of an expert; 1 for atomic experts.
      balance_coefficient: weight of `balance_loss` in `auxiliary_loss`.
      count_usage: keep counts of the chosen experts while training.
      schedule: auto, token_centric, expert_centric, dense, hybrid.
      deterministic: bitwise equal results from run to run; None: what
        `torch.use_deterministic_algorithms` says.
      initializer_range: standard deviation of all weights at the start; None:
        see `OmniMoE.reset_parameters`.
      sparse_grad: gradients of `up_embed` and `down_embed` are sparse, with the
        rows of the chosen experts alone: see `omnimoe.torch.experts`.
    """

    hidden_size: int
    intermediate_size: int
    hidden_act: str
    num_experts: int
    num_experts_per_token: int
    grid: Optional[Tuple[int, int]] = None
    weighting: str = "exp"
    router_norm: bool = True
    expert_width: int = 1
    balance_coefficient: float = 0.0
    count_usage: bool = False
    schedule: str = "auto"
    deterministic: Optional[bool] = None
    initializer_range: Optional[float] = None
    sparse_grad: bool = False

    def rows_and_columns(self) -> Tuple[int, int]:
        """(R, C)."""
        if self.grid is not None:
            return int(self.grid[0]), int(self.grid[1])
        side = _parts.square_side(self.num_experts)
        return side, side

    def check(self) -> None:
        """Raises ArgumentError where a value is not possible."""
        _parts.positive(
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_experts=self.num_experts,
            num_experts_per_token=self.num_experts_per_token,
            expert_width=self.expert_width,
        )
        rows, columns = self.rows_and_columns()
        _parts.positive(**{"grid[0]": rows, "grid[1]": columns})
        if rows * columns > self.num_experts:
            raise ArgumentError(
                f"grid: expected at most num_experts = {self.num_experts} experts, got "
                f"{rows} x {columns} = {rows * columns}"
            )
        if self.num_experts_per_token > rows * columns:
            raise ArgumentError(
                f"num_experts_per_token: expected at most {rows * columns} (a grid of "
                f"{rows} x {columns} experts), got {self.num_experts_per_token}"
            )
        check_name("weighting", self.weighting, WEIGHTINGS)
        check_name("schedule", self.schedule, SCHEDULES)


class OmniMoE(nn.Module):
    """Atomic experts chosen from a grid, beside a shared gated MLP.

    With lx = log_softmax(norm_x(x Gx^T)) and ly likewise, a token's K experts
    are those with the highest score lx[i] + ly[j] among e = i * C + j; with g
    their weights (see `OmniMoEConfig.weighting`),

        y = sum over the chosen e of g[e] * act(up[e] . x) down[e]
            + down_proj(act(gate_proj(x)) * up_proj(x)).

    In training with `router_norm`, logits are normalised by the batch's own
    statistics and the running ones move, as nn.BatchNorm1d does; in evaluation
    the running ones are used, and the layer is one compiled program. Router
    arithmetic is float32, also under autocast and in a module of a shorter type.

    Parameters and buffers, D = hidden_size, I = intermediate_size,
    N = num_experts, R x C the grid, r = expert_width:

      gate_proj.weight, up_proj.weight    [I, D]
      down_proj.weight                    [D, I]
      router_gate_x.weight                [R, D]
      router_gate_y.weight                [C, D]
      router_norm_x.running_mean, .running_var, .num_batches_tracked    [R], [R], []
      router_norm_y.running_mean, .running_var, .num_batches_tracked    [C], [C], []
      up_embed.weight, down_embed.weight  [N, D], or [N, r, D] for r > 1

    Attributes:
      auxiliary_loss: after a training step's forward, `balance_coefficient` times
        `balance_loss`, to be added to the loss; None if the coefficient is 0.
      expert_usage: with `count_usage`, int64 [N], how often each expert was
        chosen in training since `reset_usage`; not part of the state dict. A
        forward that gradient checkpointing repeats counts twice, and also moves
        the norms' statistics twice.

    Args:
      config: an `OmniMoEConfig`, or an object with its first five attributes.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config = _complete(config)
        rows, columns = config.rows_and_columns()
        self.hidden_size = config.hidden_size
        self.intermediate_size = config.intermediate_size
        self.num_experts = config.num_experts
        self.num_rows, self.num_columns = rows, columns
        self.top_k = config.num_experts_per_token
        self.activation = _parts.activation_name(config.hidden_act)

        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)
        self.router_gate_x = nn.Linear(hidden, rows, bias=False)
        self.router_gate_y = nn.Linear(hidden, columns, bias=False)
        if config.router_norm:
            self.router_norm_x: nn.Module = nn.BatchNorm1d(rows, affine=False)
            self.router_norm_y: nn.Module = nn.BatchNorm1d(columns, affine=False)
        else:
            self.router_norm_x, self.router_norm_y = nn.Identity(), nn.Identity()
        self.up_embed = _parts.expert_vectors(config.num_experts, config.expert_width, hidden)
        self.down_embed = _parts.expert_vectors(config.num_experts, config.expert_width, hidden)

        self.auxiliary_loss: Optional[torch.Tensor] = None
        counts = torch.zeros(config.num_experts, dtype=torch.int64) if config.count_usage else None
        self.register_buffer("expert_usage", counts, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial weights.

        Normal distributions: of variance 1 / fan-in for the MLP, the router and
        the up vectors, so that inputs of mean square 1 give logits and products
        of variance 1; of variance 1 / r for the down vectors, so that an expert
        of weight 1 adds about as much as the MLP. Or, for all weights, of
        deviation `initializer_range`. (The published module leaves torch's
        defaults, by which products with up vectors have variance D.)
        """
        std = self.config.initializer_range
        hidden = self.hidden_size
        for linear in (self.gate_proj, self.up_proj, self.router_gate_x, self.router_gate_y):
            _parts.normal(linear.weight, hidden, std)
        _parts.normal(self.down_proj.weight, self.intermediate_size, std)
        _parts.normal(self.up_embed.weight, hidden, std)
        _parts.normal(self.down_embed.weight, self.config.expert_width, std)

    def route(self, hidden_states: torch.Tensor) -> Routing:
        """The experts of each token: [..., D] -> a `Routing` of T tokens.

        In training this moves the norms' running statistics.
        """
        x = _parts.tokens(hidden_states, self.hidden_size)
        # Rounded logits would choose other experts.
        with torch.autocast(x.device.type, enabled=False):
            rows = self._log_probs(x, self.router_gate_x, self.router_norm_x)
            columns = self._log_probs(x, self.router_gate_y, self.router_norm_y)
            scores, experts = _functions.route(rows, columns, self.top_k)
            softmax = self.config.weighting == "softmax"
            weights = F.softmax(scores, dim=-1) if softmax else scores.exp()
        return Routing(rows, columns, scores, experts, weights)

    @staticmethod
    def _log_probs(x: torch.Tensor, gate: nn.Module, norm: nn.Module) -> torch.Tensor:
        logits = F.linear(x.float(), gate.weight.float())
        return F.log_softmax(_parts.batch_norm(norm, logits), dim=-1)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """[..., D] -> [..., D]. Other arguments are ignored."""
        x = _parts.tokens(hidden_states, self.hidden_size)
        if not self.training:
            y = _functions.layer(
                x,
                self._layer_params(),
                top_k=self.top_k,
                activation=self.activation,
                weighting=self.config.weighting,
                schedule=self.config.schedule,
                deterministic=self.config.deterministic,
                norm_eps=getattr(self.router_norm_x, "eps", 0.0),
            )
            return y.reshape(hidden_states.shape)
        routing = self.route(x)
        self._observe(routing)
        routed = _functions.experts(
            x,
            self.up_embed.weight,
            self.down_embed.weight,
            routing.weights,
            routing.experts,
            activation=self.activation,
            schedule=self.config.schedule,
            deterministic=self.config.deterministic,
            sparse_grad=self.config.sparse_grad,
        )
        shared = _functions.mlp(
            x,
            self.gate_proj.weight,
            self.up_proj.weight,
            self.down_proj.weight,
            activation=self.activation,
        )
        return (shared + routed).reshape(hidden_states.shape)

    def _layer_params(self) -> Dict[str, torch.Tensor]:
        used = self.num_rows * self.num_columns
        params = {
            "gate_proj": self.gate_proj.weight,
            "up_proj": self.up_proj.weight,
            "down_proj": self.down_proj.weight,
            "router_gate_x": self.router_gate_x.weight,
            "router_gate_y": self.router_gate_y.weight,
            "up_embed": self.up_embed.weight[:used],
            "down_embed": self.down_embed.weight[:used],
        }
        for name in ("router_norm_x", "router_norm_y"):
            norm = getattr(self, name)
            if not isinstance(norm, nn.Identity):
                params[name + ".running_mean"] = norm.running_mean
                params[name + ".running_var"] = norm.running_var
        return params

    def _observe(self, routing: Routing) -> None:
        if self.config.balance_coefficient:
            loss = balance_loss(routing.row_log_probs, routing.col_log_probs, routing.experts)
            self.auxiliary_loss = self.config.balance_coefficient * loss
        if self.expert_usage is not None:
            self.expert_usage += usage(routing.experts, self.num_experts)

    def __getstate__(self) -> Dict[str, Any]:
        # A loss belongs to a step: it can be neither copied nor pickled.
        return {**self.__dict__, "auxiliary_loss": None}

    def reset_usage(self) -> None:
        """Sets the usage counts to zero."""
        if self.expert_usage is not None:
            self.expert_usage.zero_()

    def extra_repr(self) -> str:
        config = self.config
        text = (
            f"{self.num_experts} experts in a grid of {self.num_rows} x {self.num_columns}, "
            f"{self.top_k} per token, activation={self.activation!r}, "
            f"weighting={config.weighting!r}"
        )
        if config.expert_width > 1:
            text += f", expert_width={config.expert_width}"
        if config.balance_coefficient:
            text += f", balance_coefficient={config.balance_coefficient}"
        return text


def _complete(config: Any) -> OmniMoEConfig:
    """`config` as an `OmniMoEConfig`; one of the published package will do."""
    if not isinstance(config, OmniMoEConfig):
        names = ("hidden_size", "intermediate_size", "hidden_act", "num_experts",
                 "num_experts_per_token")
        missing = [name for name in names if not hasattr(config, name)]
        if missing:
            raise ArgumentError(
                f"config: expected an OmniMoEConfig, got a {type(config).__name__} without "
                f"{', '.join(missing)}"
            )
        config = OmniMoEConfig(*[getattr(config, name) for name in names])
    config.check()
    return config


def auxiliary_loss(model: nn.Module) -> torch.Tensor:
    """The sum of the auxiliary losses of every `OmniMoE` in `model`: a scalar
    to add to the loss, 0 if no module has one."""
    losses = [
        module.auxiliary_loss
        for module in model.modules()
        if isinstance(module, OmniMoE) and module.auxiliary_loss is not None
    ]
    if losses:
        return torch.stack(losses).sum()
    first = next(model.parameters(), None)
    return torch.zeros((), device=None if first is None else first.device)
