"""The depthwise kernels against the reference, in the shapes where their blocks, bands and phases end."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import depthwise

SHAPES = {  # channels, size, kernel, stride, padding, dilation
    "a block that begins earlier": (33, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1)),
    "fewer channels than a block": (3, (5, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
    "7×7": (32, (16, 16), (7, 7), (1, 1), (3, 3), (1, 1)),
    "taps that meet no pixel": (16, (2, 2), (7, 7), (1, 1), (3, 3), (1, 1)),
    "windows that meet no pixel": (16, (1, 1), (1, 1), (3, 3), (4, 4), (1, 1)),
    "phases": (16, (9, 11), (5, 5), (2, 2), (2, 2), (1, 1)),
    "phases without a tap": (16, (12, 12), (2, 2), (3, 4), (0, 0), (1, 1)),
    "phases and dilation": (16, (13, 14), (3, 3), (2, 3), (2, 1), (2, 2)),
    "a row longer than a scratch": (16, (3, 600), (3, 3), (1, 1), (1, 1), (1, 1)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_and_gradients(shape, dtype, rng, monkeypatch):
    monkeypatch.setattr(depthwise, "_SCRATCH", 2**8)  # several bands
    channels, size, kernel, stride, (top, left), dilation = SHAPES[shape]
    how = (stride, ((top, top), (left, left)), dilation, channels, None)
    x, weight, bias = [
        rng.normal(size=n).astype(dtype) for n in ((3, channels, *size), (channels, 1, *kernel), channels)
    ]
    y = definitions.conv2d(x, weight, bias, *how)
    dy = rng.normal(size=y.shape).astype(dtype)
    expected = (y, *definitions.conv2d_gradient(dy, x, weight, None, *how, (True, True, False))[:2])
    found = (
        cpu.conv2d(x, weight, bias, *how),
        *cpu.conv2d_gradient(dy, x, weight, None, *how, (True, True, False))[:2],
    )
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        close = 1e-5 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(one, other, rtol=0, atol=close * max(1, np.abs(other).max()))
