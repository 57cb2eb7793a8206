"""Times contenders in turn, so that a drift of the machine's speed meets all of them alike.

Each has a process of its own, which sleeps while the others run, and works for a while untimed when its turn comes:
threads that spin after their work, as PyTorch's and BLAS's do, do not weigh on whoever comes next.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from multiprocessing.connection import Connection
from typing import NamedTuple, Self

Maker = Callable[[], Callable[[], object]]
"""Makes, in the contender's process, what is timed there; a function that can be imported, or a partial of one."""

LONG_MS = 500.0
"""A call this long needs no untimed one before it: waking up is a small part of it."""
WAKE_MS = 50.0
MARGIN = 1.25
"""A rival whose best of two rounds is this much slower than the fastest's takes no further part."""


class Timing(NamedTuple):
    """Milliseconds per call, in each round."""

    rounds: tuple[float, ...]

    @property
    def least(self) -> float:
        """The least."""
        return min(self.rounds)

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """The tenth and the ninetieth percentile."""
        return spread(self.rounds)


def spread(values: Collection[float]) -> tuple[float, float]:
    """The tenth and the ninetieth percentile of a few values, between them where need be."""
    if len(values) == 1:
        (only,) = values
        return only, only
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return tenths[0], tenths[-1]


class Team:
    """Contenders by name, each in a process of its own, which stays for one measurement after the other.

    Args:
        turn_ms: how long a contender works in its turn, untimed and then timed; at least one call.
    """

    def __init__(self, turn_ms: float = 100.0) -> None:
        self._turn_ms = turn_ms
        self._workers: dict[str, _Worker] = {}

    def time(
        self,
        makers: Mapping[str, Maker],
        seconds: float = 1.0,
        rounds: int | None = None,
        rivals: Collection[str] = (),
        least: int = 3,
    ) -> dict[str, Timing]:
        """Time the contenders in turn, a round after the other.

        Each makes the same number of calls in every round.

        Args:
            makers: what each contender runs.
            seconds: how long the rounds may take, where their number is not given; `least` rounds are taken anyway.
            rounds: how many.
            rivals: those of which only the fastest counts; slow ones stop after two rounds.
            least: of rounds.
        """
        workers = {name: self._worker(name) for name in makers}
        for name, make in makers.items():  # all begin before the first is waited for
            workers[name].send(make)
        for worker in workers.values():
            worker.receive()
        began = time.perf_counter()
        taken = {name: [worker.first_turn()] for name, worker in workers.items()}
        playing, done = list(makers), 1
        while done < (rounds or least) or (rounds is None and time.perf_counter() - began < seconds):
            for name in playing:
                taken[name].append(workers[name].turn())
            done += 1
            limit = MARGIN * min((min(taken[name]) for name in rivals), default=0)
            playing = [name for name in playing if name not in rivals or min(taken[name]) <= limit]
        return {name: Timing(tuple(times)) for name, times in taken.items()}

    def _worker(self, name: str) -> _Worker:
        if name not in self._workers:
            self._workers[name] = _Worker(name, self._turn_ms)
        return self._workers[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers.values():
            worker.close()


class _Worker:
    """A contender's process, seen from the one that asks."""

    def __init__(self, name: str, turn_ms: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._name, self._turn_ms = name, turn_ms
        self._calls = self._untimed = 0
        self._line, line = context.Pipe()
        self._process = context.Process(target=_serve, args=(line,), daemon=True)
        self._process.start()
        line.close()  # so that a contender that dies is noticed

    def send(self, order: Maker | tuple[int, int]) -> None:
        """Have it make what it runs, or run it so many times untimed and so many times timed."""
        self._line.send(order)

    def receive(self) -> float:
        """Wait for the milliseconds per call.

        Raises:
            RuntimeError: it failed.
        """
        try:
            answer = self._line.recv()
        except EOFError:
            answer = "its process ended"
        if isinstance(answer, str):
            raise RuntimeError(f"{self._name}: {answer}")
        taken: float = answer
        return taken

    def first_turn(self) -> float:
        """Warm up, see how many calls make a turn, and take one."""
        self._untimed, self._calls = 0, 1
        self.turn()
        one = self.turn()
        if one > self._turn_ms:
            self._untimed = int(one < LONG_MS)
            return one
        self._untimed = self._calls = math.ceil(self._turn_ms / 10 / one)
        self._untimed = self._calls = max(1, round(self._turn_ms / self.turn()))
        return self.turn()

    def turn(self) -> float:
        """Milliseconds per call."""
        self.send((self._untimed, self._calls))
        return self.receive()

    def close(self) -> None:
        """End the process."""
        self._line.close()
        self._process.terminate()
        self._process.join()


def _serve(line: Connection) -> None:
    """Make and run what is asked for until the line is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    run = _nothing
    with contextlib.suppress(EOFError, OSError):
        while True:
            order = line.recv()
            try:
                if callable(order):
                    run = _nothing  # what was run before makes room
                    run = order()
                    order = (0, 0)
                line.send(_milliseconds(run, *order))
            except Exception:
                line.send(traceback.format_exc())


def _nothing() -> None:
    pass


def _milliseconds(run: Callable[[], object], untimed: int, calls: int) -> float:
    """How long one of so many calls takes, once the processor is awake and the other contenders' threads are asleep."""
    awake = time.perf_counter() + WAKE_MS / 1e3
    for _ in range(untimed):
        run()
    while time.perf_counter() < awake:
        pass
    started = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - started) * 1e3 / max(calls, 1)
