"""Training and inference of each net of the zoo, beside PyTorch."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from benchmarks import targets
from benchmarks.contenders import OURS, inference_forms, jax_training, our_inference, our_training, training_forms
from benchmarks.contenders import torch_inference as in_torch
from benchmarks.contenders import torch_training as trained_in_torch
from benchmarks.nets import BATCH, NETS
from benchmarks.options import Options
from benchmarks.report import Report, fastest, milliseconds, progress, ratio
from benchmarks.timing import Maker, Team

COMPILED = "torch.compile"
JAX = "JAX jit"


class Measure(NamedTuple):
    """One thing that is timed of a net: ours, PyTorch's eager forms, and what has a column of its own, or why not."""

    title: str
    ours: Maker
    forms: dict[str, Maker]
    beside: dict[str, Maker | str]
    target: float
    seconds: float
    """How long the rounds may take; three are taken anyway."""


def measures(name: str, options: Options) -> list[Measure]:
    """What is timed of a net."""
    training = Measure(
        f"training step, batch {BATCH}",
        partial(our_training, name),
        training_forms(name),
        {COMPILED: partial(trained_in_torch, name, fused=True, compiled=True), JAX: jax_training(name)},
        targets.TRAINING[name],
        seconds=8.0,
    )
    inference = [
        Measure(
            f"inference, batch {size}",
            partial(our_inference, name, size),
            inference_forms(name, size),
            {COMPILED: partial(in_torch, name, size, compiled=True), JAX: "—"},
            targets.INFERENCE[name],
            seconds=2.0,
        )
        for size in (1, BATCH)
    ]
    both = [training, *inference]
    if not options.compile:
        both = [measure._replace(beside={**measure.beside, COMPILED: "not asked for"}) for measure in both]
    return both


def run(report: Report, options: Options) -> None:
    """Time the nets, tell each contender's times, and judge ours over the fastest eager PyTorch."""
    rows = []
    report.say("## Nets of the zoo")
    for name in options.models:
        with Team() as team:
            for measure in measures(name, options):
                rows.append(compare(report, team, name, measure, options.rounds))  # noqa: PERF401 # it prints as it goes
    report.say("### All, in milliseconds by medians")
    report.table(
        ["", OURS, "PyTorch", "fastest form", "ratio (10–90 %)", "by minima", "target", "", COMPILED, JAX],
        rows,
    )


def compare(report: Report, team: Team, name: str, measure: Measure, rounds: int | None) -> list[str]:
    """Time one thing of a net and tell it; return a row of the table of all."""
    title = f"{NETS[name].title}, {measure.title}"
    progress(title)
    beside = {peer: maker for peer, maker in measure.beside.items() if not isinstance(maker, str)}
    makers = {OURS: measure.ours, **measure.forms, **beside}
    timings = team.time(makers, measure.seconds, rounds, rivals=measure.forms)
    report.timings(title, timings)
    form = fastest(timings, measure.forms)
    found = ratio(timings[OURS], timings[form])
    verdict = report.judge(title, found.median, measure.target)
    aside = [
        milliseconds(timings[peer].median) if peer in timings else str(why) for peer, why in measure.beside.items()
    ]
    return [
        title,
        milliseconds(timings[OURS].median),
        milliseconds(timings[form].median),
        form,
        str(found),
        f"{found.least:.2f}",
        *verdict.row()[2:],
        *aside,
    ]
