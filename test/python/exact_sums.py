"""Expert-centric blocks whose results are the same every time, without a GPU.

What a GPU does in no fixed order is done in one that a seed chooses: sums in
memory of a whole kernel, and who comes first to a counter.

To be imported in a process of its own, as fake_gpu.py.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import fake_gpu
import numpy as np
import ptx_interpreter
import ptx_warpgroups
import reference
from interpreted import kernels_of

import omnimoe
from omnimoe import TensorSpec


class Block(ptx_warpgroups.Block):
    random = np.random.default_rng(0)
    sums: List[Any] = []

    def do_red(self, op: List[str], operands: List[str]) -> None:
        where = self.addresses(operands[0])[self.mask].astype(np.int64)
        self.memory.check(where, 16)
        names = ptx_interpreter._parts(operands[1])
        values = np.stack([self.get(name, "f32")[self.mask] for name in names], 1)
        self.sums.extend(zip((where - self.memory.base) // 4, values))

    def do_atom(self, op: List[str], operands: List[str]) -> None:
        space, does, kind = op[1:]
        function = {"add": np.add, "max": np.maximum}[does]
        where = self.addresses(operands[1])
        values, old = self.get(operands[2], kind), np.zeros(self.threads, np.uint64)
        before = self.mask
        for thread in self.random.permutation(np.flatnonzero(before)):
            self.mask = np.arange(self.threads) == thread
            word = self.transfer(space, where, 4)
            old[thread] = word[thread]
            new = function(ptx_interpreter._typed(word, kind), values)
            self.transfer(space, where, 4, ptx_interpreter._raw(new, kind))
        self.mask = before
        self.set_raw(operands[0], old)

    def do_abs(self, op: List[str], operands: List[str]) -> None:
        self.arithmetic(operands, op[-1], np.abs)

    def do_sqrt(self, op: List[str], operands: List[str]) -> None:
        self.arithmetic(operands, op[-1], np.sqrt)


def interpret(program: Any, arrays: Sequence[np.ndarray], seed: int) -> Dict[str, Any]:
    """The result, and how many tokens were computed twice. What is no number has
    one pattern of bits on a GPU, but not here."""
    Block.random = np.random.default_rng(seed)
    tokens = len(arrays[0])
    (tensor,) = program.outputs
    result = np.empty([tokens if n is None else n for n in tensor.shape], tensor.dtype)
    workspace = np.empty(max(program.workspace_size(tokens), 1), np.uint8)
    for array in (result, workspace):
        array.view(np.uint8)[...] = 0xFF
    given = [fake_gpu.to_gpu(array) for array in (*arrays, result, workspace)]
    fake_gpu.clear()
    program.invoke(*given[:-1], workspace=given[-1])
    memory = ptx_interpreter.Memory([(a.address, max(a.host.nbytes, 1)) for a in given])
    maps = list(ptx_warpgroups.tensor_maps(fake_gpu.log()))
    kernels, added = kernels_of(program), []
    for launch in fake_gpu.launches():
        blocks, block = (tuple(map(int, launch[name].split(","))) for name in ("grid", "block"))
        kernel, words = kernels[launch["kernel"]], launch["parameters"]
        places = [n for n, w in zip(kernel.parameters, words) if w == ptx_warpgroups._WRITTEN]
        # Both launches of the kernel take the same maps.
        own = dict(zip(places, maps))
        Block.sums = []
        dynamic = int(launch["shared"])
        for x in range(blocks[0]):
            ptx_warpgroups.run_cluster(
                [
                    Block(kernel, words, block[0], (x, 0, z), blocks, memory, dynamic, own)
                    for z in range(blocks[2])
                ]
            )
        view = memory.bytes[: len(memory.bytes) // 4 * 4].view(np.float32)
        for i in Block.random.permutation(len(Block.sums)):
            place, values = Block.sums[i]
            with np.errstate(all="ignore"):
                view[place : place + 4] += values
        if kernel.name.endswith("_experts0"):
            added.append({int(place) for place, _ in Block.sums})
    assert len(added) == 2
    again = len({(place - min(added[0])) // result.shape[1] for place in added[1]})
    return {"y": given[-2].host, "again": again}


def make(tokens: int, count: int, hidden: int, top_k: int, seed: int = 0) -> List[np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tokens, hidden)).astype(np.float16)
    up, down = (
        (rng.standard_normal((count, hidden)) * scale).astype(np.float16)
        for scale in (hidden**-0.5, 1)
    )
    weights = rng.random((tokens, top_k), dtype=np.float32)
    ids = rng.integers(0, count, (tokens, top_k)).astype(np.int32)
    return [x, up, down, weights, ids]


def compiled(arrays: Sequence[np.ndarray], schedule: str) -> Any:
    shapes = [(None, *a.shape[1:]) if i in (0, 3, 4) else a.shape for i, a in enumerate(arrays)]
    specs = [TensorSpec(str(a.dtype), shape) for a, shape in zip(arrays, shapes)]
    return omnimoe.compile(
        omnimoe.experts, args=specs, target="sm_90a", schedule=schedule, deterministic=True
    )


def check(
    arrays: Sequence[np.ndarray],
    again: Any = None,
    tolerance: float = 1e-3,
    schedule: str = "expert_centric",
) -> np.ndarray:
    """Equal bits whatever the order, and right; `again` says how many tokens
    are computed twice."""
    program = compiled(arrays, schedule)
    first, second = (interpret(program, arrays, seed) for seed in (1, 2))
    same = first["y"].view(np.uint16) == second["y"].view(np.uint16)
    assert (same | np.isnan(first["y"]) & np.isnan(second["y"])).all()
    assert first["again"] == second["again"]
    if again is not None:
        assert again(first["again"]), f"{first['again']} tokens were computed twice"
    expected = reference.experts(*arrays)
    finite = np.isfinite(expected).all(1) & np.isfinite(first["y"]).all(1)
    assert finite.any() or not len(finite)
    error = np.linalg.norm(first["y"][finite].astype(np.float64) - expected[finite])
    error /= np.linalg.norm(expected[finite]) or 1
    assert error < tolerance, f"relative error {error:.2e}"
    return first["y"]
