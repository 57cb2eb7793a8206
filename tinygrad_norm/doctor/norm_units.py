"""Which values share a mean and a variance in each norm layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from tinygrad_norm.checks import check_type
from tinygrad_norm.dtypes import Array
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LayerNorm2D,
    Normalization,
    RMSNorm,
    RMSNorm2D,
    RunningNorm,
)
from tinygrad_norm.nn.norms.base import FromDefinition
from tinygrad_norm.nn.norms.ghost import GhostBatchNorm
from tinygrad_norm.nn.recalibration import put

UNITS: dict[type[Normalization], str] = {
    BatchNorm: "channel",
    InstanceNorm: "image channel",
    GroupNorm: "group",
    LayerNorm2D: "pixel",
    LayerNorm: "row",
    RMSNorm: "row",
    RMSNorm2D: "pixel",
}
"""The norms of `nn`, and what has a mean and a variance of its own in each."""

UNCENTRED = RMSNorm, RMSNorm2D
"""Those that subtract no mean: in the place of the variance is the mean square."""


def norms(model: Module) -> list[tuple[str, Normalization]]:
    """Return the norms of `UNITS` in a model, each with its path; a model that is one itself goes by its class.

    Those of the literature are left out: each has units and statistics of its own.

    Raises:
        TypeError: the model is no Module.
    """
    check_type("diagnose: model", model, Module, "a Module")
    found = ((path or type(module).__name__, module) for path, module in model.named_modules())
    return [
        (path, module)
        for path, module in found
        if isinstance(module, Normalization)
        and isinstance(module, tuple(UNITS))
        and not isinstance(module, FromDefinition | GhostBatchNorm)
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
    """Return `x` as (units, values): those in a row share a mean and a variance in this layer."""
    if isinstance(layer, BatchNorm):
        return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
    if isinstance(layer, LayerNorm2D | RMSNorm2D):
        return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    if isinstance(layer, GroupNorm):
        return x.reshape(len(x) * layer.num_groups, -1)
    if isinstance(layer, InstanceNorm):
        positions = len(layer.layouts[0]) - 2
        return x.reshape(-1, math.prod(x.shape[-positions:]))
    return x.reshape(-1, math.prod(layer.normalized_shape))
