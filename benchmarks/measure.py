"""Timing, memory and the machine's floors: nothing here knows omnimoe."""

import ctypes
import statistics
import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, NamedTuple

import numpy as np

# Threads of an OpenMP run-time spin for a millisecond or so after a parallel
# region and would take the cores from whoever is timed next.
SETTLE_SECONDS = 0.02


@dataclass(frozen=True)
class Times:
    """Median seconds of a call, for each candidate and round."""

    rounds: Dict[str, List[float]]

    def __getitem__(self, name: str) -> float:
        """Median seconds of a call over all rounds."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, other: str) -> float:
        """How many times longer `name` takes than `other`: the median of the
        rounds' ratios. A round is short, so a machine that is slow for a while
        slows both."""
        pairs = zip(self.rounds[name], self.rounds[other])
        return statistics.median(a / b for a, b in pairs)


def interleave(
    candidates: Dict[str, Callable[[int], object]],
    *,
    rounds: int,
    burst_seconds: float = 0.05,
    max_calls: int = 50,
) -> Times:
    """Times the candidates in turns.

    In each round every candidate has a turn: wait until other threads have gone
    to sleep, one call to warm up (not if a call outlasts the turn), then calls
    for about `burst_seconds`. A candidate is handed the number of its call, to
    choose its input by.
    """
    medians: Dict[str, List[float]] = {name: [] for name in candidates}
    calls = {name: _calls_for(run, burst_seconds, max_calls) for name, run in candidates.items()}
    for turn in range(rounds):
        for name, run in candidates.items():
            time.sleep(SETTLE_SECONDS)
            if calls[name] > 1:
                run(turn)
            samples = []
            for call in range(calls[name]):
                began = time.perf_counter()
                run(turn + call + 1)
                samples.append(time.perf_counter() - began)
            medians[name].append(statistics.median(samples))
    return Times(medians)


def _calls_for(run: Callable[[int], object], burst_seconds: float, max_calls: int) -> int:
    run(0)
    began = time.perf_counter()
    run(1)
    seconds = max(time.perf_counter() - began, 1e-7)
    return max(1, min(max_calls, int(burst_seconds / seconds)))


def median_of_calls(run: Callable[[], object], calls: int) -> float:
    """Median seconds of a call that is repeated without a pause."""
    for _ in range(calls // 10 + 1):
        run()
    samples = []
    for _ in range(calls):
        began = time.perf_counter()
        run()
        samples.append(time.perf_counter() - began)
    return statistics.median(samples)


# ------------------------------------------------------------------------------
# Floors
# ------------------------------------------------------------------------------


class Work(NamedTuple):
    """What no program for a task can avoid: bytes moved and multiply-adds."""

    bytes: float
    flops: float = 0.0


@dataclass(frozen=True)
class Machine:
    """What the machine reaches: bytes/s of a copy (read and written, out of
    memory) and flop/s of an f32 matrix product, with the threads given."""

    threads: int
    copy_rate: float
    matmul_rate: float

    def floor(self, work: Work) -> float:
        """Seconds below which no program that goes to memory can come."""
        return max(work.bytes / self.copy_rate, work.flops / self.matmul_rate)

    def best(self, other: "Machine") -> "Machine":
        """The better of two readings of each rate."""
        return Machine(
            self.threads,
            max(self.copy_rate, other.copy_rate),
            max(self.matmul_rate, other.matmul_rate),
        )


def measure_copy_rate(threads: int, mebibytes: int = 256) -> float:
    """Best rate of copying a large array with `threads` threads."""
    source = np.ones(mebibytes << 18, np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads)))

    def copy_all() -> float:
        # NumPy lets go of the interpreter's lock while it copies.
        workers = [threading.Thread(target=np.copyto, args=part) for part in parts]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.perf_counter() - began

    return 2 * source.nbytes / min(copy_all() for _ in range(10))


def measure_matmul_rate(
    matmul: Callable[[np.ndarray, np.ndarray], object], size: int = 2048
) -> float:
    """Best flop/s of `matmul` on two square f32 matrices."""
    generator = np.random.default_rng(0)
    left = generator.standard_normal((size, size), np.float32)
    right = generator.standard_normal((size, size), np.float32)
    matmul(left, right)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        matmul(left, right)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


# ------------------------------------------------------------------------------
# Memory
# ------------------------------------------------------------------------------


def resident_growth(run: Callable[[], object]) -> int:
    """Bytes by which the process's resident memory peaked during one call.

    Exact to a page: the kernel is asked to forget the peak so far and keeps the
    new one. What `run` returns is alive at the end, so it counts. Memory that
    was freed before goes back to the kernel first, so that taking it counts too.
    """
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    before = _read_status("VmRSS")
    result = run()
    peak = _read_status("VmHWM")
    del result
    return max(0, peak - before)


def _read_status(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")
