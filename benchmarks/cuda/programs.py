"""Programs that benchmarks compile from text."""

from typing import Optional

DISPATCH = """
func.func @dispatch(%ids: tensor<{t}x{k}xi32>)
    -> (tensor<{bounds}xi32>, tensor<{p}xi32>, tensor<{ends}xi32>, tensor<{p}xi32>) {{
  %offsets = tensor.empty() : tensor<{bounds}xi32>
  %tokens = tensor.empty() : tensor<{p}xi32>
  %starts = tensor.empty() : tensor<{ends}xi32>
  %pairs = tensor.empty() : tensor<{p}xi32>
  %r:4 = omnimoe.dispatch ins(%ids : tensor<{t}x{k}xi32>)
      outs(%offsets, %tokens, %starts, %pairs
        : tensor<{bounds}xi32>, tensor<{p}xi32>, tensor<{ends}xi32>, tensor<{p}xi32>)
      num_experts = {experts} group_size = {group}
      -> tensor<{bounds}xi32>, tensor<{p}xi32>, tensor<{ends}xi32>, tensor<{p}xi32>
  return %r#0, %r#1, %r#2, %r#3
      : tensor<{bounds}xi32>, tensor<{p}xi32>, tensor<{ends}xi32>, tensor<{p}xi32>
}}
"""

PRODUCT = """
#left = affine_map<(m, n, k) -> (m, k)>
#right = affine_map<(m, n, k) -> (n, k)>
#result = affine_map<(m, n, k) -> (m, n)>
#row = affine_map<(m, n) -> (m)>
#id = affine_map<(m, n) -> (m, n)>
func.func @product({arguments}) -> tensor<{m}x{n}xbf16> {{
  %zero = arith.constant 0.0 : f32
  {gather}
  %e = tensor.empty() : tensor<{m}x{n}xf32>
  %z = linalg.fill ins(%zero : f32) outs(%e : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
  %p = linalg.matmul indexing_maps = [#left, #right, #result]
      ins({left}, %w : tensor<{m}x{k}xbf16>, tensor<{n}x{k}xbf16>)
      outs(%z : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
  %h = tensor.empty() : tensor<{m}x{n}xbf16>
  %y = linalg.generic {{indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}}
      ins(%p : tensor<{m}x{n}xf32>) outs(%h : tensor<{m}x{n}xbf16>) {{
  ^bb0(%sum: f32, %old: bf16):
    %short = arith.truncf %sum : f32 to bf16
    linalg.yield %short : bf16
  }} -> tensor<{m}x{n}xbf16>
  return %y : tensor<{m}x{n}xbf16>
}}
"""

GATHER = """
  %g0 = tensor.empty() : tensor<{m}x{k}xbf16>
  %g = linalg.generic {{indexing_maps = [#row, #id], iterator_types = ["parallel", "parallel"]}}
      ins(%rows : tensor<{m}xi32>) outs(%g0 : tensor<{m}x{k}xbf16>) {{
  ^bb0(%index: i32, %old: bf16):
    %row = arith.index_cast %index : i32 to index
    %column = linalg.index 1 : index
    %element = tensor.extract %x[%row, %column] : tensor<{of}x{k}xbf16>
    linalg.yield %element : bf16
  }} -> tensor<{m}x{k}xbf16>
"""


def product(m: int, n: int, k: int, of: Optional[int]) -> str:
    """[m, k] by [n, k], or by `m` rows picked of `of`."""
    sizes = {"m": m, "n": n, "k": k, "of": of}
    arguments = f"%x: tensor<{of or m}x{k}xbf16>, %w: tensor<{n}x{k}xbf16>"
    if of:
        arguments += f", %rows: tensor<{m}xi32>"
    gather, left = (GATHER.format(**sizes), "%g") if of else ("", "%x")
    return PRODUCT.format(**sizes, arguments=arguments, gather=gather, left=left)
