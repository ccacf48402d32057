"""Programs of a router and its projections, for tests on a GPU and without one."""

from __future__ import annotations

from typing import Sequence

from omnimoe._build import Module


def router_text(
    hidden: int, sizes: Sequence[int], top_k: int, dtype: str, shifted: bool, all_results: bool
) -> str:
    """Takes x and, for the rows and for the columns of the grid, a matrix [n, D] and
    a shift of each of its n products, f32, which counts if `shifted`. Gives scores
    and experts, and with `all_results` the logits before them: logarithms of
    probabilities."""
    module = Module("router")
    x = module.argument("x", dtype, (None, hidden))
    logits = []
    for i, size in enumerate(sizes):
        products = module.linear(x, module.argument(f"w{i}", dtype, (size, hidden)))
        shift = module.argument(f"b{i}", "f32", (size,))
        if shifted:
            moved = products.element() + shift.element(1)
            products = module.elementwise(moved, "f32", products.shape)
        logits.append(module.log_softmax(products))
    chosen = module.route(*logits, top_k)
    return module.text([*logits, *chosen] if all_results else chosen)
