"""Which values share a mean and a variance in each norm layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import nn
from tinygrad_norm.checks import check_type
from tinygrad_norm.dtypes import Array
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.normalization import BatchNorm, InstanceNorm, Normalization, RunningNorm
from tinygrad_norm.nn.norms.ghost import GhostBatchNorm
from tinygrad_norm.nn.norms.whitening import IterNorm
from tinygrad_norm.nn.recalibration import put


class Unit(NamedTuple):
    """What has statistics of its own in a norm."""

    name: str
    rows: Callable[[Any, Array], Array]
    """From a layer and its input: (units, values)."""
    centred: bool = True
    """Whether the mean is subtracted."""
    squares: bool = False
    """Whether in the place of the variance is the mean square."""


def _by_channel(layer: Any, x: Array) -> Array:
    return _channels_first(layer, x).reshape(layer.shape[0], -1)


def _by_image_channel(layer: Any, x: Array) -> Array:
    positions = len(layer.layouts[0]) - 2 if isinstance(layer, InstanceNorm) else x.ndim - 2
    return x.reshape(-1, math.prod(x.shape[-positions:]))


def _by_group(layer: Any, x: Array) -> Array:
    return x.reshape(len(x) * layer.num_groups, -1)


def _by_pixel(layer: Any, x: Array) -> Array:
    return _by_channel(layer, x).T


def _by_part_of_pixel(layer: Any, x: Array) -> Array:
    return _by_pixel(layer, x)[:, : layer.count]


def _by_row(layer: Any, x: Array) -> Array:
    return x.reshape(-1, math.prod(layer.normalized_shape))


def _channels_first(layer: Any, x: Array) -> Array:
    return np.moveaxis(x, -1 if getattr(layer, "channels_last", False) else 1, 0)


UNITS: dict[type[Normalization], Unit] = {
    GhostBatchNorm: Unit("channel of a ghost", _by_channel),
    nn.EvoNormB0: Unit("channel", _by_channel, centred=False),
    nn.SwitchableNorm2D: Unit("channel", _by_channel, centred=False),
    nn.PowerNorm: Unit("channel", _by_channel, centred=False, squares=True),
    BatchNorm: Unit("channel", _by_channel),
    IterNorm: Unit("channel", _by_channel),
    nn.FilterResponseNorm2D: Unit("image channel", _by_image_channel, centred=False, squares=True),
    InstanceNorm: Unit("image channel", _by_image_channel),
    nn.AdaIN: Unit("image channel", _by_image_channel),
    nn.EvoNormS0: Unit("group", _by_group, centred=False),
    nn.GroupNorm: Unit("group", _by_group),
    nn.LayerNorm2D: Unit("pixel", _by_pixel),
    nn.RMSNorm2D: Unit("pixel", _by_pixel, centred=False, squares=True),
    nn.PartialRMSNorm: Unit("pixel", _by_part_of_pixel, centred=False, squares=True),
    nn.LayerNorm: Unit("row", _by_row),
    nn.RMSNorm: Unit("row", _by_row, centred=False, squares=True),
}
"""What has a mean and a variance of its own in each norm; the first that fits. Others take none, or something else."""


def unit_of(layer: Normalization) -> Unit | None:
    """Return what has statistics of its own in a layer; None if nothing has a mean, a variance or a mean square."""
    if not getattr(layer, "nonlinear", True):  # an EvoNorm in a place without an activation normalizes nothing
        return None
    return next((unit for kind, unit in UNITS.items() if isinstance(layer, kind)), None)


def norms(model: Module) -> list[tuple[str, Normalization]]:
    """Return the norms in a model, each with its path; a model that is one itself goes by its class.

    Of one that consists of others, as IBN, these are returned.

    Raises:
        TypeError: the model is no Module.
    """
    check_type("diagnose: model", model, Module, "a Module")
    found = ((path or type(module).__name__, module) for path, module in model.named_modules())
    return [
        (path, module)
        for path, module in found
        if isinstance(module, Normalization)
        and not any(isinstance(inside, Normalization) for inside in module.children())
    ]


@contextmanager
def infinity_allowed(model: Module) -> Iterator[dict[str, RunningNorm]]:
    """Keep norms from refusing running statistics that are infinite; those that can have some, by path."""
    found = {path: module for path, module in model.named_modules() if isinstance(module, RunningNorm)}
    with ExitStack() as switches:
        for layer in found.values():
            put(switches, layer, "refuses_infinity", False)
        yield found


@contextmanager
def norms_held(model: Module) -> Iterator[dict[str, RunningNorm]]:
    """Keep running statistics from moving and from refusing infinities; the norms that can have some, by path."""
    with infinity_allowed(model) as held, ExitStack() as switches:
        for layer in held.values():
            put(switches, layer, "update_running_statistics", False)
        yield held


def rows(layer: Any, x: Array) -> Array:
    """Return `x` as (units, values): those in a row share a mean and a variance in this layer, if it has units."""
    unit = unit_of(layer)
    return x.reshape(1, -1) if unit is None else unit.rows(layer, x)


def values_sharing(layer: Any, x: Array) -> tuple[int, int]:
    """Return how many values of an input share their statistics in a layer, at most and at least."""
    values = rows(layer, x).shape[1]
    if not isinstance(layer, GhostBatchNorm):
        return values, values
    images = len(x)
    ghost = min(layer.ghost_size, images)
    return values * ghost // images, values * (images % ghost or ghost) // images
