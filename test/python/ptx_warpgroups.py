"""Kernels of warpgroups without a GPU: what ptx_interpreter.py has no use for.

Copies and products are done when they are begun, so what is waited for is tested
but not what was forgotten to be: barriers in shared memory count arrivals and
bytes, and threads that none lets go on are an error.
"""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import ptx_interpreter
from ptx_interpreter import WARP, Kernel, Memory

WARPGROUP = 4 * WARP
ROW_BYTES = 128


class TensorMap(NamedTuple):
    """Of a matrix, or an array of them; the innermost dimension comes first."""

    base: int
    sizes: Tuple[int, ...]
    strides: Tuple[int, ...]
    box: Tuple[int, ...]


# What the driver for tests writes into a map.
_WRITTEN = 0x5A5A5A5A5A5A5A5A


def tensor_maps(log: str) -> Iterator[TensorMap]:
    """Those in the log of that driver, in the order in which kernels get them."""
    for line in re.findall(r"cuTensorMapEncodeTiled (.*)", log):
        entry = dict(re.findall(r"(\w+)=(\S+)", line))
        assert entry["swizzle"] == "3", "rows of 128 bytes are permuted"
        lists = [tuple(map(int, entry[name].split(","))) for name in ("sizes", "strides", "box")]
        yield TensorMap(int(entry["base"], 16), *lists)


def _swizzled(address: np.ndarray) -> np.ndarray:
    """Rows of 128 bytes permute their pieces of 16 bytes by their number mod 8."""
    return address ^ (address >> 7 & 7) << 4


class Block(ptx_interpreter.Block):
    def __init__(
        self, kernel: Kernel, words: Sequence[int], threads: int, block: Tuple[int, ...],
        blocks: Tuple[int, ...], memory: Memory, dynamic: int, maps: Dict[str, TensorMap],
    ) -> None:  # fmt: skip
        super().__init__(kernel, words, threads, block, blocks, memory)
        # Aligned to 16 bytes and no more.
        self.dynamic = len(self.shared) | 16
        self.shared = np.full(self.dynamic + dynamic, 0xFF, np.uint8)
        self.maps = maps
        # Arrivals a phase, those to come, bytes to come, and the phase's parity.
        self.barriers: Dict[int, List[int]] = {}
        # Blocks that meet, and how often each thread of this one has come there.
        self.cluster: List[Block] = [self]
        self.meetings = np.zeros(threads, np.int64)

    def raw(self, name: str) -> np.ndarray:
        if name in self.registers:
            return self.registers[name]
        if name.startswith("__dynamic_shmem"):
            return np.full(self.threads, self.dynamic, np.uint64)
        if name in self.maps:  # the address of a map stands for the map
            return np.full(self.threads, self.kernel.parameters.index(name), np.uint64)
        return super().raw(name)

    def execute(self, op: List[str], operands: List[str]) -> None:
        self.rest = ""
        if operands and operands[0].startswith("::"):  # the rest of the instruction's name
            self.rest, *operands = operands
        if op[0] == "setmaxnreg" or op[:2] in (["wgmma", "fence"], ["wgmma", "commit_group"]):
            return
        if op[:2] == ["wgmma", "wait_group"] or op[:3] == ["cp", "async", "wait_group"]:
            return
        super().execute(op, operands)

    def do_elect(self, op: List[str], operands: List[str]) -> None:
        """The first lane of each warp that takes part."""
        lane, _, elected = operands[0].partition("|")
        taking = self.mask.reshape(-1, WARP)
        first = np.repeat(taking.argmax(axis=1), WARP)
        if lane != "_":
            self.set_raw(lane, first)
        self.set_raw(elected, first == np.arange(self.threads) % WARP)

    # Clusters ---------------------------------------------------------------

    def do_mapa(self, op: List[str], operands: List[str]) -> None:
        """Which block's memory it is stands above the place; there may be no such
        block, if nobody goes there."""
        place, block = self.raw(operands[1]), self.raw(operands[2])
        above = block + np.uint64(1) << np.uint64(32)
        self.set_raw(operands[0], place & np.uint64(0xFFFFFFFF) | above)

    def owner(self, operand: str, thread: int) -> Block:
        """The block whose memory a thread names."""
        number = int(self.addresses(operand)[thread]) >> 32
        return self.cluster[number - 1] if number else self

    def do_barrier(self, op: List[str], operands: List[str]) -> None:
        assert op[1] == "cluster", op
        if op[2] == "arrive":
            self.meetings[self.mask] += 1
            for block in self.cluster:
                block.blocked[:] = False
            return
        least = min(
            block.meetings[block.place < len(self.kernel.code)].min(initial=self.meetings.max())
            for block in self.cluster
        )
        self.blocked |= self.mask & (self.meetings > least)

    def do_ld(self, op: List[str], operands: List[str]) -> None:
        if not self.rest:
            return super().do_ld(op, operands)
        assert re.fullmatch(r"::cluster\.\w?32", self.rest), self.rest
        value = np.zeros(self.threads, np.uint64)
        owners = self.addresses(operands[1]) >> np.uint64(32)
        before, places = self.mask, self.places(operands[1])
        for number in np.unique(owners[before]):
            owner = self.cluster[int(number) - 1] if number else self
            own = before & (owners == number)
            assert (places[own] % 4 == 0).all() and places[own].max() + 4 <= len(owner.shared)
            words = owner.shared[: len(owner.shared) // 4 * 4].view(np.uint32)
            value[own] = words[places[own] // 4]
        self.set_raw(operands[0], value)

    # Barriers ---------------------------------------------------------------

    def places(self, operand: str) -> np.ndarray:
        return (self.addresses(operand) & np.uint64(0xFFFFFFFF)).astype(np.int64)

    def arrive(self, place: int, arrivals: int, transferred: int = 0) -> None:
        barrier = self.barriers[place]
        barrier[1] -= arrivals
        barrier[2] -= transferred
        assert barrier[1] >= 0, "more arrivals than a phase has"
        if barrier[1] == 0 and barrier[2] == 0:
            barrier[1] = barrier[0]
            barrier[3] ^= 1
            self.blocked[:] = False

    def do_mbarrier(self, op: List[str], operands: List[str]) -> None:
        active = np.flatnonzero(self.mask)
        if op[1] == "init":
            for place, count in zip(self.places(operands[0])[active], self.raw(operands[1])[active]):
                self.barriers[int(place)] = [int(count), int(count), 0, 0]
        elif op[1] == "try_wait":
            parities = self.raw(operands[2])
            places = self.places(operands[1])
            for thread in active:
                over = self.barriers[int(places[thread])][3] != int(parities[thread])
                self.blocked[thread] = not over
            # The others find it over when they try again.
            self.set_raw(operands[0], np.ones(self.threads))
        else:
            assert op[1] == "arrive", op
            places = self.places(operands[1])
            numbers = self.raw(operands[2] if len(operands) > 2 else "1")
            for thread in active:
                if op[2] == "expect_tx":
                    self.arrive(int(places[thread]), 1, -int(numbers[thread]))
                else:
                    owner = self.owner(operands[1], thread)
                    owner.arrive(int(places[thread]), int(numbers[thread]))

    # Copies -----------------------------------------------------------------

    def do_cp(self, op: List[str], operands: List[str]) -> None:
        active = np.flatnonzero(self.mask)
        if op[2] == "mbarrier":
            assert op[3:5] == ["arrive", "noinc"], op
            for place in self.places(operands[0])[active]:
                self.arrive(int(place), 1)
        elif op[2] == "bulk":
            assert op[3] == "tensor", op
            for thread in active:
                self.copy_tile(operands, int(thread))
        else:
            size = int(operands[2])
            given = np.full(self.threads, size)
            if len(operands) > 3:  # what is read; the rest are zeros
                given = self.get(operands[3], "u32").astype(np.int64)
            sources = self.addresses(operands[1])[active].astype(np.int64)
            places = self.places(operands[0])[active]
            for place, source, count in zip(places, sources, given[active]):
                assert place % size == 0 and source % size == 0, "misaligned copy"
                self.shared[place : place + size] = 0
                if count:
                    memory = self.memory.check(np.array([source]), int(count))
                    source -= self.memory.base
                    self.shared[place : place + count] = memory[source : source + count]

    def copy_tile(self, operands: List[str], thread: int) -> None:
        name, *coordinates = re.findall(r"[%\w]+", operands[1])
        made = self.maps[self.kernel.parameters[int(self.raw(name)[thread])]]
        first = [int(self.raw(each)[thread].astype(np.uint32).view(np.int32)) for each in coordinates]
        assert len(first) == len(made.sizes) and 2 * made.box[0] == ROW_BYTES
        targets = [self]
        if "multicast::cluster" in self.rest:
            among = int(self.raw(operands[3])[thread])
            targets = [block for i, block in enumerate(self.cluster) if among >> i & 1]
        target = int(self.places(operands[0])[thread])
        assert target % 1024 == 0, "a tile begins at a multiple of 1024 bytes"
        rows = np.indices(made.box[:0:-1]).reshape(len(made.box) - 1, -1)[::-1]
        columns = np.arange(ROW_BYTES)
        where = _swizzled(target + np.arange(rows.shape[1])[:, None] * ROW_BYTES + columns)
        assert 0 <= first[0] < made.sizes[0]
        places = [each[:, None] + begin for each, begin in zip(rows, first[1:])]
        inside = first[0] + columns[None, :] // 2 < made.sizes[0]
        address = made.base + 2 * first[0] + columns[None, :]
        for place, size, stride in zip(places, made.sizes[1:], made.strides):
            inside = inside & (place >= 0) & (place < size)
            address = address + place * stride
        inside = np.broadcast_to(inside, address.shape)
        memory = self.memory.check(address[inside], 1)
        for block in targets:
            block.shared[where] = 0
            block.shared[where[inside]] = memory[address[inside] - self.memory.base]
            block.arrive(int(self.places(operands[2])[thread]), 0, address.size)

    # Products ---------------------------------------------------------------

    def values(self, where: np.ndarray, kind: str) -> np.ndarray:
        assert where.min() >= 0 and where.max() + 2 <= len(self.shared), "outside of shared"
        raw = self.shared.view(np.uint16)[_swizzled(where) // 2]
        return ptx_interpreter._typed(raw.astype(np.uint64), kind).astype(np.float64)

    def matrix(self, descriptor: int, rows: int, columns: int, kind: str) -> np.ndarray:
        """Rows of 128 bytes, 8 of which are 1024 bytes from the next 8."""
        assert descriptor >> 62 == 1 and descriptor >> 32 & 0x3FFF == 1024 // 16, "layout"
        row, column = np.arange(rows)[:, None], np.arange(columns)[None, :]
        start = (descriptor & 0x3FFF) << 4
        return self.values(start + row // 8 * 1024 + row % 8 * ROW_BYTES + 2 * column, kind)

    def do_wgmma(self, op: List[str], operands: List[str]) -> None:
        assert op[1] == "mma_async" and op[-3] == "f32", op
        columns = int(re.match(r"m64n(\d+)k16", op[4])[1])
        kind = op[-1]
        results = ptx_interpreter._parts(operands[0])
        fragments = ptx_interpreter._parts(operands[1]) if operands[1].startswith("{") else []
        assert len(results) == columns // 2
        sums = {name: np.zeros(self.threads, np.float32) for name in results}
        for first in range(0, self.threads, WARPGROUP):
            own = np.arange(first, first + WARPGROUP)
            if not self.mask[own].any():
                continue
            assert self.mask[own].all(), "a warpgroup multiplies as a whole"
            lane, warp = own % WARP, (own - first) // WARP
            row, pair = 16 * warp + lane // 4, lane % 4 * 2
            if fragments:
                left = np.zeros((64, 16))
                for i, name in enumerate(fragments):
                    word = self.raw(name)[own]
                    for e in (0, 1):
                        half = word >> np.uint64(16 * e) & np.uint64(0xFFFF)
                        place = row + i % 2 * 8, pair + i // 2 * 8 + e
                        left[place] = ptx_interpreter._typed(half, kind)
                assert operands[-1] == "1", "the right operand's rows follow the sum"
                right = self.matrix(int(self.raw(operands[2])[first]), 16, columns, kind)
            else:
                assert operands[-2:] == ["0", "0"], "both operands' rows go along the sum"
                left = self.matrix(int(self.raw(operands[1])[first]), 64, 16, kind)
                right = self.matrix(int(self.raw(operands[2])[first]), columns, 16, kind).T
            product = left @ right
            adds = bool(self.raw(operands[3])[first] & np.uint64(1))
            for i, name in enumerate(results):
                value = product[row + i // 2 % 2 * 8, 8 * (i // 4) + pair + i % 2]
                if adds:
                    value = value + self.get(name, "f32")[own]
                sums[name][own] = value
        for name, value in sums.items():
            self.set(name, value, "f32")

    # Sums in memory ---------------------------------------------------------

    def do_red(self, op: List[str], operands: List[str]) -> None:
        assert op[1:] == ["global", "v4", "f32", "add"], op
        where = self.addresses(operands[0])[self.mask].astype(np.int64)
        assert (where % 16 == 0).all(), "misaligned access"
        view = self.memory.check(where, 16)[: len(self.memory.bytes) // 4 * 4].view(np.float32)
        names = ptx_interpreter._parts(operands[1])
        values = np.stack([self.get(name, "f32")[self.mask] for name in names], 1)
        # Several may add to one place.
        for place, own in zip((where - self.memory.base) // 4, values):
            view[place : place + 4] += own

    def do_st(self, op: List[str], operands: List[str]) -> None:
        if op[1] != "async":
            return super().do_st(op, operands)
        assert self.rest.endswith("::bytes.u32"), self.rest
        places, barriers = self.places(operands[0]), self.places(operands[2])
        words = self.raw(operands[1]).astype(np.uint32)
        for thread in np.flatnonzero(self.mask):
            owner = self.owner(operands[0], thread)
            word = words[thread : thread + 1].view(np.uint8)
            owner.shared[places[thread] : places[thread] + 4] = word
            owner.arrive(int(barriers[thread]), 0, 4)

    def do_atom(self, op: List[str], operands: List[str]) -> None:
        space, does, kind = op[1:]
        assert does == "add" and kind in ("u32", "f32"), op
        old = np.zeros(self.threads, np.uint64)
        where, values = self.addresses(operands[1]), self.get(operands[2], kind)
        before, left = self.mask, self.mask.copy()
        while left.any():
            # Those of one place take turns.
            _, firsts = np.unique(where[left], return_index=True)
            self.mask = np.zeros(self.threads, bool)
            self.mask[np.flatnonzero(left)[firsts]] = True
            left &= ~self.mask
            word = self.transfer(space, where, 4)
            old[self.mask] = word[self.mask]
            added = ptx_interpreter._typed(word, kind) + values
            self.transfer(space, where, 4, ptx_interpreter._raw(added, kind))
        self.mask = before
        self.set_raw(operands[0], old)


def run_cluster(blocks: List[Block]) -> None:
    """Runs the blocks of a cluster side by side."""
    for block in blocks:
        block.cluster = blocks
    while not all(block.is_done() for block in blocks):
        # All of them get as far as they can.
        if not any([block.go(release=False) for block in blocks]):
            assert any([block.go() for block in blocks]), "blocks wait for each other"


def launch(
    kernel: Kernel, words: Sequence[int], threads: int, blocks: Tuple[int, ...], memory: Memory,
    dynamic: int, made: Iterator[TensorMap],
) -> None:  # fmt: skip
    """Runs a grid, one cluster of blocks, along z, after the other. Takes the maps
    of the kernel from those that were made."""
    maps = {
        name: next(made) for name, word in zip(kernel.parameters, words) if word == _WRITTEN
    }
    for x in range(blocks[0]):
        run_cluster(
            [
                Block(kernel, words, threads, (x, 0, z), blocks, memory, dynamic, maps)
                for z in range(blocks[2])
            ]
        )
