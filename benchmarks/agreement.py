"""Checks results before anything is timed: the experts that every schedule picks
against the definition, bit for bit, and its values against float64."""

from typing import Any, Callable, Dict, List, Sequence

import ml_dtypes
import numpy as np

import omnimoe

from . import baselines, workloads
from .report import Row, within_limit
from .workloads import Experts

TOLERANCES: Dict[Any, float] = {
    np.dtype(np.float32): 1e-5,
    np.dtype(np.float16): 4e-3,
    np.dtype(ml_dtypes.bfloat16): 4e-3,
}

# Half types go through the same code but for loads, so two shapes do for them.
HALF_TYPE_SHAPES = 2

# The definition sorts all R x C sums of a token: a part of them is enough.
MOST_TOKENS = 512


def _routed(schedule: str, top_k: int) -> Callable[..., Any]:
    """Router and experts as one program under a schedule."""

    @omnimoe.jit(schedule=schedule)
    def routed(rows, columns, x, up, down):
        scores, experts = omnimoe.route(rows, columns, top_k)
        y = omnimoe.experts(x, up, down, omnimoe.sigmoid(scores), experts)
        return scores, experts, y

    return routed


def check(shapes: Sequence[Experts], schedules: Sequence[str]) -> List[Row]:
    """One row for all choices, and one a type for the largest error."""
    wrong = 0
    errors: Dict[Any, Dict[str, float]] = {dtype: {} for dtype in TOLERANCES}
    for index, shape in enumerate(shapes):
        tokens = min(shape.tokens, MOST_TOKENS)
        rows = workloads.logits(tokens, shape.rows, 5)
        columns = workloads.logits(tokens, shape.columns, 6)
        expected = baselines.route_exact(rows, columns, shape.top_k)
        inputs = workloads.expert_inputs(shape, sets=1)[0]
        for dtype in TOLERANCES:
            if dtype != np.float32 and index >= HALF_TYPE_SHAPES:
                continue
            x, up, down = (a.astype(dtype) for a in (inputs.x[:tokens], inputs.up, inputs.down))
            weights = 1 / (1 + np.exp(-expected[0].astype(np.float64)))
            wide = (a.astype(np.float64) for a in (x, up, down))
            exact = baselines.experts_numpy(*wide, weights, expected[1])
            for schedule in schedules:
                scores, chosen, y = _routed(schedule, shape.top_k)(rows, columns, x, up, down)
                wrong += int((chosen != expected[1]).sum() + (scores != expected[0]).sum())
                error = baselines.relative_error(y, exact)
                errors[dtype][schedule] = max(error, errors[dtype].get(schedule, 0.0))
    found = [
        within_limit(
            "choices that differ from the definition",
            wrong,
            0,
            "",
            note=f"scores and ids, {len(shapes)} shapes under {', '.join(schedules)}",
        )
    ]
    for dtype, tolerance in TOLERANCES.items():
        note = ", ".join(f"{name} {error:.1e}" for name, error in errors[dtype].items())
        worst = max(errors[dtype].values())
        found.append(
            within_limit(f"experts, {dtype}: error vs float64", worst, tolerance, "", note=note)
        )
    return found
