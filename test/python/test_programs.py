"""Programs in MLIR text that no function of the package builds: sums to experts,
operations outside of an expert block, and what becomes of the inputs."""

import numpy as np
import pytest

import omnimoe

ml_dtypes = pytest.importorskip("ml_dtypes")
TYPES = {"f32": (np.float32, 1e-5), "bf16": (ml_dtypes.bfloat16, 4e-3)}
TOKENS = (0, 1, 33)


def relative_error(result, expected):
    difference = np.linalg.norm(result.astype(np.float64) - expected)
    return difference / max(np.linalg.norm(expected), 1e-30)


def to_experts(dtype, experts, hidden, top_k, width):
    values = f"tensor<?x{top_k}x{width}xf32>" if width else f"tensor<?x{top_k}xf32>"
    table = f"tensor<{experts}x{width}x{hidden}x{dtype}>" if width else f"tensor<{experts}x{hidden}x{dtype}>"
    tokens, ids = f"tensor<?x{hidden}x{dtype}>", f"tensor<?x{top_k}xi32>"
    return f"""
    func.func @gradient(%a: {values}, %x: {tokens}, %e: {ids}, %w: {table}) -> {table} {{
      %y = omnimoe.combine to_experts ins(%a, %x, %e : {values}, {tokens}, {ids})
        outs(%w : {table}) -> {table}
      return %y : {table}
    }}"""


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("width", (None, 3))
@pytest.mark.parametrize("hidden", (33, 200))
def test_sum_to_experts(dtype, width, hidden):
    """Every pair adds its token to its expert; ids of no expert add nothing."""
    numpy_type, tolerance = TYPES[dtype]
    program = omnimoe.compile(to_experts(dtype, 9, hidden, 4, width))
    rng = np.random.default_rng(hidden)
    for tokens in TOKENS:
        a = rng.standard_normal((tokens, 4, width or 1)).astype(np.float32)
        x = rng.standard_normal((tokens, hidden)).astype(numpy_type)
        ids = rng.integers(-1, 10, (tokens, 4)).astype(np.int32)
        w = rng.standard_normal((9, width or 1, hidden)).astype(numpy_type)
        expected = w.astype(np.float64)
        for t, k in np.argwhere((ids >= 0) & (ids < 9)):
            expected[ids[t, k]] += np.outer(a[t, k].astype(np.float64), x[t].astype(np.float64))
        if width is None:
            a, w, expected = a[..., 0], w[:, 0], expected[:, 0]
        before = w.copy()
        result = program(a, x, ids, w)
        assert relative_error(result, expected) < tolerance
        assert np.array_equal(w, before), "the program changed its input"


@pytest.mark.parametrize("schedule", ("token_centric", "expert_centric", "dense", "hybrid"))
def test_products_alone(schedule):
    """A grouped_matmul whose products are the result, in every schedule."""
    source = """
    func.func @products(%x: tensor<?x40xf32>, %w: tensor<12x40xf32>, %e: tensor<?x3xi32>,
                        %s: tensor<?x3xf32>) -> tensor<?x3xf32> {
      %y = omnimoe.grouped_matmul ins(%x, %w, %e : tensor<?x40xf32>, tensor<12x40xf32>, tensor<?x3xi32>)
        outs(%s : tensor<?x3xf32>) -> tensor<?x3xf32>
      return %y : tensor<?x3xf32>
    }"""
    program = omnimoe.compile(source, schedule=schedule)
    rng = np.random.default_rng(3)
    for tokens in TOKENS:
        x = rng.standard_normal((tokens, 40)).astype(np.float32)
        w = rng.standard_normal((12, 40)).astype(np.float32)
        ids = rng.integers(0, 12, (tokens, 3)).astype(np.int32)
        poison = np.full((tokens, 3), np.nan, np.float32)
        expected = np.einsum("td,tkd->tk", x.astype(np.float64), w[ids].astype(np.float64))
        assert relative_error(program(x, w, ids, poison), expected) < 1e-5
        assert np.isnan(poison).all(), "the program changed its input"


@pytest.mark.parametrize("schedule", ("token_centric", "expert_centric", "dense", "hybrid"))
def test_sum_onto_an_argument(schedule):
    """A combine starts from its destination, which stays as it was."""
    source = """
    func.func @sum(%a: tensor<?x3xf32>, %w: tensor<12x40xf32>, %e: tensor<?x3xi32>,
                   %y0: tensor<?x40xf32>) -> tensor<?x40xf32> {
      %y = omnimoe.combine to_tokens ins(%a, %w, %e : tensor<?x3xf32>, tensor<12x40xf32>, tensor<?x3xi32>)
        outs(%y0 : tensor<?x40xf32>) -> tensor<?x40xf32>
      return %y : tensor<?x40xf32>
    }"""
    program = omnimoe.compile(source, schedule=schedule)
    rng = np.random.default_rng(4)
    for tokens in TOKENS:
        a = rng.standard_normal((tokens, 3)).astype(np.float32)
        w = rng.standard_normal((12, 40)).astype(np.float32)
        ids = rng.integers(0, 12, (tokens, 3)).astype(np.int32)
        start = rng.standard_normal((tokens, 40)).astype(np.float32)
        before = start.copy()
        expected = start + np.einsum("tk,tkd->td", a.astype(np.float64), w[ids].astype(np.float64))
        assert relative_error(program(a, w, ids, start), expected) < 1e-5
        assert np.array_equal(start, before), "the program changed its input"


@pytest.mark.parametrize("width", (None, 2))
def test_split_pairs(width):
    """Pairs cut into parts whose sums are added: products, element-wise work and rounding included."""
    pairs = f"tensor<?x6x{width}xf32>" if width else "tensor<?x6xf32>"
    table = f"tensor<9x{width}x210xf32>" if width else "tensor<9x210xf32>"
    dims = "(t, k, j) -> (t, k, j)" if width else "(t, k) -> (t, k)"
    parallel = ", ".join(['"parallel"'] * (3 if width else 2))
    schedule = "{schedule = #omnimoe.schedule<token_centric, token_tile = 8, pair_split = 3>}"
    source = f"""
    func.func @split(%x: tensor<?x210xf32>, %u: {table}, %e: tensor<?x6xi32>, %s0: {pairs},
                     %y0: tensor<?x210xbf16>) -> tensor<?x210xbf16> {{
      %s = omnimoe.grouped_matmul ins(%x, %u, %e : tensor<?x210xf32>, {table}, tensor<?x6xi32>)
        outs(%s0 : {pairs}) {schedule} -> {pairs}
      %a = linalg.generic {{indexing_maps = [affine_map<{dims}>, affine_map<{dims}>], iterator_types = [{parallel}]}}
        ins(%s : {pairs}) outs(%s0 : {pairs}) {{
      ^bb0(%in: f32, %out: f32):
        %0 = arith.mulf %in, %in : f32
        linalg.yield %0 : f32
      }} -> {pairs}
      %y = omnimoe.combine to_tokens ins(%a, %u, %e : {pairs}, {table}, tensor<?x6xi32>)
        outs(%y0 : tensor<?x210xbf16>) {schedule} -> tensor<?x210xbf16>
      return %y : tensor<?x210xbf16>
    }}"""
    program = omnimoe.compile(source)
    rng = np.random.default_rng(6)
    for tokens in TOKENS:
        x = rng.standard_normal((tokens, 210)).astype(np.float32)
        u = rng.standard_normal((9, width or 1, 210)).astype(np.float32) / 10
        ids = rng.integers(0, 9, (tokens, 6)).astype(np.int32)
        start = rng.standard_normal((tokens, 210)).astype(ml_dtypes.bfloat16)
        chosen = u[ids].astype(np.float64)
        products = np.einsum("td,tkjd->tkj", x.astype(np.float64), chosen)
        expected = start.astype(np.float64) + np.einsum("tkj,tkjd->td", products**2, chosen)
        scratch = np.zeros((tokens, 6, width or 1), np.float32)
        u, scratch = (u, scratch) if width else (u[:, 0], scratch[..., 0])
        assert relative_error(program(x, u, ids, scratch, start), expected) < 4e-3


def test_whole_tensor_arithmetic():
    """arith and math on tensors, and a function the hardware has no vectors for."""
    source = """
    func.func @f(%x: tensor<?x19xf32>) -> tensor<?x19xf32> {
      %c = math.cos %x : tensor<?x19xf32>
      %y = arith.addf %c, %x : tensor<?x19xf32>
      return %y : tensor<?x19xf32>
    }"""
    program = omnimoe.compile(source)
    for tokens in TOKENS:
        x = np.random.default_rng(5).standard_normal((tokens, 19)).astype(np.float32)
        expected = np.cos(x.astype(np.float64)) + x
        assert relative_error(program(x), expected) < 1e-5


def test_incomplete_program():
    """A function without a body is named, before anything is lowered."""
    source = """
    func.func private @elsewhere(tensor<?x8xf32>) -> tensor<?x8xf32>
    func.func @f(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %y = call @elsewhere(%x) : (tensor<?x8xf32>) -> tensor<?x8xf32>
      return %y : tensor<?x8xf32>
    }"""
    with pytest.raises(omnimoe.CompileError, match="'elsewhere' has no body"):
        omnimoe.compile(source)
