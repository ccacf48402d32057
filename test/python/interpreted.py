"""Programs for a GPU on the host: the driver of test/Runtime/FakeCUDA.cpp takes
the launches, ptx_interpreter.py runs them, float64 autograd says what is right.

To be imported in a process of its own, as fake_gpu.py.
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

import fake_gpu
import numpy as np
import ptx_interpreter
import ptx_kernels
import ptx_warpgroups
import reference
import torch
from products import gathered_arguments, gathered_reference, gathered_text
from routers import router_text

import omnimoe
from omnimoe import TensorSpec
from omnimoe._autodiff import backward_ir
from omnimoe._build import Module

TOLERANCE = {np.float32: 1e-6, np.float16: 1e-3}


@functools.lru_cache(maxsize=1)
def kernels_of(program: Any) -> Dict[str, ptx_interpreter.Kernel]:
    return ptx_kernels.kernels(program.ptx)


def interpret(
    program: Any, arrays: Sequence[np.ndarray], until: Optional[str] = None
) -> List[np.ndarray]:
    """The program's results. They, and the workspace, are not a number before.
    With `until`, the lists of i32 that the kernel of that name is given, once
    all kernels before it have run."""
    tokens = len(arrays[0])
    results = [
        np.empty([tokens if size is None else size for size in tensor.shape], tensor.dtype)
        for tensor in program.outputs
    ]
    workspace = np.empty(max(program.workspace_size(tokens), 1), np.uint8)
    for array in (*results, workspace):
        array.view(np.uint8)[...] = 0xFF
    given = [fake_gpu.to_gpu(array) for array in (*arrays, *results, workspace)]
    fake_gpu.clear()
    program.invoke(*given[:-1], workspace=given[-1])
    kernels = kernels_of(program)
    tables = {name: fake_gpu.to_gpu(data) for name, data in ptx_kernels.tables(program.ptx).items()}
    for kernel in kernels.values():
        kernel.tables = {name: array.address for name, array in tables.items()}
    memory = ptx_interpreter.Memory(
        [(a.address, max(a.host.nbytes, 1)) for a in (*given, *tables.values())]
    )
    maps = ptx_warpgroups.tensor_maps(fake_gpu.log())
    for launch in fake_gpu.launches():
        grid, block = (tuple(map(int, launch[name].split(","))) for name in ("grid", "block"))
        kernel = kernels[launch["kernel"]]
        if kernel.name == until:
            return _lists(launch["parameters"], given[-1])
        given_to_all = kernel, launch["parameters"], block[0], grid, memory
        if any(op.startswith("wgmma") for _, _, op, _ in kernel.code):
            ptx_warpgroups.launch(*given_to_all, int(launch["shared"]), maps)
        else:
            ptx_interpreter.launch(*given_to_all)
    return [array.host for array in given[len(arrays) : -1]]


def _lists(words: Sequence[int], workspace: Any) -> List[np.ndarray]:
    """The row-major arrays of the workspace among a kernel's parameters, as i32:
    a pointer twice, the offset 0, sizes and strides."""
    found = []
    for at, start in enumerate(words[:-4]):
        if start != words[at + 1] or words[at + 2] or start < workspace.address:
            continue
        words_left = words[at + 3 :]
        shape = words_left[:2] if words_left[1:4] == [words_left[1], words_left[1], 1] else words_left[:1]
        begin = start - workspace.address
        array = workspace.host[begin : begin + 4 * int(np.prod(shape))]
        if len(array) == 4 * int(np.prod(shape)):
            found.append(array.view(np.int32).reshape(shape))
    return found


def compiled(text: str, schedule: str = "auto", **changes: Optional[int]) -> Any:
    """For a GPU, or for one like it but for the fields named in `changes`."""
    target = omnimoe.Target("sm_90a").info.attribute
    for name, value in changes.items():
        if value is not None:
            target, found = re.subn(rf"{name} = \d+", f"{name} = {value}", target)
            assert found == 1, name
    text = re.sub(
        r"^module \{", f"module attributes {{omnimoe.target = {target}}} {{", text, flags=re.M
    )
    return omnimoe.compile(text, schedule=schedule)


def close(found: Any, expected: Any, dtype: Any) -> None:
    expected = expected.detach().numpy()
    error = np.linalg.norm(found.astype(np.float64) - expected)
    error /= np.linalg.norm(expected) or 1
    assert error < TOLERANCE[dtype], f"relative error {error:.2e}"


def check_experts(
    tokens: int, table: Tuple[int, ...], top_k: int, dtype: Any, l2_bytes: Optional[int] = None
) -> Any:
    """Forward, saving, and all gradients; one expert has a pair of each token,
    and two pairs have none. Returns the backward program."""
    count, hidden = table[0], table[-1]
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((tokens, hidden)).astype(dtype) for _ in range(2))
    up = (rng.standard_normal(table) * hidden**-0.5).astype(dtype)
    down = rng.standard_normal(table).astype(dtype)
    weights = rng.random((tokens, top_k), dtype=np.float32)
    ids = rng.integers(0, count, (tokens, top_k)).astype(np.int32)
    ids[:, 0] = count - 1
    ids[0, 1], ids[1, 2] = -1, count
    arrays = [x, up, down, weights, ids]

    leaves = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in arrays[:4]]
    named = torch.tensor((ids >= 0) & (ids < count))
    rows = torch.where(named, torch.tensor(ids), 0).long()
    ups, downs = (leaf.reshape(count, -1, hidden)[rows] for leaf in leaves[1:3])
    hidden_values = torch.nn.functional.silu(torch.einsum("td,tkrd->tkr", leaves[0], ups))
    chosen = hidden_values * torch.where(named, leaves[3], 0)[..., None]
    y = torch.einsum("tkr,tkrd->td", chosen, downs)
    gradients = torch.autograd.grad(y, leaves, torch.tensor(dy.astype(np.float64)))

    specs = [TensorSpec(str(a.dtype), a.shape) for a in arrays]
    text = omnimoe.jit(omnimoe.experts).program_text(
        [TensorSpec(s.dtype, (None, *s.shape[1:])) if i in (0, 3, 4) else s for i, s in enumerate(specs)]
    )[0]
    forward = compiled(backward_ir(text, save=True, emit="forward"), l2Bytes=l2_bytes)
    backward = compiled(backward_ir(text, save=True), l2Bytes=l2_bytes)
    result, *saved = interpret(forward, arrays)
    close(result, y, dtype)
    for found, expected in zip(interpret(backward, [*arrays, *saved, dy]), gradients):
        close(found, expected, dtype)
    return backward


def check_forward(
    tokens: int, table: Tuple[int, ...], top_k: int, gated: bool = False, experts: int = 0,
    schedule: str = "expert_centric",
) -> Any:
    """Pairs are of the first `experts`, or of all, and two of none. Returns the
    program."""
    count, hidden = table[0], table[-1]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((tokens, hidden)).astype(np.float16)
    up, down, gate = (rng.standard_normal(table).astype(np.float16) * np.float16(s)
                      for s in (hidden**-0.5, 1, hidden**-0.5))  # fmt: skip
    weights = rng.random((tokens, top_k), dtype=np.float32)
    ids = rng.integers(0, experts or count, (tokens, top_k)).astype(np.int32)
    if tokens > 2:
        ids[0, 0], ids[2, -1] = -1, count
    arrays = [x, up, down, weights, ids, *([gate] if gated else [])]

    def program(x, up, down, weights, ids, gate=None):
        return omnimoe.experts(x, up, down, weights, ids, gate=gate)

    shapes = [(None, *a.shape[1:]) if i in (0, 3, 4) else a.shape for i, a in enumerate(arrays)]
    specs = [TensorSpec(str(a.dtype), shape) for a, shape in zip(arrays, shapes)]
    found = omnimoe.compile(program, args=specs, target="sm_90a", schedule=schedule)
    expected = reference.experts(*arrays[:5], gate=gate if gated else None)
    (y,) = interpret(found, arrays)
    close(y, torch.tensor(expected), np.float16)
    return found


def check_gathered(count: int, of: int, columns: int, summed: int, **options: Any) -> None:
    """Products of gathered rows by warpgroups, in f16."""
    sizes = count, of, columns, summed
    program = omnimoe.compile(gathered_text(*sizes, dtype="f16", **options), target="sm_90a")
    assert "cp.async.mbarrier" in program.ptx and program.ptx.count(".entry") == 1
    matrices = options.get("matrices", 1)
    arguments = gathered_arguments(7, *sizes, dtype="f16", matrices=matrices)
    (y,) = interpret(program, arguments)
    expected = gathered_reference(*arguments)
    close(y, torch.tensor(expected), np.float16)
    assert not y[~expected.any(axis=1)].any(), "rows of nothing are zeros"


def check_mlp(tokens: int, hidden: int, inner: int) -> None:
    """All gradients, in f32."""
    rng = np.random.default_rng(0)
    shapes = (tokens, hidden), (inner, hidden), (inner, hidden), (hidden, inner)
    *arrays, dy = (rng.standard_normal(s).astype(np.float32) for s in (*shapes, shapes[0]))
    leaves = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in arrays]
    x, gate, up, down = leaves
    y = (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T
    gradients = torch.autograd.grad(y, leaves, torch.tensor(dy.astype(np.float64)))
    specs = [TensorSpec("float32", (None, hidden))] + [TensorSpec("float32", s) for s in shapes[1:]]
    text = omnimoe.jit(omnimoe.mlp).program_text(specs)[0]
    for found, expected in zip(interpret(compiled(backward_ir(text)), [*arrays, dy]), gradients):
        close(found, expected, np.float32)


def check_route(tokens: int, rows: int, columns: int, top_k: int, steps: int = 0) -> None:
    """A router alone: normal logits, or with `steps` multiples of the last bit of
    a number below 2, so many of them."""
    rng = np.random.default_rng(top_k)
    logits = [rng.standard_normal((tokens, n)).astype(np.float32) for n in (rows, columns)]
    if steps:
        whole = [rng.integers(0, steps, each.shape) for each in logits]
        logits = [(1 + each * 2.0**-23).astype(np.float32) for each in whole]
    module = Module("route")
    values = [module.argument(name, "f32", (None, n)) for name, n in (("r", rows), ("c", columns))]
    program = omnimoe.compile(module.text(module.route(*values, top_k)), target="sm_90a")
    scores, ids = interpret(program, logits)
    expected_scores, expected_ids = reference.route(*logits, top_k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)


def check_router(
    tokens: int, hidden: int, rows: int, columns: int, top_k: int, shifted: bool = False
) -> None:
    """A router and its projections in one kernel, with a shift of each column or
    without: probabilities against float64, and what is chosen by them exactly."""
    rng = np.random.default_rng(tokens + hidden)
    x, *gates = (rng.standard_normal((n, hidden)).astype(np.float16) for n in (tokens, rows, columns))
    gates = [(gate * np.float16(hidden**-0.5)).astype(np.float16) for gate in gates]
    shifts = [rng.standard_normal(n).astype(np.float32) for n in (rows, columns)]
    found = []
    for all_results in (True, False):  # logits that nobody else reads stay in registers
        text = router_text(hidden, (rows, columns), top_k, "f16", shifted, all_results)
        program = omnimoe.compile(text, target="sm_90a")
        assert program.ptx.count(".entry") == 1
        *stored, scores, ids = interpret(program, [x, *itertools.chain(*zip(gates, shifts))])
        found += stored
        expected_scores, expected_ids = reference.route(*found, top_k)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_array_equal(scores, expected_scores)
    for result, gate, shift in zip(found, gates, shifts):
        expected = x.astype(np.float64) @ gate.T.astype(np.float64) + shift * shifted
        close(result, torch.tensor(reference.log_softmax(expected)), np.float32)


DISPATCH = """
module {{
  func.func @dispatch(%ids: tensor<?x{K}xi32>)
      -> (tensor<{G1}xi32>, tensor<?x{K}xi32>, tensor<?x{K}xi32>, tensor<1xi32>, tensor<?x{K}xi32>) {{
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %k = arith.constant {K} : index
    %T = tensor.dim %ids, %c0 : tensor<?x{K}xi32>
    %P = arith.muli %T, %k : index
    %P1 = arith.addi %P, %c1 : index
    %o = tensor.empty() : tensor<{G1}xi32>
    %p = tensor.empty(%P) : tensor<?xi32>
    %s = tensor.empty(%P1) : tensor<?xi32>
    %r:4 = omnimoe.dispatch ins(%ids : tensor<?x{K}xi32>)
      outs(%o, %p, %s, %p : tensor<{G1}xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>)
      num_experts = {N} group_size = {S} {grid}
      -> tensor<{G1}xi32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>
    // A program's results are as long as the batch: starts come in two parts.
    %starts = tensor.extract_slice %r#2[0] [%P] [1] : tensor<?xi32> to tensor<?xi32>
    %last = tensor.extract_slice %r#2[%P] [1] [1] : tensor<?xi32> to tensor<1xi32>
    %t2 = tensor.expand_shape %r#1 [[0, 1]] output_shape [%T, {K}] : tensor<?xi32> into tensor<?x{K}xi32>
    %s2 = tensor.expand_shape %starts [[0, 1]] output_shape [%T, {K}] : tensor<?xi32> into tensor<?x{K}xi32>
    %p2 = tensor.expand_shape %r#3 [[0, 1]] output_shape [%T, {K}] : tensor<?xi32> into tensor<?x{K}xi32>
    return %r#0, %t2, %s2, %last, %p2
      : tensor<{G1}xi32>, tensor<?x{K}xi32>, tensor<?x{K}xi32>, tensor<1xi32>, tensor<?x{K}xi32>
  }}
}}
"""


def dispatched(ids: np.ndarray, experts: int, group_size: int) -> List[np.ndarray]:
    """Offsets, tokens, starts and pairs, up to where they are defined."""
    groups, flat = -(-experts // group_size), ids.reshape(-1)
    keys = np.where((flat >= 0) & (flat < experts), flat // group_size, groups)
    pairs = np.argsort(keys, kind="stable")[: (keys < groups).sum()]
    keys, tokens = keys[pairs], pairs // ids.shape[1]
    new = (np.diff(keys, prepend=-1) != 0) | (np.diff(tokens, prepend=-1) != 0)
    offsets = np.searchsorted(keys[new], np.arange(groups + 1))
    return [offsets, tokens[new], np.append(np.flatnonzero(new), len(pairs)), pairs]


def check_dispatch(
    tokens: Sequence[int], top_k: int, experts: int, group_size: int = 1,
    units: Optional[int] = None,
) -> None:  # fmt: skip
    """For each number of tokens: ids a tenth of which name no expert, and none
    names the other half of the experts; none that names one; all the same."""
    sizes = {"K": top_k, "N": experts, "S": group_size, "G1": -(-experts // group_size) + 1}
    program = compiled(DISPATCH.format(grid="", **sizes), units=units)
    rng = np.random.default_rng(0)
    half = rng.permutation(experts)[: -(-experts // 2)]
    for shape in ((count, top_k) for count in tokens):
        wild = rng.choice([-1, experts, -(2**31), 2**31 - 1], shape)
        mixed = np.where(rng.random(shape) < 0.1, wild, rng.choice(half, shape))
        for ids in (mixed, wild, np.zeros(shape), np.full(shape, experts - 1)):
            ids = ids.astype(np.int32)
            offsets, token, starts, last, pairs = map(np.ravel, interpret(program, [ids]))
            results = offsets, token, np.append(starts, last), pairs
            for found, expected in zip(results, dispatched(ids, experts, group_size)):
                np.testing.assert_array_equal(found[: len(expected)], expected)


def of_lines(ids: np.ndarray, experts: int, columns: int) -> np.ndarray:
    """The line of each pair: the row or else the column of the grid in which its token has
    more pairs; the number of lines for pairs without an expert."""
    rows, lines = experts // columns, np.full(ids.shape, experts // columns + columns)
    for token, chosen in enumerate(ids):
        known = (chosen >= 0) & (chosen < experts)
        row, column = np.divmod(np.where(known, chosen, 0), columns)
        in_row = np.bincount(row[known], minlength=rows)[row]
        in_column = np.bincount(column[known], minlength=columns)[column]
        own = np.where(in_row >= in_column, row, rows + column)
        lines[token] = np.where(known, own, lines[token])
    return lines


def check_line_dispatch(tokens: Sequence[int], top_k: int, rows: int, columns: int) -> None:
    """Routed ids, of which a tenth name no expert; all the same; all of one line. Slots are
    in order, the pairs of each are not."""
    experts, lines = rows * columns, rows + columns
    sizes = {"K": top_k, "N": experts, "S": max(rows, columns), "G1": lines + 1}
    program = compiled(DISPATCH.format(grid=f"grid_columns = {columns}", **sizes))
    rng = np.random.default_rng(0)
    for count in tokens:
        shape = (count, top_k)
        scores = rng.standard_normal((count, rows, 1)) + rng.standard_normal((count, 1, columns))
        best = np.argsort(-scores.reshape(count, experts), axis=1)[:, :top_k]
        wild = np.where(rng.random(shape) < 0.1, rng.choice([-1, experts, 2**31 - 1], shape), best)
        line = rng.integers(0, columns, shape)
        for ids in (wild, best, np.zeros(shape), line, line % rows * columns):
            ids = ids.astype(np.int32)
            keys = of_lines(ids, experts, columns)
            offsets, token, starts, last, pairs = map(np.ravel, interpret(program, [ids]))
            expected = dispatched(keys.astype(np.int32), lines, 1)
            results = offsets, token, np.append(starts, last)
            for found, wanted in zip(results, expected[:3]):
                np.testing.assert_array_equal(found[: len(wanted)], wanted)
            for begin, end in zip(expected[2][:-1], expected[2][1:]):
                assert sorted(pairs[begin:end]) == sorted(expected[3][begin:end])


PARTITION = """
module {{
func.func @parts(%x: tensor<?x{D}x{F}>, %w: tensor<{N}x{D}x{F}>, %e: tensor<?x{K}xi32>)
    -> (tensor<?x{K}xi32>, tensor<?x{K}xi32>, tensor<?x{D}xf32>) {{
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %n = tensor.dim %e, %c0 : tensor<?x{K}xi32>
  %i0 = tensor.empty(%n) : tensor<?x{K}xi32>
  %i1 = tensor.empty(%n) : tensor<?x{K}xi32>
  %p:2 = omnimoe.partition ins(%e : tensor<?x{K}xi32>)
    outs(%i0, %i1 : tensor<?x{K}xi32>, tensor<?x{K}xi32>)
    num_experts = {N} group_size = {S} min_pairs = {M} -> tensor<?x{K}xi32>, tensor<?x{K}xi32>
  %s0 = tensor.empty(%n) : tensor<?x{K}xf32>
  %s = omnimoe.grouped_matmul
    ins(%x, %w, %p#1 : tensor<?x{D}x{F}>, tensor<{N}x{D}x{F}>, tensor<?x{K}xi32>)
    outs(%s0 : tensor<?x{K}xf32>) {few} -> tensor<?x{K}xf32>
  %y0 = tensor.empty(%n) : tensor<?x{D}xf32>
  %y1 = linalg.fill ins(%zero : f32) outs(%y0 : tensor<?x{D}xf32>) -> tensor<?x{D}xf32>
  %y = omnimoe.combine to_tokens
    ins(%s, %w, %p#1 : tensor<?x{K}xf32>, tensor<{N}x{D}x{F}>, tensor<?x{K}xi32>)
    outs(%y1 : tensor<?x{D}xf32>) {few} -> tensor<?x{D}xf32>
  return %p#0, %p#1, %y : tensor<?x{K}xi32>, tensor<?x{K}xi32>, tensor<?x{D}xf32>
}}
}}
"""


def check_partition(
    tokens: Sequence[int], top_k: int, experts: int, group_size: int, min_pairs: int,
    hidden: int = 64,
) -> None:  # fmt: skip
    """Which pairs are in crowded groups, and the sums of the others."""
    few = "{omnimoe.few_pairs, schedule = #omnimoe.schedule<token_centric, token_tile = 1>}"
    sizes = {"K": top_k, "N": experts, "S": group_size, "M": min_pairs, "D": hidden, "F": "f16"}
    program = compiled(PARTITION.format(**sizes, few=few))
    rng = np.random.default_rng(0)
    w = rng.standard_normal((experts, hidden)).astype(np.float16)
    for count in tokens:
        x = rng.standard_normal((count, hidden)).astype(np.float16)
        ids = np.sort(rng.integers(0, experts, (count, top_k)).astype(np.int32))
        ids[: count // 2] = rng.permuted(ids[: count // 2], axis=1)
        ids[rng.random(ids.shape) < 0.05] = rng.choice([-1, experts, 2**31 - 1])
        named = (ids >= 0) & (ids < experts)
        groups = np.where(named, ids // group_size, -1)
        sizes_of = (groups[:, :, None] == groups[:, None, :]).sum(2)
        crowds = named & (sizes_of >= min_pairs)
        crowded, rest, y = interpret(program, [x, w, ids])
        np.testing.assert_array_equal(crowded, np.where(crowds, ids, -1))
        np.testing.assert_array_equal(rest, np.where(named & ~crowds, ids, -1))
        rows = w.astype(np.float64)[np.where(named, ids, 0)]
        products = np.einsum("td,tkd->tk", x.astype(np.float64), rows)
        expected = np.einsum("tk,tkd->td", np.where(named & ~crowds, products, 0), rows)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-3)


def check_tiles(tokens: int, experts: int, top_k: int, l2_bytes: Optional[int] = None) -> None:
    """The tiles of slots that the expert-centric kernel works on: together they
    have every pair once, under its row and its block of columns."""
    rng = np.random.default_rng(0)
    x, table = (np.zeros((n, 64), np.float16) for n in (tokens, experts))
    ids = rng.integers(0, experts, (tokens, top_k)).astype(np.int32)
    ids[0, 0], ids[-1, -1] = -1, experts
    # Weights tell the kernel's lists which pair is which.
    weights = np.arange(ids.size, dtype=np.float32).reshape(ids.shape)
    arrays = [x, table, table, weights, ids]

    specs = [TensorSpec(str(a.dtype), a.shape) for a in arrays]
    text = omnimoe.jit(omnimoe.experts).program_text(specs)[0]
    made = compiled(f"module {{\n{text}}}\n", "expert_centric", l2Bytes=l2_bytes)
    (group,) = {int(n) for n in re.findall(r"group_size = (\d+)", made.ir("schedule"))}
    columns_of_grid = {int(n) for n in re.findall(r"grid_columns = (\d+)>", made.ir("schedule"))}

    def expert(of_group: int, columns: np.ndarray) -> np.ndarray:
        if not columns_of_grid:
            return of_group * group + columns
        (side,) = columns_of_grid
        rows = experts // side
        return of_group * side + columns if of_group < rows else columns * side + of_group - rows

    lists = interpret(made, arrays, until="experts_experts0")
    # Three columns, and one more than twice the blocks of columns.
    odd = [a for a in lists if a.ndim == 2 and a.shape[1] % 2]
    tiles, blocks = sorted(odd, key=lambda a: a.shape[1])
    named = np.flatnonzero((ids.ravel() >= 0) & (ids.ravel() < experts))
    used = np.flatnonzero(tiles[:, 0] >= 0)
    assert columns_of_grid or len(used) >= -(-experts // group), "tiles"

    def holds(cells: np.ndarray, pairs: np.ndarray) -> bool:
        seen = []
        for tile in used:
            for place, (begin, end) in enumerate(zip(blocks[tile], blocks[tile][1:])):
                warpgroup, block = divmod(place, blocks.shape[1] // 2)
                rows, columns = cells[begin:end] >> 9, cells[begin:end] & 511
                own = pairs[begin:end]
                right = (rows // 64 == warpgroup) & (columns // 16 == block)
                if not right.all() or (own < 0).any() or (own >= ids.size).any():
                    return False
                if (ids.ravel()[own] != expert(tiles[tile, 0], columns)).any():
                    return False
                # A row is a token's, and rows ascend with tokens.
                order = np.argsort(rows, kind="stable")
                if (np.diff(own[order] // top_k)[np.diff(rows[order]) == 0] != 0).any():
                    return False
                seen.append(own)
        return np.array_equal(np.sort(np.concatenate(seen)), named)

    per_pair = [a for a in lists if a.shape == (ids.size,)]
    cells = [a.reshape(-1).view(np.uint16)[: ids.size].astype(np.int32) for a in per_pair]
    numbers = [np.nan_to_num(a.view(np.float32), nan=-1, posinf=-1).astype(int) for a in per_pair]
    assert any(holds(*two) for two in itertools.product(cells, numbers))
