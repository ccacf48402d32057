"""Kernels without a GPU: runs PTX, on all threads of a block at once.

Slow, and made for what this compiler emits: memory is the host's, threads of a
block go on from the first place that one of them stands at, in an order of the
program that brings them together again behind every branch and loop. What the hardware leaves open is an error:
a shuffle from a lane that does not take part, a barrier that some never reach,
an access outside of what a kernel was given.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from ptx_kernels import Kernel

WARP = 32
_FLOATS = {"f32": np.float32, "f16": np.float16}
_SIGNED = {"s8": np.int8, "s16": np.int16, "s32": np.int32, "s64": np.int64}
_COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "lo": np.less, "hi": np.greater, "ls": np.less_equal,
    "hs": np.greater_equal, "neu": lambda a, b: ~np.equal(a, b), "equ": np.equal,
    "ltu": lambda a, b: ~(a >= b), "leu": lambda a, b: ~(a > b), "gtu": lambda a, b: ~(a <= b),
    "geu": lambda a, b: ~(a < b),
}  # fmt: skip


def _bits(kind: str) -> int:
    return 1 if kind == "pred" else int(re.sub(r"\D", "", kind))


def _typed(raw: np.ndarray, kind: str) -> np.ndarray:
    """Registers, which are 64 bits each, as values of a PTX type."""
    bits = _bits(kind)
    assert kind == "pred" or kind[0] in "bus" or kind in _FLOATS, kind
    short = raw.astype(getattr(np, f"uint{bits}"))
    if kind == "bf16":
        return (short.astype(np.uint32) << 16).view(np.float32)
    if kind in _FLOATS:
        return short.view(_FLOATS[kind])
    return short.view(_SIGNED[kind]) if kind in _SIGNED else short


def _round_bf16(values: np.ndarray) -> np.ndarray:
    word = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (word + 0x7FFF + ((word >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FFF, rounded & 0xFFFF).astype(np.uint64)


def _raw(values: np.ndarray, kind: str) -> np.ndarray:
    if kind == "bf16":
        return _round_bf16(values)
    if kind in _FLOATS:
        values = values.astype(_FLOATS[kind])
        return values.view(f"uint{_bits(kind)}").astype(np.uint64)
    return values.astype(np.int64).view(np.uint64) & np.uint64((1 << _bits(kind)) - 1)


def _parts(operand: str) -> List[str]:
    """What an operand in braces lists, or the operand itself: names and numbers."""
    return re.findall(r"[^{},\s]+", operand)


class Block:
    """A block of threads on its way through a kernel."""

    def __init__(
        self, kernel: Kernel, words: Sequence[int], threads: int, block: Tuple[int, ...],
        blocks: Tuple[int, ...], memory: "Memory",
    ) -> None:  # fmt: skip
        self.kernel, self.threads, self.memory = kernel, threads, memory
        self.words = dict(zip(kernel.parameters, words))
        self.registers: Dict[str, np.ndarray] = {}
        # Not a number, until something is written.
        self.shared = np.full(-(-kernel.shared_bytes // 16) * 16, 0xFF, np.uint8)
        # By something that other threads have yet to do; then they try again.
        self.blocked = np.zeros(threads, bool)
        self.waiting = np.zeros(threads, bool)
        self.place = np.zeros(threads, np.int64)
        self.special = {"%tid.x": np.arange(threads), "%laneid": np.arange(threads) % WARP}
        for axis, at, count in zip("xyz", block, blocks):
            self.special[f"%ctaid.{axis}"] = np.full(threads, at)
            self.special[f"%nctaid.{axis}"] = np.full(threads, count)

    def run(self) -> None:
        self.go()
        assert self.is_done(), "threads wait for each other"

    def is_done(self) -> bool:
        return bool((self.place >= len(self.kernel.code)).all())

    def go(self, release: bool = True) -> bool:
        """Goes on until all threads have ended or wait for something that none of
        them does, and tells whether any went on. Unless `release`, those at a
        barrier of the block stay there while others wait for something else."""
        place, waiting, end = self.place, self.waiting, len(self.kernel.code)
        moved = False
        while True:
            going = (place < end) & ~waiting & ~self.blocked
            if not going.any():
                if not waiting.any() or (self.blocked.any() and not release):
                    return moved
                assert (waiting | self.blocked)[place < end].all()
                place[waiting] += 1
                waiting[:] = False
                continue
            moved = True
            places = place[going]
            at = int(places[self.kernel.rank[places].argmin()])
            self.mask = going & (place == at)
            guard, negated, op, operands = self.kernel.code[at]
            if guard:
                holds = self.registers[guard].astype(bool) != negated
                taken = self.mask & holds
            else:
                taken = self.mask
            if op in ("bra", "bra.uni"):
                place[self.mask] = at + 1
                place[taken] = self.kernel.labels[operands[0]]
            elif op == "ret":
                place[self.mask] = at + 1
                place[taken] = end
            elif op in ("bar.sync", "barrier.sync", "barrier.cta.sync"):
                assert (taken == self.mask).all()
                waiting |= taken
            else:
                place[self.mask] = at + 1
                self.mask = taken
                if taken.any():
                    try:
                        self.execute(op.split("."), operands)
                    except Exception as error:
                        where = f"{self.kernel.name}: {op} {', '.join(operands)}"
                        raise AssertionError(f"{where}: {error}") from error
                    place[self.blocked & taken] = at

    # Operands ---------------------------------------------------------------

    def raw(self, name: str) -> np.ndarray:
        if name in self.special:
            return self.special[name].astype(np.uint64)
        if name.startswith("%"):
            return self.registers[name]
        if name in self.kernel.shared:
            value = self.kernel.shared[name]
        elif name in self.kernel.tables:
            value = self.kernel.tables[name]
        elif name.startswith("0f"):
            value = int(name[2:], 16)
        else:
            value = int(name, 0) & 0xFFFFFFFFFFFFFFFF
        return np.full(self.threads, value, np.uint64)

    def get(self, name: str, kind: str) -> np.ndarray:
        return _typed(self.raw(name), kind)

    def set_raw(self, name: str, value: np.ndarray) -> None:
        if name == "_":
            return
        old = self.registers.setdefault(name, np.zeros(self.threads, np.uint64))
        self.registers[name] = np.where(self.mask, value.astype(np.uint64), old)

    def set(self, name: str, value: np.ndarray, kind: str) -> None:
        with np.errstate(all="ignore"):
            self.set_raw(name, _raw(value, kind))

    def addresses(self, operand: str) -> np.ndarray:
        match = re.match(r"\[([%\w$]+)(?:\+?(-?\d+))?\]", operand)
        assert match, operand
        offset = np.uint64(int(match[2] or 0) & 0xFFFFFFFFFFFFFFFF)
        with np.errstate(over="ignore"):
            return self.raw(match[1]) + offset

    # Instructions -----------------------------------------------------------

    def execute(self, op: List[str], operands: List[str]) -> None:
        if op[0] in ("griddepcontrol", "cvta", "prefetch", "bar", "membar", "fence"):
            if op[0] == "cvta":
                self.set_raw(operands[0], self.raw(operands[1]))
            return
        with np.errstate(all="ignore"):
            getattr(self, f"do_{op[0]}")(op, operands)

    def do_mov(self, op: List[str], operands: List[str]) -> None:
        target, source = operands
        if target.startswith("{"):
            names = _parts(target)
            bits = _bits(op[-1]) // len(names)
            for i, name in enumerate(names):
                part = self.raw(source) >> np.uint64(i * bits)
                self.set_raw(name, part & np.uint64((1 << bits) - 1))
        elif source.startswith("{"):
            names = _parts(source)
            bits = _bits(op[-1]) // len(names)
            whole = np.zeros(self.threads, np.uint64)
            for i, name in enumerate(names):
                part = self.raw(name) & np.uint64((1 << bits) - 1)
                whole |= part << np.uint64(i * bits)
            self.set_raw(target, whole)
        else:
            self.set_raw(target, self.raw(source) & self.ones(op[-1]))

    @staticmethod
    def ones(kind: str) -> np.uint64:
        return np.uint64((1 << _bits(kind)) - 1)

    def do_ld(self, op: List[str], operands: List[str]) -> None:
        kind, width = op[-1], _bits(op[-1]) // 8
        names = _parts(operands[0])
        if op[1] == "param":
            for name in names:
                self.set_raw(name, np.full(self.threads, self.words[operands[1][1:-1]], np.uint64))
            return
        where = self.addresses(operands[1])
        for i, name in enumerate(names):
            value = self.transfer(op[1], where + np.uint64(i * width), width)
            if kind in _SIGNED:
                value = _raw(_typed(value, kind), "s64")
            self.set_raw(name, value)

    def do_st(self, op: List[str], operands: List[str]) -> None:
        width = _bits(op[-1]) // 8
        where = self.addresses(operands[0])
        for i, name in enumerate(_parts(operands[1])):
            self.transfer(op[1], where + np.uint64(i * width), width, self.raw(name))

    def transfer(self, space: str, where: np.ndarray, width: int, values: Any = None) -> np.ndarray:
        active = where[self.mask].astype(np.int64)
        assert (active % width == 0).all(), "misaligned access"
        result = np.zeros(self.threads, np.uint64)
        if space == "shared":
            memory, base = self.shared, 0
            assert active.min() >= 0 and active.max() + width <= len(memory), "outside of shared"
        else:
            memory, base = self.memory.check(active, width), self.memory.base
        view = memory[: len(memory) // width * width].view(f"uint{8 * width}")
        places = (active - base) // width
        if values is None:
            result[self.mask] = view[places]
        else:
            view[places] = values[self.mask].astype(view.dtype)
        return result

    def do_shfl(self, op: List[str], operands: List[str]) -> None:
        target, source, lane, clamp, _ = operands
        target, _, valid = target.partition("|")
        assert int(clamp, 0) in (31, 0), clamp
        me = np.arange(self.threads)
        delta = self.raw(lane).astype(np.int64) % WARP
        own = me % WARP
        there = {"bfly": own ^ delta, "idx": delta, "up": own - delta, "down": own + delta}[op[2]]
        inside = (there >= 0) & (there < WARP)
        there = np.where(inside, there, own)
        index = me // WARP * WARP + there
        assert self.mask[index[self.mask]].all(), "a shuffle from a lane that does not take part"
        if valid:
            self.set_raw(valid, inside)
        self.set_raw(target, self.raw(source)[index])

    def do_setp(self, op: List[str], operands: List[str]) -> None:
        assert len(op) == 3, op
        kind = op[-1].replace("b", "u") if op[-1].startswith("b") and op[-1] != "bf16" else op[-1]
        a, b = self.get(operands[1], kind), self.get(operands[2], kind)
        self.set_raw(operands[0], _COMPARE[op[1]](a, b))

    def do_selp(self, op: List[str], operands: List[str]) -> None:
        chosen = self.raw(operands[3]).astype(bool)
        value = np.where(chosen, self.raw(operands[1]), self.raw(operands[2]))
        self.set_raw(operands[0], value & self.ones(op[-1]))

    def do_cvt(self, op: List[str], operands: List[str]) -> None:
        to, source = op[-2], op[-1]
        if to in ("bf16x2", "f16x2"):
            high, low = (_raw(self.get(name, "f32"), to[:-2]) for name in operands[1:])
            self.set_raw(operands[0], low | high << np.uint64(16))
            return
        value = self.get(operands[1], source)
        self.set(operands[0], value, to)

    def arithmetic(self, operands: List[str], kind: str, function: Any) -> None:
        found = function(*[self.get(name, kind) for name in operands[1:]])
        self.set(operands[0], found, kind)

    def do_add(self, op, operands):
        self.arithmetic(operands, op[-1], np.add)

    def do_sub(self, op, operands):
        self.arithmetic(operands, op[-1], np.subtract)

    def do_min(self, op, operands):
        self.arithmetic(operands, op[-1], np.minimum if "NaN" in op else np.fmin)
        if "relu" in op:
            self.set(operands[0], np.maximum(self.get(operands[0], op[-1]), 0), op[-1])

    def do_max(self, op, operands):
        self.arithmetic(operands, op[-1], np.maximum if "NaN" in op else np.fmax)

    def do_neg(self, op, operands):
        self.arithmetic(operands, op[-1], np.negative)

    def do_div(self, op, operands):
        whole = op[-1] not in ("f32", "f16")
        divide = (lambda a, b: (a - np.fmod(a, b)) // b) if whole else np.divide
        self.arithmetic(operands, op[-1], divide)

    def do_rem(self, op, operands):
        self.arithmetic(operands, op[-1], np.fmod)

    def do_ex2(self, op, operands):
        self.arithmetic(operands, op[-1], np.exp2)

    def do_rcp(self, op, operands):
        self.arithmetic(operands, op[-1], np.reciprocal)

    def do_fma(self, op, operands):
        a, b, c = (self.get(name, op[-1]).astype(np.float64) for name in operands[1:])
        self.set(operands[0], a * b + c, op[-1])

    def do_mul(self, op, operands):
        if op[1] == "wide":
            wide = op[-1][0] + str(2 * _bits(op[-1]))
            a, b = (self.get(name, op[-1]).astype(np.int64) for name in operands[1:])
            self.set(operands[0], a * b, wide)
        elif op[1] == "hi":
            bits, numbers = _bits(op[-1]), [self.get(name, op[-1]) for name in operands[1:]]
            products = [int(a) * int(b) >> bits for a, b in zip(*numbers)]
            ones = (1 << bits) - 1
            self.set_raw(operands[0], np.array([p & ones for p in products], np.uint64))
        else:
            self.arithmetic(operands, op[-1], np.multiply)

    def do_mad(self, op, operands):
        a, b, c = operands[1:]
        kind = op[-1]
        if op[1] == "wide":
            product = self.get(a, kind).astype(np.int64) * self.get(b, kind).astype(np.int64)
            kind = kind[0] + str(2 * _bits(kind))
        else:
            assert op[1] == "lo", op
            product = self.get(a, kind) * self.get(b, kind)
        self.set(operands[0], product + self.get(c, kind), kind)

    def bitwise(self, op, operands, function):
        self.set_raw(operands[0], function(*map(self.raw, operands[1:])) & self.ones(op[-1]))

    def do_and(self, op, operands):
        self.bitwise(op, operands, np.bitwise_and)

    def do_or(self, op, operands):
        self.bitwise(op, operands, np.bitwise_or)

    def do_xor(self, op, operands):
        self.bitwise(op, operands, np.bitwise_xor)

    def do_not(self, op, operands):
        self.bitwise(op, operands, np.bitwise_not)

    def do_shl(self, op, operands):
        self.bitwise(op, operands, np.left_shift)

    def do_shr(self, op, operands):
        by = self.raw(operands[2])
        value = self.get(operands[1], op[-1].replace("b", "u"))
        self.set(operands[0], value >> by.astype(value.dtype), op[-1])

    def do_bfe(self, op, operands):
        value, at, count = map(self.raw, operands[1:])
        self.set_raw(operands[0], value >> at & (np.uint64(1) << count) - np.uint64(1))

    def do_prmt(self, op, operands):
        """Four of the eight bytes of two registers, by their numbers."""
        low, high = map(self.raw, operands[1:3])
        selector = int(operands[3].rstrip("U"), 0)
        both = low & np.uint64(0xFFFFFFFF) | high << np.uint64(32)
        picked = np.zeros_like(both)
        for byte in range(4):
            number = selector >> 4 * byte & 15
            assert number < 8, "bytes that repeat a sign"
            value = both >> np.uint64(8 * number) & np.uint64(255)
            picked |= value << np.uint64(8 * byte)
        self.set_raw(operands[0], picked)

    def do_popc(self, op, operands):
        assert op[-1] == "b32", op
        bits = np.unpackbits(self.get(operands[1], "u32").view(np.uint8).reshape(-1, 4), axis=1)
        self.set_raw(operands[0], bits.sum(1))

    def do_vote(self, op, operands):
        holds = self.raw(operands[1]).astype(bool)
        if op[2] == "ballot":
            return self.by_warp(operands[0], holds, lambda bits, one: bits)
        assert op[2] == "any", op
        any_of_warp = (holds & self.mask).reshape(-1, WARP).any(axis=1)
        self.set_raw(operands[0], any_of_warp.repeat(WARP))

    def do_redux(self, op, operands):
        """Over the lanes that take part."""
        function = {"max": np.maximum, "min": np.minimum, "add": np.add}[op[2]]
        values = self.get(operands[1], op[3]).reshape(-1, WARP)
        taking = self.mask.reshape(-1, WARP)
        found = np.zeros_like(values)
        for warp in np.flatnonzero(taking.any(axis=1)):
            found[warp] = function.reduce(values[warp][taking[warp]])
        self.set(operands[0], found.reshape(-1), op[3])

    def do_match(self, op, operands):
        assert op[2] == "any", op
        values = self.get(operands[1], "u32")
        self.by_warp(operands[0], values, lambda them, one: them == one)

    def by_warp(self, target: str, values: np.ndarray, function: Any) -> None:
        found = np.zeros(self.threads, np.uint64)
        for first in range(0, self.threads, WARP):
            lanes = slice(first, first + WARP)
            bits = function(values[lanes][None, :], values[lanes][:, None]) & self.mask[lanes]
            found[lanes] = bits @ (np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64))
        self.set_raw(target, found)

    def do_atom(self, op, operands):
        assert op[1:] == ["shared", "add", "u32"], op
        where = self.addresses(operands[1]).astype(np.int64)
        view = self.shared[: len(self.shared) // 4 * 4].view(np.uint32)
        old = np.zeros(self.threads, np.uint64)
        for thread in np.flatnonzero(self.mask):
            place = where[thread] // 4
            old[thread] = view[place]
            view[place] += np.uint32(self.raw(operands[2])[thread])
        self.set_raw(operands[0], old)


class Memory:
    """The host's memory at what the kernels are given; `ranges` are the starts
    and sizes of what they may touch."""

    def __init__(self, ranges: Sequence[Tuple[int, int]]) -> None:
        self.base = min(start for start, _ in ranges) // 64 * 64
        end = max(start + size for start, size in ranges)
        array = (ctypes.c_uint8 * (end - self.base)).from_address(self.base)
        self.bytes = np.frombuffer(array, np.uint8)
        self.starts = np.array(sorted(start for start, _ in ranges))
        sizes = dict(ranges)
        self.ends = np.array([start + sizes[start] for start in self.starts])

    def check(self, where: np.ndarray, width: int) -> np.ndarray:
        place = np.searchsorted(self.starts, where, side="right") - 1
        assert (place >= 0).all() and (where + width <= self.ends[place]).all(), "out of bounds"
        return self.bytes


def launch(
    kernel: Kernel, words: Sequence[int], threads: int, blocks: Tuple[int, ...], memory: Memory
) -> None:
    """Runs a grid, one block after the other."""
    for z in range(blocks[2]):
        for y in range(blocks[1]):
            for x in range(blocks[0]):
                Block(kernel, words, threads, (x, y, z), blocks, memory).run()
