"""Peak memory of a training step, ours and PyTorch's, each in a process of its own."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks import targets
from benchmarks.contenders import CAPTURED, OURS, our_tiny_step, our_training, torch_tiny_step, torch_training
from benchmarks.nets import BATCH, NETS
from benchmarks.options import Options
from benchmarks.report import Report, progress
from benchmarks.timing import Maker

T = TypeVar("T")

PROCESS = Path("/proc/self")
DEFINITION = f"""\
The most memory that a process holds (resident) during its second and third step of batch {BATCH}, less what it holds \
before it makes net and batch, once libraries, threads and a step of a tiny net are there. So weights, gradients, \
Adam's moments, the batch, activations and workspace count. PyTorch has its fused Adam, and of its layouts the one \
with the least memory counts. Captured steps are replays alone: what recording and trials hold is gone."""


def run(report: Report, options: Options) -> None:
    """Compare the nets' peak memory, and judge it."""
    report.say(f"## Peak memory of a training step\n\n{DEFINITION}")
    if not (PROCESS / "clear_refs").exists():
        report.say("Not measured: it is read from /proc, which this system lacks.")
        return
    rows = []
    for name in options.nets:
        title = f"{NETS[name].title}, peak memory"
        progress(title)
        ours = in_new_process(partial(peak, partial(our_training, name), our_tiny_step))
        theirs = {
            layout: in_new_process(
                partial(peak, partial(torch_training, name, channels_last=last, fused=True), torch_tiny_step)
            )
            for layout, last in (("default", False), ("channels-last", True))
            if not (last and name == "mlp")
        }
        captured = in_new_process(partial(peak, partial(our_training, name, captured=True), our_tiny_step))
        layout = min(theirs, key=lambda layout: theirs[layout])
        verdict = report.judge(title, ours / theirs[layout], targets.MEMORY[name])
        replayed = report.judge(f"{title}, captured over eager", captured / ours, targets.CAPTURED_MEMORY)
        cells = [f"{ours:.1f}", f"{theirs[layout]:.1f}", layout, *verdict.row()[1:]]
        rows.append([title, *cells, f"{captured:.1f}", *replayed.row()[1:]])
    header = [OURS, "PyTorch", "layout", "ratio", "target", "", CAPTURED, "over eager", "target", ""]
    report.table(["MiB", *header], rows)


def in_new_process(function: Callable[[], T]) -> T:
    """What the function returns in a process that has done nothing else."""
    deaf = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), signal.signal, deaf) as pool:
        return pool.submit(function).result()


def peak(make: Maker, make_tiny: Maker) -> float:
    """MiB that the making and the running of a step add to this process at most."""
    make_tiny()()
    gc.collect()
    before = held("VmRSS")
    step = make()
    step()
    forget_peak()
    step()
    step()
    return held("VmHWM") - before


def forget_peak() -> None:
    """Have the system count the most memory held from now on."""
    (PROCESS / "clear_refs").write_text("5")


def held(field: str) -> float:
    """MiB of resident memory: now (VmRSS) or at most (VmHWM)."""
    lines = (PROCESS / "status").read_text().splitlines()
    (kibibytes,) = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(kibibytes) / 1024
