"""A plan for people to read: a table of its launches, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tinygrad_norm.plan.recorder import Step, View
from tinygrad_norm.plan.trees import leaves
from tinygrad_norm.tables import format_table, plural

if TYPE_CHECKING:
    from tinygrad_norm.plan.plan import Call, Plan

_SHOWN = 3
"""How many shapes of a launch a line has."""


def name_of(step: Step) -> str:
    """What a launch calls: a kernel or a function of NumPy's."""
    run: Any = getattr(step.run, "run", step.run)
    return str(getattr(getattr(run, "serial", run), "__name__", type(run).__name__)).strip("_")


def table(plan: Plan) -> str:
    """A line for each launch: its module's path, what it calls, shapes, bytes, and the time where it is known.

    Of what depends on parameters alone it says "once": a replay leaves it out unless these have changed. What is
    "with 34" is part of that launch, whose time is that of all.
    """
    timed = plan.seconds is not None
    once = {*plan.settled.steps}
    rows = [["", "module", "launch", "", "arrays", "bytes", *["µs"] * timed]]
    for number, step in enumerate(plan.steps):
        views = {id(each): each for each in leaves((step.arguments, step.results)) if isinstance(each, View)}
        shapes = [str(each.shape) for each in views.values()]
        more = [f"and {len(shapes) - _SHOWN} more"] * (len(shapes) > _SHOWN)
        size = sum({id(each.buffer): each.buffer.nbytes for each in views.values()}.values())
        seconds = [f"{1e6 * plan.seconds[number]:.1f}"] if plan.seconds else []
        first = plan.joined.get(number, [number])[0]
        how = "once" if number in once else f"with {first}" if first < number else ""
        arrays = " ".join([*shapes[:_SHOWN], *more])
        rows.append([str(number), step.scope, name_of(step), how, arrays, f"{size:,}", *seconds])
    return f"{summary(plan)}\n{format_table(rows, '><<<<>')}"


def summary(plan: Plan) -> str:
    """One line: how many launches, and how much memory."""
    head = f"plan of {plural(len(plan.steps), 'launch', 'launches')} in {plan.memory():,} bytes of its own"
    kept = plan.memory_of_parameters()
    return head + (f", of which {kept:,} hold what depends on parameters alone" if kept else "")


def timed(calls: Iterable[Call], clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Make calls, and return the seconds that each took."""
    seconds = []
    for run, arguments in calls:
        start = clock()
        run(*arguments)
        seconds.append(clock() - start)
    return seconds
