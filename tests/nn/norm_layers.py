"""Every layer that normalizes, with the shape of an input."""

from __future__ import annotations

import numpy as np

from tinygrad_norm import nn

LAYERS = {
    "BatchNorm1D": (lambda **more: nn.BatchNorm1D(4, **more), (5, 4)),
    "BatchNorm2D": (lambda **more: nn.BatchNorm2D(4, **more), (3, 4, 2, 3)),
    "BatchNorm3D": (lambda **more: nn.BatchNorm3D(4, **more), (2, 4, 2, 1, 3)),
    "InstanceNorm1D": (lambda **more: nn.InstanceNorm1D(4, affine=True, **more), (3, 4, 5)),
    "InstanceNorm2D": (lambda **more: nn.InstanceNorm2D(4, affine=True, **more), (3, 4, 2, 3)),
    "InstanceNorm3D": (lambda **more: nn.InstanceNorm3D(4, affine=True, **more), (2, 4, 2, 1, 3)),
    "LayerNorm": (lambda **more: nn.LayerNorm((2, 3), **more), (4, 2, 3)),
    "LayerNorm2D": (lambda **more: nn.LayerNorm2D(4, **more), (3, 4, 2, 3)),
    "GroupNorm": (lambda **more: nn.GroupNorm(2, 4, **more), (3, 4, 5)),
    "RMSNorm": (lambda **more: nn.RMSNorm(6, **more), (3, 6)),
}


def stirred(layer, rng):
    """The layer with parameters that differ from 1 and 0."""
    for parameter in layer.parameters():
        parameter.raw = rng.normal(size=parameter.shape).astype(parameter.dtype) + 1
    return layer


def close(found, expected, rtol=1e-12):
    found, expected = (getattr(given, "raw", given) for given in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)
