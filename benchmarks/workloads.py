"""Inputs of the benchmarks: random tokens, experts, and the router's own choice."""

from dataclasses import dataclass
from typing import List, Tuple

import numpy as np

from . import baselines
from .measure import Work

INPUT_SETS = 3


@dataclass(frozen=True)
class Experts:
    """The sizes of a routed layer: T tokens, D hidden, R x C grid, K a token."""

    tokens: int
    hidden: int
    rows: int
    columns: int
    top_k: int

    @property
    def count(self) -> int:
        return self.rows * self.columns

    def __str__(self) -> str:
        return f"T={self.tokens} D={self.hidden} {self.rows}x{self.columns} K={self.top_k}"


@dataclass(frozen=True)
class ExpertInputs:
    """One set of arguments of `omnimoe.experts`. The tables are shared by sets
    of a workload: a layer has one of each."""

    x: np.ndarray
    up: np.ndarray
    down: np.ndarray
    weights: np.ndarray
    experts: np.ndarray

    @property
    def arguments(self) -> Tuple[np.ndarray, ...]:
        return self.x, self.up, self.down, self.weights, self.experts


def logits(tokens: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((tokens, size), np.float32)


def route_inputs(workload: Experts) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Row and column logits of each input set."""
    return [
        (
            logits(workload.tokens, workload.rows, 2 * s),
            logits(workload.tokens, workload.columns, 2 * s + 1),
        )
        for s in range(INPUT_SETS)
    ]


def expert_inputs(workload: Experts, sets: int = INPUT_SETS) -> List[ExpertInputs]:
    """Tokens, tables and routed ids. Logits are linear in the tokens, as a
    layer's are, and routing weights are the softmax of the K scores."""
    generator = np.random.default_rng(17)
    scale = np.float32(workload.hidden**-0.5)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, np.float32)

    up = normal(workload.count, workload.hidden) * scale
    down = normal(workload.count, workload.hidden)
    row_gate = normal(workload.hidden, workload.rows) * scale
    column_gate = normal(workload.hidden, workload.columns) * scale
    inputs = []
    for _ in range(sets):
        x = normal(workload.tokens, workload.hidden)
        scores, experts = baselines.route_numpy(x @ row_gate, x @ column_gate, workload.top_k)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        inputs.append(ExpertInputs(x, up, down, weights, experts))
    return inputs


def expert_work(inputs: ExpertInputs) -> Work:
    """What no schedule can avoid: tokens in and out, ids and weights, every
    vector of a chosen expert once; 4 D flops a pair."""
    hidden = inputs.x.shape[1]
    used = len(np.unique(inputs.experts))
    moved = 2 * inputs.x.nbytes + inputs.weights.nbytes + inputs.experts.nbytes
    moved += 2 * used * hidden * inputs.up.itemsize
    return Work(moved, 4 * inputs.experts.size * hidden)


def mlp_inputs(tokens: int, hidden: int, intermediate: int) -> List[Tuple[np.ndarray, ...]]:
    """x of each input set with the same gate, up [I, D] and down [D, I]."""
    generator = np.random.default_rng(29)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, np.float32) * np.float32(shape[-1] ** -0.5)

    matrices = (
        normal(intermediate, hidden),
        normal(intermediate, hidden),
        normal(hidden, intermediate),
    )
    return [
        (generator.standard_normal((tokens, hidden), np.float32), *matrices)
        for _ in range(INPUT_SETS)
    ]
