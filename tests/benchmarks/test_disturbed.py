"""What is measured while something else runs."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import nullcontext
from functools import partial

from benchmarks import disturbed
from benchmarks.options import Options
from benchmarks.report import Report
from benchmarks.timing import Timing


def nap():
    return partial(time.sleep, 1e-4)


def test_each_contender_has_several_processes():
    found = disturbed.in_processes({"a": nap}, 2, 0.0, Options([]))
    assert [len(timing.rounds) for timing in found["a"]] == [3, 3]


def test_another_process_runs_only_inside():
    with disturbed.another_process():
        (process,) = multiprocessing.active_children()
        before = cpu_seconds(process.pid)
        time.sleep(0.2)
        assert cpu_seconds(process.pid) > before
    assert not multiprocessing.active_children()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[11])


def test_ours_is_compared_with_the_best_form_and_with_a_quiet_machine(monkeypatch):
    """Ours takes 1 ms, 3 while busy; PyTorch's forms 30 and 6."""
    taken = {"ours": 0.001}

    def busy():
        taken["ours"] = 0.003
        return nullcontext()

    monkeypatch.setattr(disturbed, "another_process", busy)
    monkeypatch.setattr(disturbed, "our_training", lambda name: taken["ours"])
    report = Report()
    monkeypatch.setattr(disturbed, "training_forms", lambda name: {"slow": 0.030, "fast": 0.006})
    monkeypatch.setattr(disturbed, "_best", lambda forms, options: min(forms, key=forms.get))
    monkeypatch.setattr(disturbed, "in_processes", timed)
    disturbed.busy(report, Options(["mlp"]))
    over_pytorch, over_quiet = report.verdicts
    assert (over_pytorch.value, over_pytorch.target) == (0.5, 0.6)
    assert (over_quiet.value, over_quiet.target) == (3.0, 1.5)


def timed(makers, count, seconds, options):
    times = {name: make() if callable(make) else make for name, make in makers.items()}
    return {name: [Timing((1e3 * time,))] * count for name, time in times.items()}
