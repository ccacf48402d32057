"""Experts whose products all come before their sums, which go slice by slice of the
down vectors: the schedule written by hand, and chosen for tables that do not fit the
cache together."""

import pytest
import reference
from gpu_arrays import DTYPES, TOKENS, all_to_gpu, assert_close, make_experts, poison, take

import omnimoe


def compile_sliced(dtype, hidden, count, top_k, columns):
    """The program of `reference.experts` with silu, in slices of `columns`."""
    x, table = f"tensor<?x{hidden}x{dtype}>", f"tensor<{count}x{hidden}x{dtype}>"
    pairs, ids, y = f"tensor<?x{top_k}xf32>", f"tensor<?x{top_k}xi32>", f"tensor<?x{hidden}xf32>"
    return omnimoe.compile(
        f"""
#id = affine_map<(d0, d1) -> (d0, d1)>
func.func @sliced(%x: {x}, %up: {table}, %down: {table}, %g: {pairs}, %e: {ids}) -> {y} {{
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %T = tensor.dim %x, %c0 : {x}
  %s0 = tensor.empty(%T) : {pairs}
  %s = omnimoe.grouped_matmul ins(%x, %up, %e : {x}, {table}, {ids}) outs(%s0 : {pairs})
    {{schedule = #omnimoe.schedule<token_centric, token_tile = 1>}} -> {pairs}
  %a = linalg.generic {{indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]}}
    ins(%s, %g : {pairs}, {pairs}) outs(%s0 : {pairs}) {{
  ^bb0(%in: f32, %weight: f32, %out: f32):
    %one = arith.constant 1.0 : f32
    %n = arith.negf %in : f32
    %p = math.exp %n : f32
    %d = arith.addf %p, %one : f32
    %q = arith.divf %in, %d : f32
    %m = arith.mulf %q, %weight : f32
    linalg.yield %m : f32
  }} -> {pairs}
  %y0 = tensor.empty(%T) : {y}
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : {y}) -> {y}
  %y = omnimoe.combine to_tokens ins(%a, %down, %e : {pairs}, {table}, {ids}) outs(%y1 : {y})
    {{schedule = #omnimoe.schedule<token_centric, token_tile = 4, column_tile = {columns}>}} -> {y}
  return %y : {y}
}}""",
        target="sm_90a",
    )


@pytest.mark.sanitizer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden, columns, top_k", [(128, 64, 1), (256, 128, 6), (384, 128, 37)])
def test_by_hand(dtype, hidden, columns, top_k):
    program = compile_sliced(dtype, hidden, 29, top_k, columns)
    for ids in ("random", "wild"):
        arguments = make_experts(1, max(TOKENS), hidden, 29, top_k, dtype=dtype, ids=ids)
        for tokens in TOKENS:
            some = take(arguments, tokens)
            poison()
            y = program(*all_to_gpu(some))
            assert y.shape == some.x.shape
            assert_close(y, reference.experts(*some, "silu"), dtype)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_chosen(dtype):
    """By the cost model; the same bits every time."""
    arguments = make_experts(2, 1600, 512, 100_000, 64, dtype=dtype)
    on_gpu = all_to_gpu(arguments)
    program = omnimoe.compile(omnimoe.experts, args=on_gpu, schedule="token_centric")
    assert "column_tile" in program.ir("tile")
    poison()
    y = program(*on_gpu)
    assert_close(y, reference.experts(*arguments, "silu"), dtype)
    assert bool((y == program(*on_gpu)).all())
