"""What a quiet minute in one process does not show: a step with one core busy, and how processes differ."""

from __future__ import annotations

import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from benchmarks import targets
from benchmarks.contenders import OURS, inference_forms, our_inference, our_training, training_forms
from benchmarks.nets import BATCH, NETS
from benchmarks.options import Options
from benchmarks.report import Report, fastest, milliseconds, progress
from benchmarks.timing import Maker, Team, Timing

HEADER = ["milliseconds", "quiet", "busy", "PyTorch, busy", "its fastest form", "ratio", "target", ""]
HEADER += ["busy over quiet", "target", ""]
BUSY_PROCESSES = 3
PROCESSES = 10
SHORT_MS = 5.0
"""A step that takes less is judged by a target of its own: it is over before its threads are awake."""


def busy(report: Report, options: Options) -> None:
    """Time a training step of each net while another process spins on one core, beside PyTorch's best form."""
    report.say(
        f"## One core busy: a training step, batch {BATCH}\n\n"
        f"Another process spins, on no core in particular. Medians of {BUSY_PROCESSES} processes of each contender."
    )
    if (os.cpu_count() or 1) < 2:
        report.say("Not measured: this machine has one.")
        return
    rows = []
    for name in options.nets:
        ours, forms = partial(our_training, name), training_forms(name)
        progress(f"{NETS[name].title}, training step, one core busy")
        quiet = in_processes({OURS: ours}, BUSY_PROCESSES, 1.0, options)[OURS]
        with another_process():
            form = _best(forms, options)
            found = in_processes({OURS: ours, form: forms[form]}, BUSY_PROCESSES, 2.0, options)
        before, after, theirs = (_median(timings) for timings in (quiet, found[OURS], found[form]))
        title = f"{NETS[name].title}, one core busy"
        beside = report.judge(f"{title}: over PyTorch", after / theirs, targets.BUSY)
        allowed = targets.SLOWED if before > SHORT_MS else targets.SLOWED_SHORT
        slowed = report.judge(f"{title}: over a quiet machine", after / before, allowed)
        cells = [milliseconds(value) for value in (before, after, theirs)]
        rows.append([NETS[name].title, *cells, form, *beside.row()[1:], *slowed.row()[1:]])
    report.table(HEADER, rows)


def processes(report: Report, options: Options) -> None:
    """Time what differed from process to process in many of them, ours and PyTorch's best form in turn."""
    report.say(f"## From process to process\n\nThe median of each of {PROCESSES} processes of each contender, sorted.")
    rows = []
    for title, ours, forms in _differing():
        progress(f"{title}, {PROCESSES} processes")
        form = _best(forms, options)
        found = in_processes({OURS: ours, form: forms[form]}, PROCESSES, 0.5, options)
        rows += [[title, name, *_sorted_medians(timings)] for name, timings in found.items()]
    report.table(["milliseconds", "", *map(str, range(1, PROCESSES + 1))], rows)


def in_processes(makers: Mapping[str, Maker], count: int, seconds: float, options: Options) -> dict[str, list[Timing]]:
    """Time the contenders in turn, in `count` new processes of each, one after the other."""
    found: dict[str, list[Timing]] = {name: [] for name in makers}
    for _ in range(count):
        with Team() as team:
            for name, timing in team.time(makers, seconds, options.rounds).items():
                found[name].append(timing)
    return found


@contextmanager
def another_process() -> Iterator[None]:
    """While inside, a process that computes without a pause, on whatever core the system gives it."""
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=_spin, args=(begun.set,), daemon=True)
    process.start()
    begun.wait()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _spin(tell: Callable[[], None]) -> None:
    tell()
    while True:
        pass


def _best(forms: Mapping[str, Maker], options: Options) -> str:
    """The fastest of PyTorch's forms now."""
    if len(forms) == 1:
        return next(iter(forms))
    with Team() as team:
        return fastest(team.time(forms, 0.5, options.rounds, rivals=forms), forms)


def _differing() -> Iterator[tuple[str, Maker, dict[str, Maker]]]:
    """What earlier runs found to differ: a title, ours, and PyTorch's forms."""
    yield f"{NETS['mlp'].title}, one image", partial(our_inference, "mlp", 1), inference_forms("mlp", 1)
    for name in ("baseline_cnn", "resnet18"):
        yield f"{NETS[name].title}, training step", partial(our_training, name), training_forms(name)


def _median(timings: list[Timing]) -> float:
    """The median of the processes' medians."""
    return statistics.median(timing.median for timing in timings)


def _sorted_medians(timings: list[Timing]) -> list[str]:
    return [milliseconds(value) for value in sorted(timing.median for timing in timings)]
