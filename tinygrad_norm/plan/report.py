"""A plan for people to read: a table of its launches, and where its time goes."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from tinygrad_norm.plan.recorder import Step, View, name_of
from tinygrad_norm.plan.trees import leaves
from tinygrad_norm.tables import format_table, plural

if TYPE_CHECKING:
    from tinygrad_norm.plan.plan import Call, Plan

_SHOWN = 3
"""How many shapes of a launch a line has."""


def function_of(step: Step) -> Any:
    """The function that a launch runs; of a norm's kernel, which has many names, the definition that it follows."""
    run: Any = getattr(step.run, "run", step.run)
    run = next((each.compute for each in step.arguments if hasattr(each, "compute")), run)
    run = getattr(run, "serial", run)
    return getattr(run, "py_func", run)


class Launch(NamedTuple):
    """What a table says of a launch.

    Attributes:
        module: the path of the module that ran it.
        name: what it calls.
        how: "once" where it depends on parameters alone, and a replay leaves it out unless these have changed; "with 7"
            where it is part of the launch of that number, whose time is that of all.
        arrays: the shapes of what it is given and makes.
        bytes: of the memory in which they lie.
        seconds: what it took in the last replay that was timed; NaN if none was.
    """

    module: str
    name: str
    how: str
    arrays: str
    bytes: int
    seconds: float


def launches(plan: Plan) -> list[Launch]:
    """What is to be said of each launch of a plan."""
    found, once = [], {*plan.settled.steps}
    for number, (step, seconds) in enumerate(zip(plan.steps, plan.seconds or itertools.repeat(math.nan), strict=False)):
        views = {id(each): each for each in leaves((step.arguments, step.results)) if isinstance(each, View)}
        shapes = [str(each.shape) for each in views.values()]
        more = [f"and {len(shapes) - _SHOWN} more"] * (len(shapes) > _SHOWN)
        size = sum({id(each.buffer): each.buffer.nbytes for each in views.values()}.values())
        first = plan.joined.get(number, [number])[0]
        how = "once" if number in once else f"with {first}" if first < number else ""
        name = name_of(function_of(step))
        found.append(Launch(step.scope, name, how, " ".join([*shapes[:_SHOWN], *more]), size, seconds))
    return found


def table(plan: Plan) -> str:
    """A line for each launch: its module's path, what it calls, shapes, bytes, and the time where it is known."""
    timed = plan.seconds is not None
    rows = [["", "module", "launch", "", "arrays", "bytes", *["µs"] * timed]]
    for number, each in enumerate(launches(plan)):
        seconds = [f"{1e6 * each.seconds:.1f}"] * timed
        rows.append([str(number), each.module, each.name, each.how, each.arrays, f"{each.bytes:,}", *seconds])
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
