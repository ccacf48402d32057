"""Timing of calls of compiled programs."""

from __future__ import annotations

import sys
import time
from typing import Any, Callable, Dict, Mapping

from . import _core

#: Rounds in which all have a turn, and about how long a turn is.
_ROUNDS = 5
_TURN_SECONDS = 0.02

#: One that takes so many times longer than the fastest needs no second look.
_HOPELESS = 4

#: Calls in a CUDA graph, if they are short: what a replay costs is spread.
_GRAPH_CALLS = 8
_SHORT = 1e-3

Call = Callable[[], Any]


def least_seconds(calls: Mapping[str, Call], like: Any) -> Dict[str, float]:
    """Seconds of a call of each: the least of several turns, since what else the
    machine does only adds to it.

    Args:
      calls: by name; each has been called before.
      like: an array they work on. On a GPU its framework's current stream is
        timed; with torch a CUDA graph of the calls, so that short ones are not
        hidden by what they cost the host.
    """
    turns = {name: _turn(call, like) for name, call in calls.items()}
    least = {name: turn(1) for name, turn in turns.items()}
    for _ in range(_ROUNDS):
        for name, turn in turns.items():
            if least[name] <= _HOPELESS * min(least.values()):
                count = max(1, int(_TURN_SECONDS / least[name]))
                least[name] = min(least[name], turn(count) / count)
    return least


def _turn(call: Call, like: Any) -> Callable[[int], float]:
    """A function that makes so many calls and returns the seconds they took."""
    described = _core.describe(like)
    if described is not None and described[0] == "torch" and described[3] != "cpu":
        return _turn_of_torch(call, like)

    def turn(count: int) -> float:
        _core.synchronize(like)
        began = time.perf_counter()
        for _ in range(count):
            call()
        _core.synchronize(like)
        return time.perf_counter() - began

    return turn


def _turn_of_torch(call: Call, like: Any) -> Callable[[int], float]:
    cuda = sys.modules["torch"].cuda

    def timed(run: Call, count: int) -> float:
        with cuda.device(like.device):
            begin, end = (cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(count):
                run()
            end.record()
            end.synchronize()
            return float(begin.elapsed_time(end)) / 1e3

    # The first one may have found a GPU that slept.
    if timed(call, 1) > _SHORT and timed(call, 1) > _SHORT:
        return lambda count: timed(call, count)
    graph = cuda.CUDAGraph()
    with cuda.device(like.device), cuda.graph(graph):
        for _ in range(_GRAPH_CALLS):
            call()

    def turn(count: int) -> float:
        replays = -(-count // _GRAPH_CALLS)
        return timed(graph.replay, replays) * count / (replays * _GRAPH_CALLS)

    return turn
