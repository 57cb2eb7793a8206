"""The examination of a model's norms: figures of each layer, from one look at all the data."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.checks import check_type
from tinygrad_norm.doctor.norm_units import norms, norms_held, rows, unit_of, values_sharing
from tinygrad_norm.doctor.useless_bias import useless_biases
from tinygrad_norm.dtypes import Array
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn.containers import takes_condition
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.normalization import InstanceNorm, Normalization, RunningNorm
from tinygrad_norm.nn.norms.masked import Masked
from tinygrad_norm.nn.recalibration import Images, Population, from_the_start, put
from tinygrad_norm.nn.training_mode import frozen_paths, in_inference
from tinygrad_norm.tensor import Tensor


@dataclass
class LayerFigures:
    """What one norm layer was given, and what it made of it.

    The arrays are of shape (C,), in float64. `mean` and `variance` (unbiased) are those of all the data, for layers
    that can keep running statistics; they come from calls in which each norm before it used the statistics of its
    batch, as in training. Running statistics of another kind are compared with their averages over the batches.
    """

    path: str
    kind: str
    unit: str  # what has a mean and a variance of its own: a "channel", a "row"; "" if nothing has
    eps: float | None
    centred: bool  # whether its variance is measured, rather than the mean square
    by_batch: bool = False  # whether channels are normalized by what the layer is given, in training
    frozen: bool = False  # by its switch, or by an `eval()` of its own while others train
    batches_tracked: int | None = None
    calls: int = 0
    values: int = 0  # per unit, in the largest batch
    fewest: int = 0  # per unit, in the smallest
    units: int = 0
    vanishing: int = 0  # units whose variance (mean square, if not centred) is far under eps
    scales: Array | None = None  # |weight|
    mean: Array | None = None
    variance: Array | None = None
    broken: int = 0  # channels of which a running statistic is not finite
    broken_statistics: list[str] = field(default_factory=list)
    keeps_variance: bool = True  # and the mean, as running statistics, rather than others
    mean_drift: Array | None = None  # |running mean - mean| in standard deviations
    scale_drift: Array | None = None  # the factor between the two standard deviations, less 1
    gap: float | None = None  # between the outputs of training and inference for the same input, over their spread
    useless_biases: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # checks that were not made, and why


@dataclass
class Examination:
    """The figures of each norm layer, in the order of the modules, and of the model's output."""

    layers: list[LayerFigures]
    batches: int
    examples: int
    output_gap: float  # as a layer's
    changed: float | None  # the share of predictions that differ between training and inference; None without classes


def examine(model: Module, loader: Iterable[Any], vanishing: float) -> Examination:
    """Call the model with each batch twice, its norms once as in inference and once as in training; count and compare.

    All else is as in inference both times, so that only the norms differ; a norm that is in inference while other parts
    train is so both times. Afterwards the model, the random state and the loader's position are as before.

    Args:
        model: is called with each batch.
        loader: batches: arrays, or tuples that begin with the array of inputs.
        vanishing: how small a variance is counted as vanishing, as a share of eps.

    Raises:
        TypeError: the model is no Module, or returns no tensor; the loader is one array.
        ValueError: the model has no norm layer, or the loader no batch.
    """
    layers, frozen = norms(model), frozen_paths(model)
    if isinstance(loader, np.ndarray | Tensor) or not isinstance(loader, Iterable):
        given = f"one {type(loader).__name__}; a list of one array is one batch"
        raise TypeError(f"diagnose: loader is a source of batches, got {given}")
    if not layers:
        kinds = ", ".join(dict.fromkeys(type(module).__name__ for module in model.modules()))
        raise ValueError(
            f"diagnose: the model has no norm layer to look at; it is made of {kinds}, none of which is an "
            "nn.normalization.Normalization"
        )
    exams = [_Exam(layer, path, vanishing, path in frozen) for path, layer in layers]
    predictions, batches, examples, biases = _Predictions(), 0, 0, None
    with _left_as_it_was(model), no_grad():
        for batch in from_the_start(loader):
            inputs = Tensor(batch[0] if isinstance(batch, tuple | list) else batch)
            if not inputs.size:
                continue
            inference = _output(model, inputs)
            with ExitStack() as training:
                for exam in exams:
                    exam.attend(training)
                predictions.add(_output(model, inputs), inference)
            if biases is None and not any(exam.spared for exam in exams):
                biases = useless_biases(model, inputs, frozen)
            batches, examples = batches + 1, examples + len(inputs.raw)
    if not batches:
        raise ValueError("diagnose: the loader gave no batch; a generator that was used up gives none, a list would")
    found = [exam.finish() for exam in exams]
    for figures in found:
        figures.useless_biases = [bias for path, bias in biases or () if path == figures.path]
    return Examination(found, batches, examples, predictions.share, predictions.changed)


def _output(model: Module, inputs: Tensor) -> Array:
    """Return what the model predicts: its output, or the first of several."""
    output = model(inputs)
    output = output[0] if isinstance(output, tuple | list) else output
    check_type("diagnose: the model's output", output, Tensor, "a Tensor, or several")
    return np.atleast_1d(output.raw)


@contextmanager
def _left_as_it_was(model: Module) -> Iterator[None]:
    """Put the model in inference, its norms held; afterwards modes, buffers and random state are as before."""
    with in_inference(model), norms_held(model), ExitStack() as stack:
        stack.callback(random.load_state_dict, random.state_dict())
        for buffer in model.buffers():
            put(stack, buffer, "raw", buffer.raw.copy())
        yield


class _Gap:
    """How far one output is from another, over the spread of the first; both (units, values)."""

    def __init__(self) -> None:
        self.squares = self.spread = 0.0

    def add(self, training: Array, inference: Array) -> None:
        """Take in one batch."""
        training = training.astype(np.float64)
        with np.errstate(invalid="ignore"):  # of infinities
            self.squares += float(np.square(training - inference).sum())
            self.spread += float(np.square(training - training.mean(axis=1, keepdims=True)).sum())

    @property
    def share(self) -> float:
        """The root mean square of the difference over the standard deviation; infinity where one is not finite."""
        if not self.squares:
            return 0.0
        if not math.isfinite(self.squares + self.spread):
            return math.inf
        return math.sqrt(self.squares / self.spread) if self.spread else math.inf


class _Predictions(_Gap):
    """The outputs of the model in training and in inference, compared."""

    labels = differing = 0

    def add(self, training: Array, inference: Array) -> None:
        """Take in one batch."""
        super().add(*[np.reshape(output, (len(output), -1)).T for output in (training, inference)])
        if training.ndim > 1 and training.shape[1] > 1:
            differ = training.argmax(axis=1) != inference.argmax(axis=1)
            differ |= ~(np.isfinite(training) & np.isfinite(inference)).all(axis=1)  # argmax would find the first NaN
            self.labels += differ.size
            self.differing += int(differ.sum())

    @property
    def changed(self) -> float | None:
        """The share of labels that differ, where the second axis is one of classes."""
        return self.differing / self.labels if self.labels else None


class _Exam:
    """The figures of one layer, call by call."""

    def __init__(self, layer: Normalization, path: str, vanishing: float, stays_in_inference: bool) -> None:
        self.layer: Any = layer
        self.unit, eps = unit_of(layer), layer.eps
        if eps is None:  # RMSNorm's, where none was given: that of its dtype
            eps = float(np.finfo(np.float32 if layer.weight is None else layer.weight.dtype).eps)
        self.figures = LayerFigures(path, type(layer).__name__, "", None, centred=True)
        if self.unit is not None:
            self.figures.unit, self.figures.eps = self.unit.name, float(eps)
            self.figures.centred, self.figures.by_batch = not self.unit.squares, self.unit.name == "image channel"
        self.stays_in_inference = stays_in_inference
        self.small = vanishing * eps
        self.spared = self.masked = False  # in this batch; in one of the calls
        self.gap = _Gap()
        self.population: Population | None = None
        self.twin: Any = None
        if isinstance(layer, RunningNorm):
            self.figures.frozen = layer.frozen or stays_in_inference
            self.figures.keeps_variance = layer.keeps_variance
            if self.unit is not None:
                self.population = (Images if isinstance(layer, InstanceNorm) else Population)(layer, path)
            if layer.keeps_statistics and not layer.keeps_variance and layer.inference_moments() is not None:
                self.twin = _twin(layer)

    def attend(self, stack: ExitStack) -> None:
        """Put the layer in training, unless it is frozen, and look at its calls, until the stack is left."""
        self.spared = False
        put(stack, self.layer, "training", not self.stays_in_inference)
        if isinstance(self.layer, RunningNorm):
            self.figures.by_batch = self.layer.uses_batch_statistics()
        vars(self.layer)["forward"] = self.forward  # no hook, as those do not see what is given by name
        stack.callback(vars(self.layer).pop, "forward")

    def forward(self, *args: Any, **options: Any) -> Tensor:
        """Call the layer, and take in the call."""
        call = functools.partial(type(self.layer).forward, self.layer, *args, **options)
        x = np.asarray(args[0] if args else options["x"], np.float64)
        self.masked |= isinstance(self.layer, Masked) and len(args) + len(options) > 1
        most, least = (0, 0) if self.unit is None else values_sharing(self.layer, x)
        if self.figures.by_batch and least == 1:  # which training refuses
            self.layer.training, self.spared = False, True
        output: Tensor = call()
        self.figures.calls += 1
        if self.unit is not None and not self.masked:
            self.figures.values = max(self.figures.values, most)
            self.figures.fewest = min(self.figures.fewest or least, least)
            self.count(x)
        if isinstance(self.layer, RunningNorm) and self.layer.keeps_statistics:
            if self.twin is not None and least != 1 and (self.figures.by_batch or not self.masked):
                type(self.twin).forward(self.twin, *args, **options)
            if self.layer.uses_batch_statistics():
                self.compare(output, call)
        return output

    def count(self, x: Array) -> None:
        """Take in what a call was given."""
        figures, units = self.figures, rows(self.layer, x)
        size = units.shape[1]
        if self.population is not None and (size > 1 or figures.unit != "image channel"):
            last = getattr(self.layer, "channels_last", False)
            self.population.add(np.moveaxis(x, -1, 1) if last else x)
        if figures.unit in COUNTED and size > 1:
            variances = units.var(axis=1) if figures.centred else np.square(units).mean(axis=1)
            figures.units += len(units)
            figures.vanishing += int((variances < self.small).sum())

    def compare(self, output: Tensor, call: Callable[[], Tensor]) -> None:
        """Take in how far the output of training is from that of inference."""
        training, self.layer.training = self.layer.training, False
        self.gap.add(rows(self.layer, output.raw), rows(self.layer, call().raw))
        self.layer.training = training

    def finish(self) -> LayerFigures:
        """Return everything there is to say of the layer."""
        figures, layer, population = self.figures, self.layer, self.population
        figures.left_out = self.left_out()
        if layer.weight is not None and "dead scales" not in figures.left_out:
            figures.scales = np.abs(layer.weight.raw.astype(np.float64))
        if population is not None and not self.masked and population.count > (figures.unit != "image channel"):
            figures.mean, figures.variance = population.mean, population.variance()
            if figures.unit not in COUNTED:
                size = population.variance() if figures.centred else population.mean**2 + population.variance()
                figures.units, figures.vanishing = size.size, int((size < self.small).sum())
        if isinstance(layer, RunningNorm) and layer.keeps_statistics and figures.calls:
            figures.batches_tracked = layer.num_batches_tracked.item()
            figures.gap = self.gap.share
            figures.mean_drift, figures.scale_drift = self.drift()
            finite = {name: _finite_channels(layer, name) for name in layer.begins_with}
            figures.broken_statistics = [name for name, each in finite.items() if not each.all()]
            figures.broken = int((~np.all([*finite.values()], axis=0)).sum())
        return figures

    def drift(self) -> tuple[Array | None, Array | None]:
        """Return how far running statistics are from the data's, in mean and in scale, as the layer feels it."""
        layer, figures = self.layer, self.figures
        running, true = layer.inference_moments(), None
        if self.twin is not None and self.twin.num_batches_tracked.item():
            true = self.twin.inference_moments()
        elif layer.keeps_variance and figures.variance is not None and running is not None:
            centred = "running_mean" not in layer.unread
            true = figures.mean if centred else running[0], np.sqrt(figures.variance + layer.eps)
        if true is None:
            return None, None
        with np.errstate(all="ignore"):  # statistics that are NaN, or 0 with an eps of 0, drift by NaN or infinity
            factor = running[1] / true[1]
            return np.abs(running[0] - true[0]) / true[1], np.maximum(factor, 1 / factor) - 1

    def left_out(self) -> dict[str, str]:
        """Return the checks that are not made of this layer, each with the reason."""
        layer, found = self.layer, dict[str, str]()
        if self.unit is None:
            found |= dict.fromkeys(OF_UNITS, "in which no values share a mean or a variance")
        if self.masked:
            found |= dict.fromkeys(OF_UNITS[:-1], "of whose input a mask leaves a part out")
        if getattr(layer, "learned_eps", None) is not None:
            found["few values"] = "which learns its eps, so that one will do"
        if layer.weight is not None and takes_condition(layer):
            found["dead scales"] = "whose scale a condition tells"
        elif layer.starts.get("weight") == 0:
            found["dead scales"] = "whose weight begins with 0"
        if isinstance(layer, RunningNorm) and layer.keeps_statistics and layer.inference_moments() is None:
            found["drift"] = "whose running statistics are no mean and deviation of each channel"
        elif self.masked and self.twin is not None and not self.figures.by_batch:
            found["drift"] = "which is frozen, and of whose input a mask leaves a part out"
        return found


COUNTED = {"image channel", "group", "pixel", "row"}
"""The units whose variances are counted call by call; a channel's is taken over all batches."""

OF_UNITS = ("vanishing variance", "few values", "short batch", "useless bias")
"""The checks of what values share."""


def _twin(layer: RunningNorm) -> RunningNorm:
    """Return a layer of the same parameters that gets the averages of the batches' statistics as its running ones."""
    twin = copy.copy(layer)
    for name in (*layer.begins_with, "num_batches_tracked"):
        setattr(twin, name, Tensor(getattr(layer, name).raw.copy()))
    twin.reset_running_stats()
    twin.momentum, twin.frozen, twin.refuses_infinity = None, False, False
    twin.use_batch_statistics = twin.update_running_statistics = True
    return twin


def _finite_channels(layer: RunningNorm, name: str) -> Array:
    """Return of which channels a running statistic is finite."""
    finite: Array = np.isfinite(getattr(layer, name).raw).reshape(layer.shape[0], -1).all(axis=1)
    return finite
