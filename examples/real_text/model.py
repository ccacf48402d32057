"""The layer of the example: its sizes, its parameters, and three ways to run it."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np

import omnimoe

from benchmarks import baselines


@dataclass(frozen=True)
class Sizes:
    """Hidden D, R x C grid of experts, K experts a token, I of the MLP."""

    hidden: int = 512
    rows: int = 64
    columns: int = 64
    top_k: int = 16
    intermediate: int = 2048

    @property
    def experts(self) -> int:
        return self.rows * self.columns


Parameters = Dict[str, np.ndarray]


def parameter_shapes(sizes: Sizes) -> Dict[str, Tuple[int, int]]:
    """Shape of each parameter, under the names that `omnimoe.layer` documents."""
    return {
        "router_gate_x": (sizes.rows, sizes.hidden),
        "router_gate_y": (sizes.columns, sizes.hidden),
        "up_embed": (sizes.experts, sizes.hidden),
        "down_embed": (sizes.experts, sizes.hidden),
        "gate_proj": (sizes.intermediate, sizes.hidden),
        "up_proj": (sizes.intermediate, sizes.hidden),
        "down_proj": (sizes.hidden, sizes.intermediate),
    }


def make_parameters(sizes: Sizes, seed: int = 0) -> Parameters:
    """Random float32 parameters, scaled so that values of mean square 1 stay
    about as large through each product."""
    generator = np.random.default_rng(seed)
    made = {}
    for name, shape in parameter_shapes(sizes).items():
        # A down vector is added as it stands; everything else is multiplied
        # with a vector as long as its row.
        scale = 1.0 if name == "down_embed" else shape[1] ** -0.5
        made[name] = generator.standard_normal(shape, np.float32) * np.float32(scale)
    return made


@omnimoe.jit
def layer(x, params, top_k):
    """The layer as one program: `params` as `omnimoe.layer` takes them."""
    return omnimoe.layer(x, params, top_k=top_k, weighting="softmax")


class Library(NamedTuple):
    """What the parts of a layer are called in one library."""

    log_softmax: Callable[[Any], Any]
    softmax: Callable[[Any], Any]
    matmul: Callable[[Any, Any], Any]
    route: Callable[[Any, Any, int], Tuple[Any, Any]]
    experts: Callable[..., Any]
    mlp: Callable[..., Any]


def _log_softmax_numpy(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def numpy_library(exact: bool = False) -> Library:
    """NumPy; `exact` takes the router's definition instead of the usual way."""
    return Library(
        log_softmax=_log_softmax_numpy,
        softmax=lambda scores: np.exp(_log_softmax_numpy(scores)),
        matmul=np.matmul,
        route=baselines.route_exact if exact else baselines.route_numpy,
        experts=baselines.experts_numpy,
        mlp=baselines.mlp_numpy,
    )


def torch_library(torch: Any) -> Library:
    """torch in eager mode."""
    return Library(
        log_softmax=lambda logits: torch.log_softmax(logits, 1),
        softmax=lambda scores: torch.softmax(scores, 1),
        matmul=torch.matmul,
        route=baselines.route_torch,
        experts=baselines.experts_torch,
        mlp=baselines.mlp_torch,
    )


def router_logits(library: Library, x: Any, params: Dict[str, Any]) -> Tuple[Any, Any]:
    """Log-probabilities of the rows and the columns, [T, R] and [T, C]."""
    return tuple(
        library.log_softmax(library.matmul(x, params[f"router_gate_{axis}"].T)) for axis in "xy"
    )


def run_layer(library: Library, x: Any, params: Dict[str, Any], top_k: int) -> Any:
    """The whole layer with the parts of a library, [T, D]."""
    scores, experts = library.route(*router_logits(library, x, params), top_k)
    routed = library.experts(
        x, params["up_embed"], params["down_embed"], library.softmax(scores), experts
    )
    return routed + library.mlp(x, params["gate_proj"], params["up_proj"], params["down_proj"])
