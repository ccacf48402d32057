"""Timing on a CUDA GPU with torch's events and graphs: nothing here knows omnimoe.

Candidates are functions of the number of the call, which picks the input set.
"""

import statistics
import time
from dataclasses import dataclass
from typing import Callable, List, Optional

import torch

from ..measure import Machine

Candidate = Callable[[int], object]

# Calls in a graph, at least: what a replay itself costs is spread over them.
GRAPH_CALLS = 8


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds of GPU time a figure, and repetitions."""

    seconds: float
    least: int
    most: int

    def repetitions(self, seconds_each: float) -> int:
        return max(self.least, min(self.most, int(self.seconds / max(seconds_each, 1e-7))))


THOROUGH = Effort(seconds=0.3, least=10, most=200)
QUICK = Effort(seconds=0.05, least=5, most=50)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)


def _seconds(begin: torch.cuda.Event, end: torch.cuda.Event) -> float:
    return begin.elapsed_time(end) / 1e3


def warm_up(run: Candidate, sets: int) -> float:
    """Calls it once a set, then once more; returns the seconds of the latter."""
    for call in range(sets):
        run(call)
    torch.cuda.synchronize()
    begin, end = _event(), _event()
    begin.record()
    run(0)
    end.record()
    torch.cuda.synchronize()
    return _seconds(begin, end)


def wake_up(replay: Callable[[], object], seconds: float = 0.03) -> None:
    """Keeps the GPU busy for a while: the clocks of one that was idle, as while a
    program was compiled, rise within some milliseconds."""
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        for _ in range(8):
            replay()
        torch.cuda.synchronize()


def single_call(run: Candidate, sets: int, effort: Effort) -> float:
    """Median seconds from one call to the next, each launched by itself."""
    count = effort.repetitions(warm_up(run, sets))
    wake_up(lambda: run(0))
    events = [_event() for _ in range(count + 1)]
    events[0].record()
    for call in range(count):
        run(call % sets)
        events[call + 1].record()
    torch.cuda.synchronize()
    return statistics.median(map(_seconds, events, events[1:]))


def in_graph(run: Candidate, sets: int, effort: Effort) -> Optional[float]:
    """Median seconds of a call inside of a CUDA graph that goes through all sets;
    None if the calls cannot be captured."""
    calls = sets * max(1, GRAPH_CALLS // sets)
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        each = warm_up(run, sets)
        try:
            with torch.cuda.graph(graph, stream=stream):
                for call in range(calls):
                    run(call % sets)
        except RuntimeError:  # a call that waits for the GPU ends the capture
            torch.cuda.synchronize()
            return None
    wake_up(graph.replay)
    samples: List[float] = []
    for _ in range(effort.repetitions(each * calls) + 2):
        begin, end = _event(), _event()
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        samples.append(_seconds(begin, end) / calls)
    return statistics.median(samples[2:])


def host_time(run: Candidate, sets: int, effort: Effort) -> float:
    """Median seconds that a call keeps the host, the GPU running behind.

    Meant for calls that the GPU is done with sooner than the host is, so that
    the queue never fills.
    """
    warm_up(run, sets)
    burst, samples = 50, []
    for _ in range(effort.most):
        began = time.perf_counter()
        for call in range(burst):
            run(call % sets)
        samples.append((time.perf_counter() - began) / burst)
        torch.cuda.synchronize()
    return statistics.median(samples)


def _best(run: Callable[[], object], repetitions: int = 10) -> float:
    run()
    samples = []
    for _ in range(repetitions):
        begin, end = _event(), _event()
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        samples.append(_seconds(begin, end))
    return min(samples)


def measure_gpu(device: torch.device) -> Machine:
    """Bytes/s of a copy within the GPU's memory (read and written) and flop/s of
    a bf16 matrix product of torch."""
    source = torch.ones(1 << 28, device=device)
    target = torch.empty_like(source)
    copy = 2 * source.nbytes / _best(lambda: target.copy_(source))
    del source, target
    size = 8192
    left = torch.randn(size, size, device=device).bfloat16()
    right = torch.randn(size, size, device=device).bfloat16()
    return Machine(1, copy, 2 * size**3 / _best(lambda: left @ right))
