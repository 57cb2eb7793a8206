"""Training, one step at a time: no epochs, no callbacks, and a loss that is no longer finite is a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import models, nn, optim, random
from tinygrad_norm.data import ArrayDataset, DataLoader, digits
from tinygrad_norm.doctor.norm_units import infinity_allowed, norms_held
from tinygrad_norm.dtypes import Array
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.models.norms import NormChoice
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn.training_mode import in_inference, start_training
from tinygrad_norm.plan.captured import capture
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training.metrics import Totals, agreement
from tinygrad_norm.training.step import NotFiniteError, take_step

_LOSS = nn.CrossEntropyLoss()


@dataclass
class Run:
    """What a run measured, one loss and accuracy of the batch for each step whose loss was finite."""

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    diverged: int | None = None
    """The step, from 1, at which the loss was no longer finite."""
    seen: dict[int, Any] = field(default_factory=dict)
    """What was made of the model after some steps."""


def train_steps(
    model: nn.Module,
    optimizer: optim.Optimizer,
    loader: DataLoader,
    steps: int,
    tick: Callable[[], object] = lambda: None,
    enough: Callable[[Run], bool] = lambda run: False,
    at: Mapping[int, Callable[[nn.Module], Any]] = MappingProxyType({}),
) -> Run:
    """Train by cross-entropy for `steps` steps, or until the loss is not finite or what there is is `enough`.

    What `at` holds under a number of steps is called with the model after so many, and what it returns is kept. Parts
    that are in inference while others train stay so.
    """
    run, frozen, step = Run(), list[str](), capture(take_step)
    with infinity_allowed(model):  # a run may diverge
        for number, (inputs, targets) in enumerate(islice(chain.from_iterable(repeat(loader)), steps), 1):
            frozen = start_training(model, frozen)
            loss, accuracy = _measured(step, model, optimizer, inputs, targets)
            tick()
            if not math.isfinite(loss):
                run.diverged = number
                break
            run.losses.append(short(loss))
            run.accuracies.append(short(accuracy))
            if number in at:
                run.seen[number] = at[number](model)
            if enough(run):
                break
    return run


class Hyperparameters(NamedTuple):
    """How a net is trained by SGD with momentum 0.9."""

    batch_size: int
    lr: float
    seed: int
    steps: int


def train_anew(
    hyper: Hyperparameters,
    make: Callable[[], nn.Module],
    dataset: ArrayDataset,
    progress: Progress,
    label: str,
    shuffle: bool = True,
    **options: Any,
) -> tuple[nn.Module, Run]:
    """Make a net by its seed and `train` it by these hyperparameters; the progress shows it under its label.

    Batches are drawn anew in each epoch, or, unless they are to be shuffled, come as they lie.
    """
    with progress.run(label, hyper.steps) as tick:
        random.manual_seed(hyper.seed)
        model = make()
        optimizer = optim.SGD(model.parameters(), lr=hyper.lr, momentum=0.9)
        loader = DataLoader(dataset, hyper.batch_size, shuffle=shuffle, drop_last=True, seed=hyper.seed)
        return model, train_steps(model, optimizer, loader, hyper.steps, tick, **options)


def _measured(
    step: Callable[..., tuple[Tensor, Tensor]],
    model: nn.Module,
    optimizer: optim.Optimizer,
    inputs: Array,
    targets: Array,
) -> tuple[float, float]:
    """Take a step, and return the loss and the accuracy before it."""
    try:
        with np.errstate(all="ignore"):  # a run may diverge
            output, loss = step(model, optimizer, _LOSS, inputs, targets)
    except NotFiniteError as error:
        return error.value, math.nan
    right = agreement(_LOSS, output, targets)
    return loss.item(), right[0] / right[1] if right else math.nan


def evaluate_dataset(model: nn.Module, dataset: ArrayDataset, batch_size: int = 256) -> dict[str, float]:
    """Return mean "loss" and "accuracy" in inference mode; a batch of which any output is NaN counts as wrong."""
    totals = Totals()
    with in_inference(model), no_grad(), np.errstate(all="ignore"), norms_held(model):  # a run may have diverged
        for inputs, targets in DataLoader(dataset, batch_size):
            output = model(Tensor(inputs))
            right = agreement(_LOSS, output, targets) or (0, len(targets))
            totals.add(_LOSS(output, targets).item(), len(targets), right)
    return totals.means()


def make_net(settings: Any, norm: NormChoice) -> nn.Module:
    """Create the net of these settings, for digits, with a norm of its own."""
    size, width = settings.image_size, settings.width
    return models.create_model(settings.model, in_channels=1, norm=norm, image_size=size, width=width)


def without_dropout(model: nn.Module) -> nn.Module:
    """Turn its dropout off, so that nothing but the norms makes noise; return the model."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def trailing_mean(values: Sequence[float], window: int) -> list[float]:
    """Return the mean of the last `window` values up to each, of fewer at the beginning."""
    # Not from differences of one cumulative sum, in which a single loss of 1e30 would drown all that follow.
    lasts = (values[max(end - window, 0) : end] for end in range(1, len(values) + 1))
    return [math.fsum(last) / len(last) for last in lasts]


def steps_until(losses: Sequence[float], target: float, window: int) -> int | None:
    """Return the first step, from 1, at which the mean of the last `window` losses is at most `target`, or None."""
    means = trailing_mean(losses, window)
    return next((step for step in range(window, len(means) + 1) if means[step - 1] <= target), None)


def short(value: float) -> float:
    """Round to six digits, which keep a file of thousands readable."""
    return float(f"{value:.6g}")


def standard_digits(image_size: int = 8, images: int | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """Return training digits, the first `images` or all, and test digits, standardized by the training pixels."""
    train, test = digits("train", image_size), digits("test", image_size)
    mean, std = train.inputs.mean(), train.inputs.std()
    train, test = (ArrayDataset((part.inputs - mean) / std, part.targets, part.class_names) for part in (train, test))
    return ArrayDataset(*train[: images or len(train)], train.class_names), test
