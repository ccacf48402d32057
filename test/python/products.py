"""Programs that multiply rows of a matrix, picked by indices, and what is right."""

from __future__ import annotations

from typing import Any, List, Optional

import numpy as np
from helpers import DTYPES, normal

PROGRAM = """
#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>
#nt = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (n, k)>,
       affine_map<(m, n, k) -> (m, n)>]
module {{
  func.func @main(%rows: tensor<{m}xi32>, %x: tensor<{of}x{k}x{t}>, {ws}) -> tensor<{m}x{n}x{r}> {{
    %c0 = arith.constant 0 : index
    %of = arith.constant {of} : index
    %none = arith.constant 0.0 : {t}
    %zero = arith.constant 0.0 : f32
    %m = tensor.dim %rows, %c0 : tensor<{m}xi32>
    %g0 = tensor.empty({size}) : tensor<{m}x{k}x{t}>
    %g = linalg.generic {{indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}}
        ins(%rows : tensor<{m}xi32>) outs(%g0 : tensor<{m}x{k}x{t}>) {{
    ^bb0(%index: i32, %old: {t}):
      %i = arith.index_cast %index : i32 to index
      %c = linalg.index 1 : index
      {element}
      linalg.yield %e : {t}
    }} -> tensor<{m}x{k}x{t}>
    %s0 = tensor.empty({size}) : tensor<{m}x{n}xf32>
    %s = linalg.fill ins(%zero : f32) outs(%s0 : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
    {products}
    %y0 = tensor.empty({size}) : tensor<{m}x{n}x{r}>
    %y = linalg.generic {{indexing_maps = [{ids}#id], iterator_types = ["parallel", "parallel"]}}
        ins({ps}) outs(%y0 : tensor<{m}x{n}x{r}>) {{
    ^bb0({sums}, %old: {r}):
      {result}
      linalg.yield %out : {r}
    }} -> tensor<{m}x{n}x{r}>
    return %y : tensor<{m}x{n}x{r}>
  }}
}}
"""

PLAIN = "%e = tensor.extract %x[%i, %c] : tensor<{of}x{k}x{t}>"
GUARDED = """%inside = arith.cmpi ult, %i, %of : index
      %known = arith.select %inside, %i, %c0 : index
      %v = tensor.extract %x[%known, %c] : tensor<{of}x{k}x{t}>
      %e = arith.select %inside, %v, %none : {t}"""
PRODUCT = """%p{i} = linalg.matmul indexing_maps = #nt
        ins(%g, %w{i} : tensor<{m}x{k}x{t}>, tensor<{n}x{k}x{t}>)
        outs(%s : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
    """


def gathered_text(
    count: Optional[int], of: int, columns: int, summed: int, *, dtype: str, matrices: int = 1,
    result: Optional[str] = None, guarded: bool = False,
) -> str:  # fmt: skip
    """The product of all `matrices` of x[rows] @ w.T for `count` rows, or any
    number. Guarded, rows that x does not have are zeros by the program's own
    words; else they are where a kernel gathers rows while it multiplies."""
    sizes = {"m": "?" if count is None else count, "n": columns, "k": summed, "of": of, "t": dtype}
    numbers = range(matrices)
    sums = [f"%a{i}: f32" for i in numbers]
    combine = ["%b0 = arith.addf %a0, %zero : f32"]
    combine += [f"%b{i} = arith.mulf %b{i - 1}, %a{i} : f32" for i in numbers[1:]]
    last, kind = f"%b{matrices - 1}", result or dtype
    combine.append(
        f"%out = arith.addf {last}, %zero : f32"
        if kind == "f32"
        else f"%out = arith.truncf {last} : f32 to {kind}"
    )
    return PROGRAM.format(
        **sizes,
        r=kind,
        size="%m" if count is None else "",
        ws=", ".join(f"%w{i}: tensor<{columns}x{summed}x{dtype}>" for i in numbers),
        element=(GUARDED if guarded else PLAIN).format(**sizes),
        products="".join(PRODUCT.format(**sizes, i=i) for i in numbers).strip(),
        ids="#id, " * matrices,
        ps=", ".join(f"%p{i}" for i in numbers)
        + " : "
        + ", ".join(f"tensor<{sizes['m']}x{columns}xf32>" for _ in numbers),
        sums=", ".join(sums),
        result="\n      ".join(combine),
    )


def gathered_arguments(
    seed: int, count: int, of: int, columns: int, summed: int, *, dtype: str, matrices: int = 1
) -> List[np.ndarray]:
    """Rows in any order and again and again; some that x does not have."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, of, count).astype(np.int32)
    wrong = rng.permutation(count)[: count // 8]
    rows[wrong] = np.resize(np.array([-1, of, 2**31 - 1, -(2**31)], np.int64), len(wrong))
    x = normal(rng, (of, summed), dtype)
    ws = [normal(rng, (columns, summed), dtype, summed**-0.5) for _ in range(matrices)]
    assert x.dtype == DTYPES[dtype]
    return [rows, x, *ws]


def gathered_reference(rows: np.ndarray, x: np.ndarray, *ws: Any) -> np.ndarray:
    inside = (rows >= 0) & (rows < len(x))
    left = np.where(inside[:, None], x[np.where(inside, rows, 0)].astype(np.float64), 0)
    return np.prod([left @ w.astype(np.float64).T for w in ws], axis=0)
