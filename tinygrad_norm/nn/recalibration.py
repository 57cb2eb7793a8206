"""Exact running statistics, from one look at all the data rather than from a moving average."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np

from tinygrad_norm.dtypes import Array
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.normalization import InstanceNorm, RunningNorm
from tinygrad_norm.nn.training_mode import in_inference
from tinygrad_norm.tensor import Tensor


def recalibrate(model: Module, loader: Iterable[Any], one_pass: bool = False) -> None:
    """Set the running statistics of every norm layer to the mean and the unbiased variance of all that it is given.

    That is what it is given in inference: the model runs as after `eval()`, and the layers are taken one by one in the
    order they are called, so that each sees what the recalibrated ones before it make of the data. The result does not
    depend on how the data is cut into batches. It takes one pass over the loader for each layer.

    Layers that are frozen (by the switch; an `eval()` of their own does not keep them), keep no running statistics or
    are not called are left alone. Modes, switches and the loader's position are afterwards as before; after an error,
    so are the statistics. `num_batches_tracked` becomes the number of batches.

    Args:
        model: is called with each batch.
        loader: batches, the same ones each time: arrays, or tuples that begin with the array of inputs.
        one_pass: take all layers at once, in one pass. Each sees what the ones before make of a batch with that batch's
            statistics, as in PyTorch's `update_bn`: exact for the first, near for the others.

    Raises:
        ValueError: the loader gives no batch, or none to a second pass, as a generator does; or a layer is given one
            value per channel, or values whose mean or variance is beyond its dtype; or a norm that is not frozen keeps
            other statistics than these.

    Source: Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983, for merging the statistics of
        batches by their counts.

    Example:
        >>> norm = nn.BatchNorm1D(1)
        >>> nn.recalibrate(norm, [np.array([[0.0], [2.0]], "float32"), np.array([[4.0], [6.0]], "float32")])
        >>> print(norm.running_mean.numpy(), norm.running_var.numpy().round(3))
        [3.] [6.667]
    """
    layers = {module: path for path, module in model.named_modules() if isinstance(module, RunningNorm)}
    pending = {layer: path for layer, path in layers.items() if layer.keeps_statistics and not layer.frozen}
    for layer, path in pending.items():
        if not layer.keeps_variance:
            raise ValueError(
                f"recalibrate: {path or 'the model'} is a {type(layer).__name__}, whose running statistics are not the "
                "mean and the variance of all that it is given; call its reset_running_stats(), and the model in "
                "training, with momentum=None, on each batch"
            )
    with ExitStack() as modes, ExitStack() as statistics:
        modes.enter_context(no_grad())
        modes.enter_context(in_inference(model))
        for layer in layers:
            put(modes, layer, "update_running_statistics", False)
            put(modes, layer, "refuses_infinity", layer not in pending)
            if one_pass and layer in pending:
                put(modes, layer, "use_batch_statistics", True)
            for buffer in layer.buffers(recurse=False):
                put(statistics, buffer, "raw", buffer.raw)
        while pending:
            found, batches = _look(model, loader, pending, one_pass)
            for layer, population in found.items():
                with np.errstate(over="ignore"):  # what is too large is noticed below
                    layer.running_mean.replace(population.mean.astype(layer.running_mean.dtype))
                    layer.running_var.replace(population.variance().astype(layer.running_var.dtype))
                layer.num_batches_tracked.replace(np.array(batches))
                layer.check_statistics(pending[layer])
            pending = {layer: path for layer, path in pending.items() if found and layer not in found}
        statistics.pop_all()  # all went well, so they stay


def put(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until the stack is left."""
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _look(
    model: Module, loader: Iterable[Any], pending: dict[RunningNorm, str], everywhere: bool
) -> tuple[dict[RunningNorm, Population], int]:
    """Return what the first of the pending layers, or each of them, is given in one pass; and the number of batches."""
    found: dict[RunningNorm, Population] = {}

    def look(layer: Any, args: tuple[Any, ...]) -> None:
        if layer not in found and (everywhere or not found):
            kind = Images if isinstance(layer, InstanceNorm) else Population
            found[layer] = kind(layer, pending[layer] or "the model")
        if layer in found:
            found[layer].add(np.asarray(args[0], np.float64))

    batches = 0
    with ExitStack() as hooks:
        for layer in pending:
            hooks.enter_context(layer.register_forward_pre_hook(look))
        for batch in from_the_start(loader):
            batches += 1
            model(Tensor(batch[0] if isinstance(batch, tuple | list) else batch))
    if not batches:
        raise ValueError(
            "recalibrate: the loader gave no batch. It is gone through once for each norm layer, so that a generator "
            "will not do: pass a loader, a list, or one_pass=True"
        )
    return found, batches


def from_the_start(loader: Any) -> Iterable[Any]:
    """Return the loader, or a copy of one with a position, so that this stays and each pass is the same."""
    return copy.copy(loader) if hasattr(loader, "batch") else loader


class Population:
    """Mean and variance of all the values of each channel, merged batch by batch in float64."""

    def __init__(self, layer: RunningNorm, path: str) -> None:
        self.rank = len(layer.layouts[0])
        self.path = path
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0  # centred, summed

    def add(self, x: Array) -> None:
        """Merge in a batch (N, C, ...)."""
        values = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
        new = values.shape[1]
        if not new:
            return
        step = values.mean(axis=1) - self.mean
        between = step**2 * (self.count * new / (self.count + new))
        self.squares = self.squares + values.var(axis=1) * new + between
        self.count += new
        self.mean = self.mean + step * (new / self.count)

    def variance(self) -> Any:
        """Return the unbiased variance."""
        self.check(self.count)
        return self.squares / (self.count - 1)

    def check(self, values: int) -> None:
        """Refuse one value."""
        if values == 1:
            raise ValueError(f"recalibrate: {self.path} is given one value per channel, which has no variance")


class Images(Population):
    """The mean and the unbiased variance of each channel of each image, averaged over the images."""

    def add(self, x: Array) -> None:
        """Merge in a batch (N, C, ...), or one image (C, ...)."""
        images = x if x.ndim == self.rank else x[None]
        if not len(images):
            return
        images = images.reshape(*images.shape[:2], -1)
        self.check(images.shape[2])
        self.count += len(images)
        self.mean = self.mean + (images.mean(axis=2) - self.mean).sum(axis=0) / self.count
        self.squares = self.squares + images.var(axis=2, ddof=1).sum(axis=0)

    def variance(self) -> Any:
        """Return the average of the variances of the images."""
        return self.squares / self.count
