"""Wide experts on the GPU, with a gate and without, against float64."""

from typing import Any, Optional

import numpy as np
import pytest
import reference
from gpu_arrays import (
    TOKENS,
    all_to_gpu,
    assert_close,
    is_lowered,
    make_experts,
    poison,
    take,
    to_gpu,
    torch,
)

import omnimoe

# D, r: a part of a tile's columns, filled up or not; all of them; an expert of several
# tiles, of which the last is not full.
SIZES = [(64, 16), (192, 5), (128, 48), (1024, 256), (320, 300)]
GATED = pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
SHORT = pytest.mark.parametrize("dtype", ["f16", "bf16"])


def make_gate(arguments: Any, gated: bool) -> Optional[np.ndarray]:
    """Other vectors than `up`, of the same size."""
    return np.ascontiguousarray(arguments.up[::-1, ..., ::-1]) if gated else None


def check(arguments, dtype, gate=None, activation="silu", **options):
    given = all_to_gpu(arguments)
    gates = {} if gate is None else {"gate": to_gpu(gate)}
    poison()
    y = omnimoe.experts(*given, **gates, activation=activation, **options)
    assert y.is_cuda and y.shape == arguments.x.shape
    assert_close(y, reference.experts(*arguments, activation, gate), dtype)
    return y


@pytest.mark.sanitizer
@SHORT
@GATED
@pytest.mark.parametrize("hidden, width", SIZES[:3])
def test_small(dtype, gated, hidden, width):
    for ids in ("random", "wild"):
        arguments = make_experts(1, 150, hidden, 6, 3, width=width, dtype=dtype, ids=ids)
        check(arguments, dtype, make_gate(arguments, gated), schedule="expert_centric")


@SHORT
@GATED
@pytest.mark.parametrize("ids", ["random", "one", "wild"])
@pytest.mark.parametrize("hidden, width", SIZES)
def test_sizes(dtype, gated, ids, hidden, width):
    """Tiles that are full, partly filled and empty; experts of several tiles."""
    arguments = make_experts(2, 300, hidden, 9, 4, width=width, dtype=dtype, ids=ids)
    gate = make_gate(arguments, gated)
    for tokens in (*TOKENS, 300):
        check(take(arguments, tokens), dtype, gate, schedule="expert_centric")


@GATED
@pytest.mark.parametrize("width", [32, 250])
def test_heavy_skew(gated, width):
    """A few experts with most of the pairs, most experts with none; of so many
    experts a tile takes all vectors, with a gate in several passes."""
    rng = np.random.default_rng(3)
    arguments = make_experts(3, 700, 128, 500, 4, width=width, dtype="bf16")
    ids = np.minimum(rng.geometric(0.2, arguments.ids.shape) - 1, 499).astype(np.int32)
    arguments = arguments._replace(ids=ids)
    check(arguments, "bf16", make_gate(arguments, gated), schedule="expert_centric")


@GATED
def test_repeated_experts(gated):
    """A token that chose an expert several times gets it several times."""
    arguments = make_experts(4, 90, 64, 40, 6, width=40, dtype="bf16")
    arguments = arguments._replace(ids=arguments.ids // 20 * 20)
    check(arguments, "bf16", make_gate(arguments, gated), schedule="expert_centric")


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "relu2", "identity"])
@GATED
def test_activations(activation, gated):
    arguments = make_experts(5, 70, 64, 8, 2, width=24, dtype="f16")
    check(arguments, "f16", make_gate(arguments, gated), activation, schedule="expert_centric")


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@GATED
@pytest.mark.parametrize("hidden, width", [(40, 7), (64, 16), (128, 3)])
def test_other_schedules(dtype, gated, hidden, width):
    """What the cost model chooses, and what gives the same bits every time."""
    arguments = make_experts(6, 130, hidden, 20, 5, width=width, dtype=dtype)
    gate = make_gate(arguments, gated)
    for tokens in TOKENS:
        few = take(arguments, tokens)
        for options in ({}, {"schedule": "token_centric"}, {"deterministic": True}):
            check(few, dtype, gate, **options)
    if is_lowered("expert_centric", arguments, dtype):
        return
    with pytest.raises(omnimoe.CompileError, match="expert_centric' is not available on target"):
        check(arguments, dtype, gate, schedule="expert_centric")


def test_gated_atomic_experts():
    """On the GPU one of the two products has a schedule by groups."""
    arguments = make_experts(7, 60, 64, 50, 5, dtype="bf16")
    gate = make_gate(arguments, True)
    for schedule in ("auto", "expert_centric"):
        check(arguments, "bf16", gate, schedule=schedule)


QUOTIENTS = """
#values = affine_map<(t, k, j) -> (t, k, j)>
#pair = affine_map<(t, k, j) -> (t, k)>
func.func @f(%x: tensor<?x64xbf16>, %up: tensor<6x20x64xbf16>, %down: tensor<6x20x64xbf16>,
    %weights: tensor<?x2xf32>, %bias: tensor<?x2x20xf32>, %ids: tensor<?x2xi32>) -> tensor<?x64xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : tensor<?x64xbf16>
  %s0 = tensor.empty(%T) : tensor<?x2x20xf32>
  %s = omnimoe.grouped_matmul ins(%x, %up, %ids : tensor<?x64xbf16>, tensor<6x20x64xbf16>, tensor<?x2xi32>)
    outs(%s0 : tensor<?x2x20xf32>) -> tensor<?x2x20xf32>
  %a = linalg.generic {indexing_maps = [#values, #pair, #values, #values],
      iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%s, %weights, %bias : tensor<?x2x20xf32>, tensor<?x2xf32>, tensor<?x2x20xf32>) outs(%s0 : tensor<?x2x20xf32>) {
  ^bb0(%in: f32, %weight: f32, %b: f32, %out: f32):
    %q = arith.divf %weight, %in : f32
    %r = arith.addf %q, %b : f32
    linalg.yield %r : f32
  } -> tensor<?x2x20xf32>
  %y0 = tensor.empty(%T) : tensor<?x64xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x64xf32>) -> tensor<?x64xf32>
  %y = omnimoe.combine to_tokens ins(%a, %down, %ids : tensor<?x2x20xf32>, tensor<6x20x64xbf16>, tensor<?x2xi32>)
    outs(%y1 : tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
"""


def test_any_payload():
    """One that makes no number of the zeros past an expert, and takes values that
    each vector of a pair has its own of."""
    arguments = make_experts(8, 40, 64, 6, 2, width=20, dtype="bf16")
    x, up = abs(arguments.x), abs(arguments.up)
    bias = np.random.default_rng(8).random((40, 2, 20), np.float32)
    target = omnimoe.devices()[0].target
    program = omnimoe.compile(QUOTIENTS, target=target, schedule="expert_centric")
    poison()
    y = program(*all_to_gpu((x, up, arguments.down, arguments.weights, bias, arguments.ids)))
    wide = [a.astype(np.float64) for a in (x, up[arguments.ids], arguments.down[arguments.ids])]
    products = np.einsum("td,tkjd->tkj", wide[0], wide[1])
    coefficients = arguments.weights[..., None] / products + bias
    assert_close(y, np.einsum("tkj,tkjd->td", coefficients, wide[2]), "bf16")


def test_routed_layer_in_a_graph():
    """All launches of a call are captured, and replayed on other tokens."""
    arguments = make_experts(9, 256, 128, 16, 4, width=64, dtype="bf16")
    gate = to_gpu(make_gate(arguments, True))
    x, up, down, weights, ids = all_to_gpu(arguments)

    def call():
        return omnimoe.experts(
            x, up, down, weights, ids, gate=gate, schedule="expert_centric"
        )

    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = call()
    other = make_experts(10, 256, 128, 16, 4, width=64, dtype="bf16")
    for old, new in zip((x, weights, ids), (other.x, other.weights, other.ids)):
        old.copy_(to_gpu(new))
    graph.replay()
    torch.cuda.synchronize()
    expected = arguments._replace(x=other.x, weights=other.weights, ids=other.ids)
    assert_close(y, reference.experts(*expected, "silu", make_gate(arguments, True)), "bf16")
