"""Training and inference of each net of the zoo, beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

from benchmarks import targets
from benchmarks.contenders import CAPTURED, OURS, inference_forms, our_inference, our_training, training_forms
from benchmarks.contenders import torch_inference as in_torch
from benchmarks.contenders import torch_training as trained_in_torch
from benchmarks.nets import BATCH, NETS
from benchmarks.options import Options
from benchmarks.report import Report, fastest, milliseconds, progress, ratio
from benchmarks.timing import Maker, Team, Timing

JUDGED = ["ratio (10–90 %)", "by minima", "target", ""]
HEADER = ["milliseconds", OURS, "PyTorch", "its fastest form", *JUDGED, CAPTURED, *JUDGED]
COMPILED = "torch.compile"
JAX = "JAX jit"
JAX_NETS = ("mlp", "baseline_cnn", "resnet18", "efficientnet_b0")
ONNX = "onnxruntime"
COMPILING = ["captured over the fastest compiling peer", "target", ""]
LEFT_OUT = "not asked for"


class Measure(NamedTuple):
    """What is timed: ours, PyTorch's eager forms, and what has a column of its own, or why not."""

    title: str
    ours: Maker
    captured: Maker
    forms: dict[str, Maker]
    beside: Mapping[str, Maker | str]
    target: float
    captured_target: float
    compiling_target: float | None
    """Of captured, over the fastest of those beside; None: there is none."""
    seconds: float
    """How long the rounds may take; three are taken anyway."""


def training(report: Report, options: Options) -> None:
    """Time a training step of each net, in new processes for each, as its users have them."""
    report.say(f"## Training: a step of Adam, batch {BATCH}, cross-entropy, float32")
    rows = []
    for name in options.nets:
        compiled = partial(trained_in_torch, name, fused=True, compiled=True) if options.compile else LEFT_OUT
        measure = Measure(
            f"{NETS[name].title}, training step",
            partial(our_training, name),
            partial(our_training, name, captured=True),
            training_forms(name),
            {COMPILED: compiled, JAX: in_jax(name)},
            targets.TRAINING[name],
            targets.CAPTURED_TRAINING[name],
            targets.COMPILED_TRAINING.get(name),
            seconds=8.0,
        )
        with Team() as team:
            rows.append(compare(report, team, measure, options))
    report.table([*HEADER, COMPILED, JAX, *COMPILING], rows)


def inference(report: Report, options: Options) -> None:
    """Time inference of each net, with batch norm and activations folded, for one image and for a batch."""
    report.say("## Inference: logits, batch norm and activations folded, float32")
    rows = []
    with Team() as team:
        for name, size in [(name, size) for name in options.nets for size in (1, BATCH)]:
            measure = Measure(
                f"{NETS[name].title}, inference, batch {size}",
                partial(our_inference, name, size),
                partial(our_inference, name, size, captured=True),
                inference_forms(name, size),
                {ONNX: partial(in_onnxruntime, name, size) if find_spec("onnxruntime") else "not installed"}
                | {COMPILED: partial(in_torch, name, size, compiled=True) if options.compile else LEFT_OUT},
                targets.INFERENCE[name],
                targets.CAPTURED_INFERENCE[name][size > 1],
                targets.COMPILED_INFERENCE[name][size > 1],
                seconds=2.0,
            )
            rows.append(compare(report, team, measure, options))
    report.table([*HEADER, ONNX, COMPILED, *COMPILING], rows)


def in_jax(name: str) -> Maker | str:
    """A training step in JAX, or why there is none."""
    if name not in JAX_NETS:
        return "not written"
    return partial(jax_training, name) if find_spec("jax") else "not installed"


def jax_training(name: str) -> Callable[[], object]:
    """A training step in JAX, which is imported in its own process alone."""
    from benchmarks.jax_peers import jax_training

    return jax_training(name)


def in_onnxruntime(name: str, size: int) -> Callable[[], object]:
    """Inference in onnxruntime, which is imported in its own process alone."""
    from benchmarks.onnx_peers import onnx_inference

    return onnx_inference(name, size)


def compare(report: Report, team: Team, measure: Measure, options: Options) -> list[str]:
    """Time it, tell each contender's times, judge ours over the fastest eager PyTorch; return a row of the summary."""
    progress(measure.title)
    beside = {peer: maker for peer, maker in measure.beside.items() if not isinstance(maker, str)}
    makers = {OURS: measure.ours, CAPTURED: measure.captured, **measure.forms, **beside}
    timings = team.time(makers, measure.seconds, options.rounds, rivals=measure.forms)
    report.timings(measure.title, timings)
    form = fastest(timings, measure.forms)
    judged = []
    for ours, title, target in (
        (OURS, measure.title, measure.target),
        (CAPTURED, f"{measure.title}, {CAPTURED}", measure.captured_target),
    ):
        found = ratio(timings[ours], timings[form])
        judged.append([str(found), f"{found.least:.2f}", *report.judge(title, found.median, target).row()[2:]])
    return [
        measure.title,
        milliseconds(timings[OURS].median),
        milliseconds(timings[form].median),
        form,
        *judged[0],
        milliseconds(timings[CAPTURED].median),
        *judged[1],
        *[milliseconds(timings[peer].median) if peer in timings else str(why) for peer, why in measure.beside.items()],
        *over_compiling(report, measure, timings, list(beside)),
    ]


def over_compiling(report: Report, measure: Measure, timings: Mapping[str, Timing], peers: list[str]) -> list[str]:
    """Judge captured over the fastest peer that compiles: the cells of a row."""
    if not peers:
        return ["no peer", "", ""]
    found = ratio(timings[CAPTURED], timings[fastest(timings, peers)])
    if measure.compiling_target is None:
        return [str(found), "", ""]
    title = f"{measure.title}, {CAPTURED}, over the fastest that compiles"
    return [str(found), *report.judge(title, found.median, measure.compiling_target).row()[2:]]
