"""The kinds of norms that can be judged: which values share statistics, and which a weight and a bias."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinygrad_norm.dtypes import Array, Shape

GROUPS = 2
Shapes = dict[str, Shape]


class NormKind(NamedTuple):
    """A kind of norm of x (N, C, ...)."""

    name: str
    title: str
    alias: str
    """What the name of a norm of this kind contains, in lower case and without "_"."""
    reduced: Callable[[int], tuple[int, ...]]
    """From the number of axes to those whose values share statistics."""
    shapes: Shapes
    """The shapes of x in each check; norms of images may want axes of length 1 behind."""
    centred: bool = True
    groups: int = 1
    """In how many parts the second axis is taken; more than 1 make an axis of their own before it."""
    per_channel: bool = True
    """Whether weight and bias have an element for each channel, and not for each place in the last axis."""

    def affine(self, shape: Shape) -> Shape:
        """Return the shape in which weight and bias broadcast against x."""
        return (shape[1], *(1 for _ in shape[2:])) if self.per_channel else shape[-1:]

    def sets(self, shape: Shape) -> Array:
        """Return the places in flat x, [sets, values]: those in a row share statistics."""
        view = (shape[0], self.groups, shape[1] // self.groups, *shape[2:]) if self.groups > 1 else shape
        axes = self.reduced(len(view))
        count = math.prod(view[axis] for axis in axes)
        places = np.arange(math.prod(shape)).reshape(view)
        return np.moveaxis(places, axes, range(-len(axes), 0)).reshape(-1, count)

    def parameter_at(self, shape: Shape) -> Array:
        """Return, for each place in flat x, the element of the weight that it is multiplied with."""
        affine = self.affine(shape)
        return np.broadcast_to(np.arange(math.prod(affine)).reshape(affine), shape).reshape(-1)

    @property
    def mixes_samples(self) -> bool:
        """Whether a sample's result depends on the others in its batch."""
        return 0 in self.reduced(3)


MANY = 2**24
_ROWS: Shapes = {
    "values": (16, 300),
    "few": (3, 5),
    "one value": (4, 1),
    "many": (1, MANY),
    "sets": (256, 4099),
    "long sets": (3, 400003),
}
_PIXELS: Shapes = {
    "values": (8, 300, 2),
    "few": (2, 5, 2),
    "one value": (4, 1, 3),
    "many": (1, MANY, 1),
    "sets": (16, 67, 1031),
    "long sets": (2, 400003, 2),
}
_BATCHES: Shapes = {
    "values": (8, 6, 50),
    "few": (3, 2, 2),
    "one value": (1, 6, 1),
    "many": (64, 1, MANY // 64),
    "sets": (16, 64, 1031),
    "long sets": (8, 2, 65537),
}
_IMAGES = _BATCHES | {"few": (2, 2, 4), "one value": (4, 6, 1), "many": (1, 1, MANY)}
_GROUPS = _IMAGES | {"few": (2, 4, 2), "one value": (4, GROUPS, 1), "many": (1, GROUPS, MANY)}
NORM_KINDS = {
    kind.name: kind
    for kind in (
        NormKind("layer", "layer norm", "layernorm", lambda ndim: (ndim - 1,), _ROWS, per_channel=False),
        NormKind("rms", "RMS norm", "rmsnorm", lambda ndim: (ndim - 1,), _ROWS, centred=False, per_channel=False),
        NormKind("batch", "batch norm in training", "batchnorm", lambda ndim: (0, *range(2, ndim)), _BATCHES),
        NormKind("group", "group norm", "groupnorm", lambda ndim: tuple(range(2, ndim)), _GROUPS, groups=GROUPS),
        NormKind("instance", "instance norm", "instancenorm", lambda ndim: tuple(range(2, ndim)), _IMAGES),
        NormKind("layer-2d", "layer norm over channels", "layernorm2d", lambda ndim: (1,), _PIXELS),
        NormKind("rms-2d", "RMS norm over channels", "rmsnorm2d", lambda ndim: (1,), _PIXELS, centred=False),
    )
}


def kind_by_name(what: str) -> NormKind | None:
    """Return the kind that the name of a norm tells, such as "group_norm" or "MyLayerNorm2d", if it tells one."""
    plain = what.lower().replace("_", "")
    return max(
        (kind for kind in NORM_KINDS.values() if kind.alias in plain), key=lambda kind: len(kind.alias), default=None
    )
