"""Times contenders in turn, so that a drift of the machine's speed meets all of them alike.

Each has a process of its own, which sleeps while the others run, and works for a while untimed when its turn comes:
threads that spin after their work, as PyTorch's and BLAS's do, do not weigh on whoever comes next.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import NamedTuple, Self

Maker = Callable[[], Callable[[], object]]
"""Makes, in the contender's process, what is timed there; a function that can be imported."""


class Timing(NamedTuple):
    """Milliseconds per call: the least, the median, and the tenth and ninetieth percentile of all rounds."""

    least: float
    median: float
    low: float
    high: float


def interleave(contenders: Mapping[str, Maker], rounds: int = 30, round_ms: float = 150.0) -> dict[str, Timing]:
    """Time each contender for about `round_ms` in every round, in turn; `rounds` rounds after a warm-up.

    Each contender makes the same number of calls in every round, found in the warm-up.
    """
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_Worker(make)) for name, make in contenders.items()}
        calls = {name: _calls_within(worker, round_ms) for name, worker in workers.items()}
        seen: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, worker in workers.items():
                seen[name].append(worker.milliseconds(calls[name]) / calls[name])
        return {name: _summary(times) for name, times in seen.items()}


class _Worker:
    """A contender in a process of its own."""

    def __init__(self, make: Maker) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, line = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, line), daemon=True)
        self._process.start()
        line.close()  # so that a contender that dies is noticed

    def milliseconds(self, calls: int) -> float:
        """How long so many calls take."""
        self._line.send(calls)
        taken: float = self._line.recv()
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._line.close()
        self._process.join()


def _serve(make: Maker, line: Connection) -> None:
    """Run what is asked for until the line is closed."""
    run = make()
    while True:
        try:
            calls = line.recv()
        except EOFError:
            return
        for _ in range(calls):  # until the processor is awake again, and the other contender's threads are asleep
            run()
        started = time.perf_counter()
        for _ in range(calls):
            run()
        line.send((time.perf_counter() - started) * 1e3)


def _calls_within(worker: _Worker, milliseconds: float) -> int:
    worker.milliseconds(5)
    return max(1, round(milliseconds / worker.milliseconds(10) * 10))


def _summary(times: list[float]) -> Timing:
    tenths = statistics.quantiles(times, n=10)
    return Timing(min(times), statistics.median(times), tenths[0], tenths[-1])
