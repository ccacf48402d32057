"""Programs for a GPU on the host: the driver of test/Runtime/FakeCUDA.cpp takes
the launches, ptx_interpreter.py runs them, float64 autograd says what is right.

To be imported in a process of its own, as fake_gpu.py.
"""

from __future__ import annotations

import re
from typing import Any, List, Optional, Sequence, Tuple

import fake_gpu
import numpy as np
import ptx_interpreter
import torch

import omnimoe
from omnimoe import TensorSpec
from omnimoe._autodiff import backward_ir

TOLERANCE = {np.float32: 1e-6, np.float16: 1e-3}


def interpret(program: Any, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
    """The program's results. They, and the workspace, are not a number before."""
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
    memory = ptx_interpreter.Memory([(a.address, max(a.host.nbytes, 1)) for a in given])
    kernels = ptx_interpreter.kernels(program.ptx)
    for launch in fake_gpu.launches():
        grid, block = (tuple(map(int, launch[name].split(","))) for name in ("grid", "block"))
        kernel = kernels[launch["kernel"]]
        ptx_interpreter.launch(kernel, launch["parameters"], block[0], grid, memory)
    return [array.host for array in given[len(arrays) : -1]]


def compiled(text: str, l2_bytes: Optional[int]) -> Any:
    """For a GPU, or for one with a smaller cache."""
    if l2_bytes is None:
        return omnimoe.compile(text, target="sm_90a")
    target = omnimoe.Target("sm_90a").info.attribute
    target = re.sub(r"l2Bytes = \d+", f"l2Bytes = {l2_bytes}", target)
    text = re.sub(
        r"^module \{", f"module attributes {{omnimoe.target = {target}}} {{", text, flags=re.M
    )
    return omnimoe.compile(text)


def close(found: Any, expected: Any, dtype: Any) -> None:
    expected = expected.detach().numpy()
    error = np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected)
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
    forward = compiled(backward_ir(text, save=True, emit="forward"), l2_bytes)
    backward = compiled(backward_ir(text, save=True), l2_bytes)
    result, *saved = interpret(forward, arrays)
    close(result, y, dtype)
    for found, expected in zip(interpret(backward, [*arrays, *saved, dy]), gradients):
        close(found, expected, dtype)
    return backward


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
    for found, expected in zip(interpret(compiled(backward_ir(text), None), [*arrays, dy]), gradients):
        close(found, expected, np.float32)
