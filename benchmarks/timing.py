"""Times contenders in turn, so that a drift of the machine's speed meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Timing(NamedTuple):
    """Milliseconds per call: the least, the median, and the tenth and ninetieth percentile of all rounds."""

    least: float
    median: float
    low: float
    high: float


def interleave(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 30, round_ms: float = 40.0
) -> dict[str, Timing]:
    """Time each contender for about `round_ms` in every round, in turn; `rounds` rounds after a warm-up.

    Each contender makes the same number of calls in every round, found in the warm-up.
    """
    calls = {name: _calls_within(run, round_ms) for name, run in contenders.items()}
    seen: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            started = time.perf_counter()
            for _ in range(calls[name]):
                run()
            seen[name].append((time.perf_counter() - started) / calls[name] * 1e3)
    return {name: _summary(times) for name, times in seen.items()}


def _calls_within(run: Callable[[], object], milliseconds: float) -> int:
    for _ in range(5):
        run()
    started = time.perf_counter()
    for _ in range(10):
        run()
    each = (time.perf_counter() - started) / 10
    return max(1, round(milliseconds / 1e3 / each))


def _summary(times: list[float]) -> Timing:
    tenths = statistics.quantiles(times, n=10)
    return Timing(min(times), statistics.median(times), tenths[0], tenths[-1])
