"""Windows hold the pixels that they should, on any namespace, and what adds them up again is their adjoint."""

from __future__ import annotations

import math

import array_api_strict as xp
import numpy as np
import pytest

from tinygrad_norm import Tensor
from tinygrad_norm.definitions.windows import Window, add_windows, windows

WINDOWS = {
    "2": Window((2, 2), (2, 2), (0, 0), (1, 1), (3, 2)),
    "padded": Window((3, 2), (2, 1), (1, 1), (1, 1), (4, 6)),
    "dilated": Window((2, 3), (1, 2), (1, 0), (3, 2), (6, 1)),
    "reaching further": Window((3, 3), (3, 3), (0, 1), (1, 1), (3, 2)),
    "missing the image": Window((2, 2), (1, 1), (1, 1), (9, 9), (1, 1)),
}
every_window = pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)


@every_window
@pytest.mark.parametrize("make", [np.asarray, xp.asarray, Tensor], ids=["numpy", "strict", "tensor"])
def test_a_window_holds_its_pixels_and_outside_of_the_image_the_fill(rng, window, make):
    x = rng.normal(size=(2, 7, 5))
    places = list(np.ndindex(window.kernel_size))
    for (a, b), met in zip(places, windows(make(x), window, -3.0), strict=True):
        assert type(met) is type(make(x))
        found = np.array(met.tolist()) if isinstance(met, Tensor) else np.from_dlpack(met)
        for i, j in np.ndindex(window.size):
            row = i * window.stride[0] + a * window.dilation[0] - window.padding[0]
            column = j * window.stride[1] + b * window.dilation[1] - window.padding[1]
            inside = 0 <= row < 7 and 0 <= column < 5
            assert found[:, i, j].tolist() == (x[:, row, column].tolist() if inside else [-3.0, -3.0])


@every_window
def test_the_sum_is_the_adjoint(rng, window):
    x = rng.normal(size=(2, 7, 5))
    parts = [rng.normal(size=(2, *window.size)) for _ in range(math.prod(window.kernel_size))]
    forth = sum((part * met).sum() for part, met in zip(parts, windows(x, window), strict=True))
    back = (add_windows(iter(parts), x.shape, window) * x).sum()
    np.testing.assert_allclose(forth, back, rtol=1e-11, atol=1e-12)


def test_a_border_has_the_dtype_of_the_image():
    window = Window((3, 3), (1, 1), (1, 1), (1, 1), (4, 5))
    assert {pixels.dtype for pixels in windows(xp.ones((1, 1, 4, 5), dtype=xp.float32), window)} == {xp.float32}
