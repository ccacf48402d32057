"""The functions of omnimoe on torch tensors, with gradients.

Leading sizes may be any number of dimensions here: [..., D] stands for [T, D].
Under autocast tensors are cast as a matrix product's would be; the router's
logits and the routing weights stay float32, since rounding them changes which
experts win.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Dict, List, Optional, Tuple

import torch

from .. import _params
from ..errors import ArgumentError
from ._operation import Operation
from ._sparse import SparseForward


class _Route(Operation):
    """A score's cotangent goes to its row and its column, which the forward's
    choice says; nothing is chosen again."""

    compiled = False
    kept = (1,)

    def differentiate(
        self, tensors: Any, saved: Any, cotangents: Any, wrt: Any, options: Any
    ) -> List[torch.Tensor]:
        columns = tensors[1].shape[1]
        ids = saved[0].long()
        chosen = (ids // columns, ids % columns)
        return [
            cotangents[0]
            .new_zeros(tensors[i].shape)
            .scatter_add_(1, chosen[i], cotangents[0])
            .to(tensors[i].dtype)
            for i in wrt
        ]


_ROUTE = _Route("route", ("row_logits", "col_logits"), ("top_k",), results=2)
_EXPERTS = Operation(
    "experts",
    ("x", "up", "down", "weights", "experts"),
    ("activation", "schedule", "deterministic"),
)
_GATED_EXPERTS = Operation(
    "gated_experts",
    ("x", "gate", "up", "down", "weights", "experts"),
    ("activation", "schedule", "deterministic"),
)
_MLP = Operation("mlp", ("x", "gate", "up", "down"), ("activation",))
_LAYER = Operation(
    "layer",
    ("x", "params*"),
    ("names", "top_k", "activation", "weighting", "schedule", "deterministic", "norm_eps"),
)


def route(
    row_logits: torch.Tensor, col_logits: torch.Tensor, top_k: int
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Exact top-K of the outer sum of row and column logits: `omnimoe.route`.

    Args:
      row_logits: [..., R], float32 (float16 and bfloat16 are widened).
      col_logits: [..., C], likewise.
      top_k: K, from 1 to R*C.

    Returns:
      scores: float32 [..., K]; their gradient flows to the chosen rows and
        columns.
      experts: int32 [..., K], ids from 0 to R*C - 1.
    """
    _check({"row_logits": row_logits, "col_logits": col_logits})
    scores, experts = _ROUTE((_flat(row_logits), _flat(col_logits)), top_k=top_k)
    shape = (*row_logits.shape[:-1], top_k)
    return scores.reshape(shape), experts.reshape(shape)


def experts(
    x: torch.Tensor,
    up: torch.Tensor,
    down: torch.Tensor,
    weights: torch.Tensor,
    experts: torch.Tensor,
    *,
    gate: Optional[torch.Tensor] = None,
    activation: str = "silu",
    schedule: str = "auto",
    deterministic: Optional[bool] = None,
    sparse_grad: bool = False,
) -> torch.Tensor:
    """The weighted sum of each token's chosen experts: `omnimoe.experts`.

    Args:
      x: [..., D].
      up: [N, D] or [N, r, D], element type of `x`.
      down: shape and type of `up`.
      weights: [..., K].
      experts: integers [..., K]. A pair whose id is outside [0, N) adds
        nothing, and has no gradient.
      gate: None, or shape and type of `up`: experts are gated MLPs.
      activation: silu, gelu (by erf), gelu_tanh, relu, relu2, identity.
      schedule: auto, token_centric, expert_centric, dense, hybrid.
      deterministic: bitwise equal results and gradients from run to run; None:
        what `torch.use_deterministic_algorithms` says.
      sparse_grad: gradients of the tables are sparse tensors (COO, hybrid)
        with the rows of the chosen experts alone, as those of
        `torch.nn.Embedding(sparse=True)` are: nothing of a step then costs a
        pass over all N rows. For optimizers that take them, such as
        `torch.optim.SGD` and `torch.optim.SparseAdam`. Their number of rows
        depends on the ids, so backward waits for these on a GPU and cannot be
        captured in a CUDA graph, and `torch.compile` breaks its graph here.

    Returns:
      y: [..., D], element type of `x` (under autocast: the autocast type).
    """
    _check({"weights": weights, "experts": experts})
    tables = {"up": up, "down": down} if gate is None else {"gate": gate, "up": up, "down": down}
    cast_x, *cast = _cast(x=x, **tables)
    operation = _EXPERTS if gate is None else _GATED_EXPERTS
    y = (partial(_sparsely, operation) if sparse_grad else operation)(
        (_flat(cast_x), *cast, _flat(weights), _flat(experts).to(torch.int32)),
        activation=activation,
        schedule=schedule,
        deterministic=_deterministic(deterministic),
    )
    return y.reshape(x.shape)


def mlp(
    x: torch.Tensor,
    gate: torch.Tensor,
    up: torch.Tensor,
    down: torch.Tensor,
    *,
    activation: str = "silu",
) -> torch.Tensor:
    """The dense gated MLP, `(act(x @ gate.T) * (x @ up.T)) @ down.T`.

    Args:
      x: [..., D].
      gate, up: [I, D], element type of `x`.
      down: [D, I], likewise.
      activation: silu, gelu (by erf), gelu_tanh, relu, relu2, identity.

    Returns:
      y: [..., D], element type of `x` (under autocast: the autocast type).
    """
    cast = _cast(x=x, gate=gate, up=up, down=down)
    return _MLP((_flat(cast[0]), *cast[1:]), activation=activation).reshape(x.shape)


def layer(
    x: torch.Tensor,
    params: Any,
    *,
    top_k: int,
    activation: str = "silu",
    weighting: str = "exp",
    schedule: str = "auto",
    deterministic: Optional[bool] = None,
    norm_eps: float = 1e-5,
) -> torch.Tensor:
    """A whole layer as one compiled program: `omnimoe.layer`.

    Norms use their running statistics, as in evaluation; `OmniMoE` is the
    module for training with statistics of the batch.

    Args:
      x: [..., D].
      params: a module, a state dict or a mapping with the parameters of
        `omnimoe.layer`.
      top_k: K, from 1 to R*C.
      activation, weighting, schedule, norm_eps: as of `omnimoe.layer`.
      deterministic: as of `experts`.

    Returns:
      y: [..., D], element type of `x` (under autocast: the autocast type).
    """
    names, tensors = _params.find(params)
    named = dict(zip(names, tensors))
    matrices = {name: tensor for name, tensor in named.items() if "norm" not in name}
    cast_x, *cast = _cast(x=x, **matrices)
    named.update(zip(matrices, cast))
    y = _LAYER(
        (_flat(cast_x), *named.values()),
        names=names,
        top_k=top_k,
        activation=activation,
        weighting=weighting,
        schedule=schedule,
        deterministic=_deterministic(deterministic),
        norm_eps=_params.norm_eps(params, norm_eps),
    )
    return y.reshape(x.shape)


@torch.compiler.disable
def _sparsely(operation: Operation, tensors: Any, **options: Any) -> torch.Tensor:
    """A compiled graph has no sparse gradients."""
    return operation(tensors, function=SparseForward, **options)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """[..., n] as [T, n]."""
    return tensor if tensor.dim() == 2 else tensor.reshape(-1, tensor.shape[-1])


def _check(tensors: Dict[str, Any]) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ArgumentError(f"{name}: expected a torch.Tensor, got {type(tensor).__name__}")


def _cast(**tensors: torch.Tensor) -> List[torch.Tensor]:
    """`tensors` in autocast's type, if it is on for their device."""
    _check(tensors)
    values = list(tensors.values())
    kind = values[0].device.type
    if not torch.is_autocast_enabled(kind):
        return values
    dtype = torch.get_autocast_dtype(kind)
    return [tensor.to(dtype) for tensor in values]


def _deterministic(wanted: Optional[bool]) -> bool:
    return torch.are_deterministic_algorithms_enabled() if wanted is None else bool(wanted)
