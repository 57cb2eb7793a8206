"""`tinygrad-norm profile --captured`: what a replayed training step costs, launch by launch."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_norm.modes import composed, eager
from tinygrad_norm.plan import Captured
from tinygrad_norm.plan.report import Launch, launches
from tinygrad_norm.tables import format_table, plural

_WARM_UP = 5
"""Calls that are not counted: the first ones record, and run both ways."""


@dataclass(frozen=True)
class Replays:
    """Medians over some steps.

    Args:
        eager, captured: seconds of a step, op by op and replayed.
        launches: in their order, with the seconds of each.
        memory: bytes of the plan's own.
    """

    eager: float
    captured: float
    launches: list[Launch]
    memory: int

    def slowest(self, count: int) -> list[Launch]:
        """The launches that take longest, the longest first."""
        return sorted(self.launches, key=lambda each: -each.seconds)[:count]


def measure_replays(step: Callable[[], Any], repeats: int) -> Replays:
    """Time a step eagerly and as a plan, in turn.

    Raises:
        RuntimeError: it cannot be replayed; says why.
    """
    fast: Captured[[], Any] = Captured(step)
    for _ in range(_WARM_UP):
        fast()
    times: dict[bool, list[float]] = {True: [], False: []}
    runs: list[list[Launch]] = []
    for _ in range(repeats):
        for as_it_is in (True, False):
            with eager(as_it_is):
                began = time.perf_counter()
                fast()
                times[as_it_is].append(time.perf_counter() - began)
        fast.profile()
        assert fast.plan is not None  # or profile had raised
        runs.append(launches(fast.plan))
        memory = fast.plan.memory()
    middle = [
        each[0]._replace(seconds=statistics.median(one.seconds for one in each)) for each in zip(*runs, strict=True)
    ]
    return Replays(statistics.median(times[True]), statistics.median(times[False]), middle, memory)


def print_replays(args: argparse.Namespace, title: str, step: Callable[[], Any]) -> None:
    """Measure, and print a table of the slowest launches, or all figures as JSON."""
    with composed(args.composed):
        found = measure_replays(step, args.repeats)
    if args.json:
        print(json.dumps({"model": args.model, **_figures(found, args.top)}, indent=2))
        return
    print(f"{title}, captured: the median of {plural(args.repeats, 'replay')}\n\n{_describe(found, args.top)}")


def _describe(found: Replays, top: int) -> str:
    whole = sum(each.seconds for each in found.launches)
    rows: list[Sequence[str]] = [("slowest", "launch", "arrays", "ms", "of time")]
    for each in found.slowest(top):
        share = each.seconds / whole
        rows.append((each.module or "-", each.name, each.arrays, f"{1e3 * each.seconds:,.3f}", f"{share:.1%}"))
    return (
        f"{1e3 * found.captured:,.2f} ms a step, {found.captured / found.eager:.2f} of the {1e3 * found.eager:,.2f} "
        f"that it takes op by op\n{plural(len(found.launches), 'launch', 'launches')}, {1e3 * whole:,.2f} ms when each "
        f"is timed, in {found.memory:,} bytes of the plan's own\n\n{format_table(rows, '<<<>>')}"
    )


def _figures(found: Replays, top: int) -> dict[str, Any]:
    return {
        "seconds": {"eager": found.eager, "captured": found.captured},
        "launches": len(found.launches),
        "plan_bytes": found.memory,
        "slowest": [each._asdict() for each in found.slowest(top)],
    }
