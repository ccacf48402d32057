"""Measures rows one after another; a row that fails says why and the next goes on."""

import gc
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional, Tuple

import torch

import omnimoe

from ..measure import Work
from . import measure
from .measure import Candidate, Effort
from .peers import OutOfTime, Peers, time_limit
from .rows import Prepared, Row

#: What torch has the products of two matrices computed by.
LIBRARY = "cuBLAS"
#: Times that it is measured, ours before, between and after.
TURNS = 3


@dataclass
class Figures:
    """Seconds of a call: inside of a CUDA graph (None if it cannot be captured),
    and launched by itself."""

    graph: Optional[float]
    single: float

    @property
    def best(self) -> float:
        return self.single if self.graph is None else self.graph

    @staticmethod
    def median(several: List["Figures"]) -> "Figures":
        graphs = [figures.graph for figures in several if figures.graph is not None]
        complete = len(graphs) == len(several)
        return Figures(
            statistics.median(graphs) if complete else None,
            statistics.median(figures.single for figures in several),
        )


@dataclass
class Result:
    """What was found for a row. `beside` holds the other implementations,
    `notes` why one of them, or the row, has no figure."""

    name: str
    target: Optional[float]
    figures: Optional[Figures] = None
    error: Optional[float] = None
    error_limit: float = 0.0
    schedule: str = ""
    work: Optional[Work] = None
    streamed: Optional[float] = None
    cold: Optional[float] = None
    cached: Optional[float] = None
    beside: Dict[str, Figures] = field(default_factory=dict)
    notes: Dict[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> Optional[float]:
        """Target / measured: 1 or more where the target is met."""
        if self.figures is None or self.target is None:
            return None
        return self.target / self.figures.best

    @property
    def passed(self) -> Optional[bool]:
        """None for a row that only informs and whose result is right."""
        right = self.error is not None and self.error <= self.error_limit
        if self.figures is None or not right:
            return False
        return None if self.ratio is None else self.ratio >= 1


@dataclass
class Session:
    """How to measure: which others to stand beside, and how long the slow
    starters among them (torch.compile, Triton's autotuning) may take in all."""

    effort: Effort
    beside: Tuple[str, ...]
    budget: float
    say: Callable[[str], None]

    def measure(self, row: Row) -> Result:
        """Ours and torch's."""
        result = Result(row.name, row.target)
        try:
            prepared = row.prepare(None)
            self._ours(prepared, result)
        except Exception as error:  # the report names it
            result.notes["omnimoe"] = _first_line(error)
            self.say(f"  failed: {_first_line(error)}")
            self._release()
            if result.figures is None:
                return result
        if prepared.library and result.figures:
            self._library(prepared, result)
        for name in ("torch", "dense"):
            candidate = getattr(prepared, name)
            if candidate and name in self.beside:
                self._other(name, candidate, prepared.sets, result)
        if prepared.compiled and "compile" in self.beside:
            self._slow_starter("torch.compile", prepared.compiled, prepared.sets, result)
        del prepared
        self._release()
        return result

    def measure_peers(self, row: Row, peers: Peers, result: Result) -> None:
        """The published implementations. They come last, since one that reads
        out of bounds ends the process's use of the GPU."""
        if result.figures is None and "omnimoe" in result.notes:
            return
        prepared = row.prepare(peers)
        for name, candidate in prepared.peers.items():
            self._slow_starter(name, candidate, prepared.sets, result)
        del prepared
        self._release()

    # --------------------------------------------------------------------------

    def _ours(self, prepared: Prepared, result: Result) -> None:
        result.work, result.streamed = prepared.work, prepared.streamed
        if prepared.compiles:
            result.cold, result.cached = _first_calls(prepared.ours)
        result.error, result.error_limit = prepared.error(), prepared.error_limit
        result.schedule = prepared.schedule()
        result.figures = self._figures(prepared.ours, prepared.sets)

    def _library(self, prepared: Prepared, result: Result) -> None:
        """Takes turns with the library: the chip's clocks wander by more than the
        two differ, as it warms and runs into its power limit."""
        ours, others = [result.figures], []
        try:
            for _ in range(TURNS):
                others.append(self._figures(prepared.library, prepared.sets))
                ours.append(self._figures(prepared.ours, prepared.sets))
        except Exception as error:
            result.notes[LIBRARY] = _first_line(error)
            return
        finally:
            self._release()
        result.figures = Figures.median(ours)
        result.beside[LIBRARY] = Figures.median(others)
        result.target = result.beside[LIBRARY].best / prepared.library_ratio

    def _figures(self, candidate: Candidate, sets: int) -> Figures:
        single = measure.single_call(candidate, sets, self.effort)
        return Figures(measure.in_graph(candidate, sets, self.effort), single)

    def _other(self, name: str, candidate: Candidate, sets: int, result: Result) -> None:
        try:
            result.beside[name] = self._figures(candidate, sets)
        except Exception as error:
            result.notes[name] = _first_line(error)
        self._release()

    def _slow_starter(self, name: str, candidate: Candidate, sets: int, result: Result) -> None:
        if self.budget <= 0:
            result.notes[name] = "not run: the time for slow starters was spent"
            return
        began = time.monotonic()
        try:
            with time_limit(self.budget):
                candidate(0)
                torch.cuda.synchronize()
        except Exception as error:
            result.notes[name] = _first_line(error)
            if isinstance(error, OutOfTime):
                self.say(f"  {name}: {error}")
            self._release()
            return
        finally:
            self.budget -= time.monotonic() - began
        self._other(name, candidate, sets, result)

    def _release(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"


def _first_calls(ours: Candidate) -> Tuple[float, float]:
    """Seconds of the first call with nothing compiled, then out of the disk
    cache: compiling, loading the kernels, and running once."""
    before = os.environ.get("OMNIMOE_CACHE_DIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OMNIMOE_CACHE_DIR"] = folder
        try:
            seconds: List[float] = []
            for _ in range(2):
                omnimoe.clear_cache(disk=False)
                torch.cuda.synchronize()
                began = time.perf_counter()
                ours(0)
                torch.cuda.synchronize()
                seconds.append(time.perf_counter() - began)
        finally:
            if before is None:
                del os.environ["OMNIMOE_CACHE_DIR"]
            else:
                os.environ["OMNIMOE_CACHE_DIR"] = before
    return seconds[0], seconds[1]
