"""Pooling in the reference: on an array module that has nothing but the Array API standard, as on NumPy."""

from __future__ import annotations

import array_api_strict as xp
import numpy as np
import pytest

from tinygrad_norm import definitions
from tinygrad_norm.definitions.pooling import Window

WINDOWS = {
    "2": Window((2, 2), (2, 2), (0, 0), (1, 1), (3, 2)),
    "padded": Window((3, 2), (2, 1), (1, 1), (1, 1), (4, 6)),
    "dilated": Window((2, 3), (1, 2), (1, 0), (3, 2), (6, 1)),
    "reaching further": Window((3, 3), (3, 3), (0, 1), (1, 1), (3, 2)),
    "missing the image": Window((2, 2), (1, 1), (1, 1), (9, 9), (1, 1)),
    "of many places": Window((20, 13), (1, 1), (10, 6), (1, 1), (8, 5)),
}
windows = pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)


def strict(function, *arguments):
    results = function(*[xp.asarray(value) if isinstance(value, np.ndarray) else value for value in arguments])
    return tuple(map(np.from_dlpack, results)) if isinstance(results, tuple) else np.from_dlpack(results)


@windows
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keeps_to_the_standard(rng, window, dtype):
    x, divisor = rng.normal(size=(2, 3, 7, 5)).astype(dtype), rng.uniform(1, 2, window.size).astype(dtype)
    dy = rng.normal(size=(2, 3, *window.size)).astype(dtype)
    y, position = definitions.max_pool2d(x, window)
    assert y.dtype == dtype
    assert position.dtype == (np.uint8 if np.prod(window.kernel_size) < 256 else np.int32)
    for found, expected in [
        *zip(strict(definitions.max_pool2d, x, window), (y, position), strict=True),
        (
            strict(definitions.max_pool2d_gradient, dy, position, x.shape, window),
            definitions.max_pool2d_gradient(dy, position, x.shape, window),
        ),
        (strict(definitions.avg_pool2d, x, divisor, window), definitions.avg_pool2d(x, divisor, window)),
        (strict(definitions.mean_of_pixels, x), x.mean(axis=(2, 3), dtype=np.float64).astype(dtype)),
        (
            strict(definitions.avg_pool2d_gradient, dy, divisor, x.shape, window),
            definitions.avg_pool2d_gradient(dy, divisor, x.shape, window),
        ),
    ]:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@windows
def test_gradients_are_the_transposed_maps(rng, window):
    """Both are linear once the positions are known: ⟨dy, A x⟩ = ⟨Aᵀ dy, x⟩ for any x and dy."""
    x, divisor = rng.normal(size=(2, 3, 7, 5)), rng.uniform(1, 2, window.size)
    dy = rng.normal(size=(2, 3, *window.size))
    y, position = definitions.max_pool2d(x, window)
    inside = np.where(np.isfinite(y), y, 0.0)
    dx = definitions.max_pool2d_gradient(dy, position, x.shape, window)
    np.testing.assert_allclose((dy * inside).sum(), (dx * x).sum(), rtol=1e-12)
    dx = definitions.avg_pool2d_gradient(dy, divisor, x.shape, window)
    np.testing.assert_allclose((dy * definitions.avg_pool2d(x, divisor, window)).sum(), (dx * x).sum(), rtol=1e-12)


def test_known_values():
    window = Window((2, 2), (2, 2), (0, 0), (1, 1), (1, 2))
    x = np.array([[[[1.0, 4, np.nan, 1], [4, 2, 3, np.nan]]]])
    y, position = definitions.max_pool2d(x, window)
    np.testing.assert_array_equal(y, [[[[4, np.nan]]]])
    assert position.tolist() == [[[[1, 3]]]]
    dx = definitions.max_pool2d_gradient(np.array([[[[5.0, 6.0]]]]), position, x.shape, window)
    assert dx.tolist() == [[[[0, 5, 0, 0], [0, 0, 0, 6]]]]


def test_a_window_that_misses_the_image_has_no_place():
    y, position = definitions.max_pool2d(np.ones((1, 1, 7, 5)), WINDOWS["missing the image"])
    assert y.item() == -np.inf
    assert position.item() == 4
