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

# A graph has calls for about this long, and at least so many: what a replay itself
# costs, on the GPU and on the host, is spread over them. At most so many, since
# each has to be captured.
GRAPH_SECONDS = 1e-3
LEAST_GRAPH_CALLS, MOST_GRAPH_CALLS = 8, 256


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


def wake_up(run: Callable[[], object], least: float = 0.03, most: float = 0.5) -> None:
    """Keeps the GPU busy until it gets no faster: the clocks of one that was idle,
    as while a program was compiled, take their time to rise."""
    began = time.perf_counter()
    previous = float("inf")
    while (spent := time.perf_counter() - began) < most:
        begin, end = _event(), _event()
        begin.record()
        calls = 0
        while calls == 0 or time.perf_counter() - began < spent + least / 4:
            for _ in range(8):
                run()
            calls += 8
            end.record()
            end.synchronize()
        each = _seconds(begin, end) / calls
        if spent >= least and each > 0.98 * previous:
            return
        previous = each


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
    None if the calls cannot be captured.

    Replays follow each other without waiting, with an event between them. A replay
    of its own, begun on a GPU with nothing to do, would contain what it takes the
    host to launch a graph: where calls are short, or the host has other things to
    do, more than the calls take.
    """
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        wanted = int(GRAPH_SECONDS / max(warm_up(run, sets), 1e-7))
        wanted = max(LEAST_GRAPH_CALLS, min(MOST_GRAPH_CALLS, wanted))
        calls = sets * max(1, wanted // sets)
        try:
            with torch.cuda.graph(graph, stream=stream):
                for call in range(calls):
                    run(call % sets)
        except RuntimeError:  # a call that waits for the GPU ends the capture
            torch.cuda.synchronize()
            return None
    wake_up(graph.replay)
    count = effort.repetitions(_replay_seconds(graph, 2))
    # The first ones give the host its lead.
    lead = 2
    events = [_event() for _ in range(lead + count + 1)]
    events[0].record()
    for event in events[1:]:
        graph.replay()
        event.record()
    torch.cuda.synchronize()
    samples = list(map(_seconds, events, events[1:]))[lead:]
    return statistics.median(samples) / calls


def _replay_seconds(graph: torch.cuda.CUDAGraph, replays: int) -> float:
    begin, end = _event(), _event()
    begin.record()
    for _ in range(replays):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return _seconds(begin, end) / replays


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
