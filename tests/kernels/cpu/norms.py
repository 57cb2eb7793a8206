"""The norms in use: their shapes, in both orders of memory."""

from __future__ import annotations

from typing import Any

import numpy as np

NORMS = {
    "batch, of features": ((64, 7), (0,), (1, 7)),
    "batch, of one feature": ((9, 1), (0,), (1, 1)),
    "batch, of images": ((5, 3, 4, 6), (0, 2, 3), (1, 3, 1, 1)),
    "layer": ((6, 10), (1,), (1, 10)),
    "layer, of one row": ((1, 130), (1,), (1, 130)),
    "layer, of pixels": ((3, 5, 4, 2), (1,), (1, 5, 1, 1)),
    "group": ((4, 3, 2, 5, 3), (2, 3, 4), (1, 3, 2, 1, 1)),
    "group, of many channels": ((2, 3, 70, 2, 2), (2, 3, 4), (1, 3, 70, 1, 1)),
    "instance": ((4, 3, 5, 3), (2, 3), (1, 3, 1, 1)),
    "instance, of large images": ((2, 3, 9, 9), (2, 3), (1, 3, 1, 1)),
}
"""The shape of x, the axes that are reduced, and the shape of weight and bias."""

IMAGES = [name for name, (shape, _, _) in NORMS.items() if len(shape) > 2]
LAYOUTS = [(name, False) for name in NORMS] + [(name, True) for name in IMAGES]
"""Their names, and whether the channels come last."""


def arrays(norm: str, channels_last: bool, dtype: Any, rng: np.random.Generator) -> tuple[Any, Any, Any, Any]:
    """x, weight, bias and the axes; x with the channels first or last in memory."""
    shape, axes, affine = NORMS[norm]
    x = rng.normal(3, 2, shape).astype(dtype)
    if channels_last:
        channels = range(1, len(shape) - 2)
        order = (0, len(shape) - 2, len(shape) - 1, *channels)
        x = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
    weight, bias = rng.normal(size=(2, *affine)).astype(dtype)
    return x, weight, bias, axes
