"""What can be wrong with a norm layer: each check judged from the figures of an examination."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from tinygrad_norm.checks import UP_TO_INFINITY, check_number, check_type
from tinygrad_norm.doctor.examination import Examination, LayerFigures
from tinygrad_norm.doctor.norm_units import norms
from tinygrad_norm.nn.module import Module
from tinygrad_norm.optim import Optimizer
from tinygrad_norm.tables import plural

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

MODEL = "(model)"
"""Stands for the path in what is said of the whole model."""

MORE_VALUES = {
    "channel of a ghost": "Use larger ghosts, or a norm that does not depend on the batch, such as GroupNorm.",
    "channel": "Use larger batches, or a norm that does not depend on them, such as GroupNorm.",
    "image channel": "Use it where the images are larger, or normalize groups of channels with GroupNorm.",
    "group": "Use fewer groups.",
    "pixel": "Use more channels, or a norm that takes the positions too.",
    "row": "Normalize over more features.",
}


@dataclass(frozen=True)
class Thresholds:
    """From where on something is said, and why from there.

    Raises:
        TypeError, ValueError: one is no number, or is negative.

    Example:
        >>> doctor.Thresholds(drift=0.5).drift
        0.5
    """

    drift: float = 0.25
    """The drift of the running mean in standard deviations, and of the running standard deviation as a share of the
    true one. With momentum 0.1 and batches of 32, chance alone gives 0.04, seldom 0.16 in the worst of 500 channels."""
    gap: float = 0.4
    """The gap between a layer's outputs in training and inference, over their spread. Batches of n give √(1.5 / n) by
    chance: 0.31 for 16, the number under which they are called small."""
    changed: float = 0.02
    """The share of predictions that training and inference do not share: as much as a better model would win."""
    dead: float = 0.001
    """|weight|, a thousandth of what it begins with."""
    vanishing: float = 0.1
    """Variance over eps: such a channel leaves the norm with less than a third of the scale that it should have."""
    share: float = 0.1
    """A share of the channels: fewer with drift, a dead scale or no variance are worth a note only."""
    values: float = 16
    """How many values share a mean and a variance: with fewer the mean is off by over a quarter of their spread."""
    serious: float = 4
    """A figure so many times as far beyond a threshold is an error."""

    def __post_init__(self) -> None:
        for field in fields(self):
            check_number(f"Thresholds: {field.name}", getattr(self, field.name), UP_TO_INFINITY)

    def grade(self, figure: float, threshold: float) -> Severity | None:
        """Return how serious a figure is, None if it stays below the threshold; NaN is an error."""
        if figure < threshold:
            return None
        return "warning" if figure < self.serious * threshold else "error"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: with which layer, how serious it is, what was seen, and what to do about it.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1D(32), nn.ReLU(), nn.Linear(32, 10))
        >>> findings = doctor.diagnose(model, data.DataLoader(data.digits("test"), batch_size=71)).findings
        >>> [finding.path for finding in findings if finding.check == "useless bias"]
        ['2']
    """

    path: str
    check: str
    severity: Severity
    seen: str
    advice: str


Verdicts = Iterator[tuple[Severity, str, str]]
"""The severity of each thing that a check finds wrong, what was seen, and what to do about it."""


def _broken_statistics(layer: LayerFigures, limits: Thresholds) -> Verdicts:
    if layer.broken:
        seen = f"{' or '.join(layer.broken_statistics)} is NaN or infinite in {plural(layer.broken, 'channel')}"
        advice = f"Find the batch that was not finite, or the step that diverged; then {_anew(layer)}."
        yield "error", seen, advice


def _anew(layer: LayerFigures) -> str:
    """Return how running statistics are taken anew."""
    if layer.keeps_variance:
        return "call nn.recalibrate(model, loader)"
    return "call its reset_running_stats(), and the model in training, with momentum=None, on each batch"


def _drift(layer: LayerFigures, limits: Thresholds) -> Verdicts:
    if layer.broken or layer.mean_drift is None or layer.scale_drift is None:
        return
    far = np.maximum(layer.mean_drift, layer.scale_drift)  # NaN if one is
    off = ~(far < limits.drift)
    if not off.any():
        return
    seen = (
        f"the running statistics ({layer.batches_tracked:,} batches) are off in {off.sum()} of {off.size} channels: "
        f"the mean by up to {layer.mean_drift.max():.2f} standard deviations, the scale by up to a factor of "
        f"{1 + layer.scale_drift.max():.2f}"
    )
    severity: Severity = "note" if layer.frozen or np.mean(off) < limits.share else "warning"
    if severity == "warning" and np.mean(~(far < limits.serious * limits.drift)) >= limits.share:
        severity = "error"
    if layer.frozen:
        advice = f"Thaw it (frozen = False, train()) and {_anew(layer)}, or let it keep other data's."
    elif not layer.batches_tracked:
        advice = f"Train the model, or {_anew(layer)}: they have never moved."
    else:
        advice = f"C{_anew(layer)[1:]}; while training goes on, a larger momentum follows faster."
    yield severity, seen, advice


def _gap(layer: LayerFigures, limits: Thresholds) -> Verdicts:
    severity = None if layer.broken or layer.gap is None else limits.grade(layer.gap, limits.gap)
    if severity is None:
        return
    seen = f"its outputs in training and in inference differ by {layer.gap:.2f} of their spread"
    if any(_drift(layer, limits)):
        advice = "Cure the drift of its running statistics."
    elif layer.unit == "image channel":
        advice = "Make it with track_running_stats=False: the images differ too much to share one mean and variance."
    else:
        advice = MORE_VALUES.get(layer.unit, "Compare what it computes in training and in inference.")
        if "drift" in layer.left_out:
            advice = f"C{_anew(layer)[1:]}. If that does not close it: {advice}"
    yield severity, seen, advice


def _dead_scales(layer: LayerFigures, limits: Thresholds) -> Verdicts:
    if layer.scales is not None and (dead := int((layer.scales < limits.dead).sum())):
        seen = f"{dead} of {layer.scales.size} scales are dead: |weight| < {limits.dead:g}"
        advice = "Prune what they scale, or set them to 1 again; zeroed on purpose before training, they will grow."
        yield _by_share(dead / layer.scales.size, limits), seen, advice


def _vanishing_variance(layer: LayerFigures, limits: Thresholds) -> Verdicts:
    if layer.vanishing:
        what = "variance" if layer.centred else "mean square"
        seen = f"{layer.vanishing:,} of {layer.units:,} {layer.unit}s have a {what} far under eps = {layer.eps:g}"
        advice = "Look at what feeds it, which hardly varies there; if it is meant to be that small, make eps smaller."
        yield _by_share(layer.vanishing / layer.units, limits), seen, advice


def _by_share(share: float, limits: Thresholds) -> Severity:
    return limits.grade(share, limits.share) or "note"


def _few_values(layer: LayerFigures, limits: Thresholds) -> Verdicts:
    by_chance = layer.unit.startswith("channel")
    if 0 < layer.values < limits.values and (layer.by_batch or not (by_chance or layer.unit == "image channel")):
        severity: Severity = "warning" if by_chance else "note"
        if layer.values * limits.serious < limits.values:
            severity = "error"
        seen = f"at most {layer.values} value{'s' * (layer.values > 1)} per {layer.unit}"
        yield severity, seen, MORE_VALUES[layer.unit]


def _short_batch(layer: LayerFigures, limits: Thresholds) -> Verdicts:
    if not (layer.by_batch and layer.unit.startswith("channel") and layer.fewest < layer.values):
        return
    what, advice = (
        "batch",
        "Leave it out with DataLoader(drop_last=True), or choose a batch size that leaves a larger rest.",
    )
    if layer.unit != "channel":
        what, advice = "ghost", "Choose a batch size that ghost_size divides, and DataLoader(drop_last=True)."
    largest = f"(the largest {layer.values:,})"
    if layer.fewest == 1 and layer.centred:
        yield "error", f"the smallest {what} gives one value per channel {largest}, which training refuses", advice
    elif layer.fewest < limits.values <= layer.values:
        yield "warning", f"the smallest {what} gives {layer.fewest} values per channel {largest}", advice


def _useless_bias(layer: LayerFigures, limits: Thresholds) -> Verdicts:
    for bias in layer.useless_biases:
        seen = f"{bias} goes into it alone, and it takes it out again with the mean"
        yield "note", seen, f"Make the layer of {bias} with bias=False."


CHECKS: dict[str, tuple[str, Callable[[LayerFigures, Thresholds], Verdicts]]] = {
    "broken statistics": ("running statistics that are not finite", _broken_statistics),
    "drift": ("drift of the running statistics", _drift),
    "gap": ("gap between training and inference", _gap),
    "dead scales": ("dead scales", _dead_scales),
    "vanishing variance": ("variances far under eps", _vanishing_variance),
    "few values": ("values per statistic", _few_values),
    "short batch": ("short batches", _short_batch),
    "useless bias": ("useless biases", _useless_bias),
}
"""What is checked of each layer that was called, in words, and by what function."""


def judge(examination: Examination, limits: Thresholds) -> Iterator[Finding]:
    """Yield what is wrong by these figures: with the model, then with each layer."""
    changed, gap = examination.changed, examination.output_gap
    if changed is None:
        severity, seen = limits.grade(gap, limits.gap), f"the outputs differ by {gap:.2f} of their spread"
    else:
        severity, seen = limits.grade(changed, limits.changed), f"{changed:.1%} of the predictions differ"
    if severity:
        advice = "Treat the layers named below, the first one first: what it passes on is what the others get."
        yield Finding(MODEL, "gap", severity, f"{seen} between training and inference", advice)
    for layer in examination.layers:
        if layer.calls:
            for name, (_, check) in CHECKS.items():
                if name not in layer.left_out:
                    yield from (Finding(layer.path, name, *verdict) for verdict in check(layer, limits))
        else:
            yield Finding(layer.path, "unused", "note", "it was never called", "Call it, or take it out of the model.")


def decaying_norms(model: Module, optimizer: Optimizer) -> Iterator[Finding]:
    """Yield a note for each norm layer whose parameters this optimizer lets decay.

    Raises:
        TypeError: the optimizer is none, or the model no Module.
        ValueError: it is another model's.
    """
    layers = norms(model)
    check_type("diagnose: optimizer", optimizer, Optimizer, "an Optimizer")
    groups = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    if groups.keys().isdisjoint(model.parameters()):
        raise ValueError("diagnose: the optimizer holds none of the model's parameters; is it another model's?")
    for path, layer in layers:
        decays: dict[str, Any] = {
            name: groups[parameter]["weight_decay"]
            for name, parameter in layer.named_parameters()
            if parameter in groups and groups[parameter].get("weight_decay")
        }
        if decays:
            seen = f"weight decay {max(decays.values()):g} pulls its {' and '.join(decays)} to 0"
            advice = "Spare the norms: give the optimizer optim.decay_groups(model, weight_decay)."
            yield Finding(path, "weight decay", "note", seen, advice)
