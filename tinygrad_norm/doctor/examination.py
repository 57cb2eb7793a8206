"""The examination of a model's norms: figures of each layer, from one look at all the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.checks import check_type
from tinygrad_norm.doctor.norm_units import UNCENTRED, UNITS, norms, norms_held, rows
from tinygrad_norm.doctor.useless_bias import useless_biases
from tinygrad_norm.dtypes import Array
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.normalization import InstanceNorm, Normalization, RunningNorm
from tinygrad_norm.nn.recalibration import Images, Population, from_the_start, put
from tinygrad_norm.nn.training_mode import frozen_paths, in_inference
from tinygrad_norm.tensor import Tensor


@dataclass
class LayerFigures:
    """What one norm layer was given, and what it made of it.

    The arrays are of shape (C,), in float64. `mean` and `variance` (unbiased) are those of all the data, for layers
    that can keep running ones; they come from calls in which each norm before it used the statistics of its batch, as
    in training.
    """

    path: str
    kind: str
    unit: str  # what has a mean and a variance of its own: a "channel", a "row"
    eps: float
    centred: bool  # whether the mean is subtracted
    by_batch: bool = False  # whether the statistics of the batch normalize in training
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
    broken: int = 0  # channels whose running mean or variance is not finite
    mean_drift: Array | None = None  # |running mean - mean| in standard deviations
    scale_drift: Array | None = None  # the factor between the two standard deviations, less 1
    gap: float | None = None  # between the outputs of training and inference for the same input, over their spread
    useless_biases: list[str] = field(default_factory=list)


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
        known = ", ".join(kind.__name__ for kind in UNITS)
        raise ValueError(
            f"diagnose: the model has no norm layer to look at; it is made of {kinds}, and looked at are {known}"
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
        unit = next(name for kind, name in UNITS.items() if isinstance(layer, kind))
        eps = layer.eps
        if eps is None:  # RMSNorm's, where none was given: that of its dtype
            eps = np.finfo(np.float32 if layer.weight is None else layer.weight.dtype).eps
        self.figures = LayerFigures(path, type(layer).__name__, unit, float(eps), not isinstance(layer, UNCENTRED))
        self.layer: Any = layer
        self.stays_in_inference = stays_in_inference
        self.small = vanishing * float(eps)
        self.spared = False  # in this batch
        self.gap = _Gap()
        self.population: Population | None = None
        if isinstance(layer, RunningNorm):
            self.population = (Images if isinstance(layer, InstanceNorm) else Population)(layer, path)
            self.figures.frozen = layer.frozen or stays_in_inference

    def attend(self, stack: ExitStack) -> None:
        """Put the layer in training, unless it is frozen, and look at its calls, until the stack is left."""
        self.spared = False
        put(stack, self.layer, "training", not self.stays_in_inference)
        if isinstance(self.layer, RunningNorm):
            self.figures.by_batch = self.layer.uses_batch_statistics()
        stack.enter_context(self.layer.register_forward_pre_hook(self.before))
        stack.enter_context(self.layer.register_forward_hook(self.after))

    def before(self, layer: Any, args: tuple[Any, ...]) -> None:
        """Spare the layer one value, which training refuses."""
        if self.figures.by_batch and rows(layer, np.asarray(args[0])).shape[1] == 1:
            layer.training, self.spared = False, True

    def after(self, layer: Any, args: tuple[Any, ...], output: Tensor) -> None:
        """Take in one call."""
        figures, values = self.figures, np.asarray(args[0], np.float64)
        units = rows(layer, values)
        size = units.shape[1]
        figures.calls += 1
        figures.values = max(figures.values, size)
        figures.fewest = min(figures.fewest or size, size)
        if self.population is not None and (size > 1 or figures.unit == "channel"):
            self.population.add(values)
        if figures.unit != "channel" and size > 1:  # a channel's variance is taken over all batches
            variances = units.var(axis=1) if figures.centred else np.square(units).mean(axis=1)
            figures.units += len(units)
            figures.vanishing += int((variances < self.small).sum())
        if figures.by_batch and layer.running_mean is not None:
            training, layer.training = layer.training, False
            self.gap.add(rows(layer, output.raw), rows(layer, layer.forward(*args).raw))
            layer.training = training

    def finish(self) -> LayerFigures:
        """Return everything there is to say of the layer."""
        figures, layer, population = self.figures, self.layer, self.population
        if layer.weight is not None:
            figures.scales = np.abs(layer.weight.raw.astype(np.float64))
        if population is None:
            return figures
        if population.count > 1 or (population.count and figures.unit == "image channel"):
            figures.mean, figures.variance = population.mean, population.variance()
            if figures.unit == "channel":
                figures.units = figures.variance.size
                figures.vanishing = int((figures.variance < self.small).sum())
            if layer.running_mean is not None:
                figures.mean_drift, figures.scale_drift = _drift(layer, figures.mean, figures.variance)
        if layer.running_mean is not None and figures.calls:
            figures.batches_tracked = layer.num_batches_tracked.item()
            figures.gap = self.gap.share
            finite = np.isfinite(layer.running_mean.raw) & np.isfinite(layer.running_var.raw)
            figures.broken = finite.size - int(finite.sum())
        return figures


def _drift(layer: RunningNorm, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return how far running statistics are from these, in mean and in scale, as the layer feels it, eps included."""
    running_mean, running_var = [buffer.raw.astype(np.float64) for buffer in (layer.running_mean, layer.running_var)]
    with np.errstate(all="ignore"):  # statistics that are NaN, or 0 with an eps of 0, drift by NaN or infinity
        std, running_std = np.sqrt(variance + layer.eps), np.sqrt(running_var + layer.eps)
        factor = running_std / std
        return np.abs(running_mean - mean) / std, np.maximum(factor, 1 / factor) - 1
