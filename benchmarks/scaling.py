"""How time and memory grow with batch and image, what a second thread gives, and how long a first step takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks import targets
from benchmarks.contenders import CAPTURED, our_tiny_step, our_training
from benchmarks.memory import forget_peak, held, in_new_process
from benchmarks.nets import BATCH, NETS
from benchmarks.options import Options
from benchmarks.report import Report, milliseconds, progress, ratio
from benchmarks.timing import Maker, Team

BATCHES = (1, 4, 16, 64, 256, 512)
PIXELS = (28, 56, 112, 224)
ENOUGH_SECONDS = 0.5
SHORT_MS = 5.0
"""A step from which on a second thread has to pay."""
FIRST_STEP = """
import time
from benchmarks.contenders import our_training
step = our_training("resnet18")
started = time.perf_counter()
step()
print(time.perf_counter() - started)
"""


def growth(report: Report, options: Options) -> None:
    """Time and memory of a step, from one size to the next."""
    report.say("## Growth of a training step\n\nEach in a process of its own; the least time, the most memory.")
    batches = {size: partial(our_training, "baseline_cnn", size) for size in BATCHES}
    grow(report, "BaselineCNN, batch", batches, [float(size) for size in BATCHES])
    images = {f"{side}×{side}": partial(our_training, "resnet18", 2, side) for side in PIXELS}
    grow(report, "ResNet18, batch 2, pixels", images, [float(side**2) for side in PIXELS])


def grow(report: Report, title: str, makers: Mapping[Any, Maker], work: list[float]) -> None:
    """Measure the sizes, and judge the steepest step from one to the next by proportion to the work."""
    progress(title)
    found = [in_new_process(partial(time_and_peak, make)) for make in makers.values()]
    units = [(least / size, memory / size) for (least, memory), size in zip(found, work, strict=True)]
    rows = [
        [str(size), milliseconds(least), f"{memory:.1f}", f"{least / amount / (found[0][0] / work[0]):.2f}"]
        for size, (least, memory), amount in zip(makers, found, work, strict=True)
    ]
    report.table([title, "ms", "MiB", "time per unit, of the first"], rows)
    for column, what in enumerate(("time", "memory")):
        steepest = max(after[column] / before[column] for before, after in pairwise(units))
        report.judge(f"{title}: {what} over proportion, at the steepest", steepest, targets.GROWTH)


def time_and_peak(make: Maker) -> tuple[float, float]:
    """The least milliseconds of a step after the first, and the MiB at most, less those before net and batch."""
    our_tiny_step()()
    before = held("VmRSS")
    step = make()
    step()
    forget_peak()
    times: list[float] = []
    while len(times) < 2 or sum(times) < ENOUGH_SECONDS:
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return min(times) * 1e3, held("VmHWM") - before


def threads(report: Report, options: Options) -> None:
    """Two threads over one, for a training step of each net."""
    report.say(f"## Two threads over one: a training step, batch {BATCH}")
    if (os.cpu_count() or 1) < 2:
        report.say("Not measured: this machine has one.")
        return
    rows = []
    for name, captured in [(name, captured) for name in options.nets for captured in (False, True)]:
        title = f"{NETS[name].title}{f', {CAPTURED}' if captured else ''}"
        progress(f"{title}, two threads over one")
        with Team() as team:
            make = partial(our_training, name, captured=captured)
            one, two = team.time(
                {f"{count}": partial(limited, make, count) for count in (1, 2)},
                rounds=options.rounds,
                seconds=4.0,
                least=2,
            ).values()
        faster = ratio(one, two)
        target = targets.CAPTURED_TWO_THREADS if captured else targets.TWO_THREADS
        cells = ["", ""]
        if not captured or one.median > SHORT_MS:
            cells = report.judge(f"{title}, two threads over one", faster.median, target, at_least=True).row()[2:]
        rows.append([title, milliseconds(one.median), milliseconds(two.median), str(faster), *cells])
    report.table(["milliseconds", "one", "two", "times as fast (10–90 %)", "target", ""], rows)


def limited(make: Maker, count: int) -> Callable[[], object]:
    """What `make` makes, run by so many threads of Numba's and of BLAS's."""
    import numba
    from threadpoolctl import threadpool_limits

    run = make()
    run()  # so that every BLAS is loaded
    threadpool_limits(count)
    numba.set_num_threads(count)
    return run


def first_step(report: Report, options: Options) -> None:
    """The first step of ResNet18 with no kernel compiled, and that of the next process."""
    report.say("## First step of ResNet18, in seconds")
    progress("first step of ResNet18, all kernels compiled")
    with tempfile.TemporaryDirectory() as cache:
        seconds = [
            float(
                subprocess.run(
                    [sys.executable, "-c", FIRST_STEP],
                    env={**os.environ, "NUMBA_CACHE_DIR": cache},
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                ).stdout
            )
            for _ in range(2)
        ]
    cold = report.judge("ResNet18, seconds of the first step, kernels compiled", seconds[0], targets.COLD_STEP)
    warm = report.judge("ResNet18, seconds of the first step of the next process", seconds[1], targets.FIRST_STEP)
    report.table(["", "seconds", "target", ""], [cold.row(), warm.row()])
