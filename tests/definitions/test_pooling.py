"""Pooling as it is defined: what it stands for, window by window; and the Array API standard is enough."""

from __future__ import annotations

import math

import array_api_strict as xp
import numpy as np
import pytest

from tinygrad_norm import Tensor, definitions, grad
from tinygrad_norm.definitions.windows import Window
from tinygrad_norm.testing import gradcheck

WINDOWS = {
    "2": Window((2, 2), (2, 2), (0, 0), (1, 1), (3, 2)),
    "padded": Window((3, 2), (2, 1), (1, 1), (1, 1), (4, 6)),
    "dilated": Window((2, 3), (1, 2), (1, 0), (3, 2), (6, 1)),
    "reaching further": Window((3, 3), (3, 3), (0, 1), (1, 1), (3, 2)),
    "missing the image": Window((2, 2), (1, 1), (1, 1), (9, 9), (1, 1)),
    "of many places": Window((20, 13), (1, 1), (10, 6), (1, 1), (8, 5)),
}
every_window = pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)


def strict(function, *arguments):
    results = function(*[xp.asarray(value) if isinstance(value, np.ndarray) else value for value in arguments])
    return tuple(map(np.from_dlpack, results)) if isinstance(results, tuple) else np.from_dlpack(results)


@every_window
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


@every_window
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


def pixels(x, window, i, j):
    """What window i, j of an image [H, W] holds, place by place; None outside."""
    for a, b in np.ndindex(window.kernel_size):
        row = i * window.stride[0] + a * window.dilation[0] - window.padding[0]
        column = j * window.stride[1] + b * window.dilation[1] - window.padding[1]
        inside = 0 <= row < x.shape[0] and 0 <= column < x.shape[1]
        yield x[row, column] if inside else None


@every_window
def test_is_what_it_stands_for_on_arrays_and_tensors(rng, window):
    x, divisor = rng.normal(size=(2, 3, 7, 5)), rng.uniform(1, 2, window.size)
    largest, average = np.zeros((2, 2, 3, *window.size))
    for n, c, i, j in np.ndindex(largest.shape):
        held = [value for value in pixels(x[n, c], window, i, j) if value is not None]
        largest[n, c, i, j] = max(held, default=-np.inf)
        average[n, c, i, j] = math.fsum(held) / divisor[i, j]
    for given in (x, Tensor(x)):
        y, position = definitions.max_pool2d(given, window)
        np.testing.assert_array_equal(getattr(y, "raw", y), largest)
        assert getattr(position, "raw", position).dtype == (np.uint8 if math.prod(window.kernel_size) < 256 else "i4")
        found = definitions.avg_pool2d(given, divisor, window)
        np.testing.assert_allclose(getattr(found, "raw", found), average, rtol=1e-12, atol=1e-14)


@every_window
def test_closed_forms_are_the_derivatives_of_the_definitions(rng, window):
    x, divisor = Tensor(rng.normal(size=(2, 3, 7, 5)), requires_grad=True), rng.uniform(1, 2, window.size)
    dy = rng.normal(size=(2, 3, *window.size))
    y, position = definitions.max_pool2d(x, window)
    closed = definitions.max_pool2d_gradient(dy, position.raw, x.shape, window)
    if window is not WINDOWS["missing the image"]:
        np.testing.assert_allclose(closed, grad(y, x, dy)[0].numpy(), rtol=1e-13)
        closed = definitions.avg_pool2d_gradient(dy, divisor, x.shape, window)
        np.testing.assert_allclose(closed, grad(definitions.avg_pool2d(x, divisor, window), x, dy)[0].numpy())


def test_derivatives_of_the_definitions(rng):
    window, divisor = WINDOWS["padded"], rng.uniform(1, 2, (4, 6))
    x = Tensor(rng.permutation(2 * 7 * 5).reshape(1, 2, 7, 5) / 10, requires_grad=True)
    gradcheck(lambda x: definitions.max_pool2d(x, window)[0] ** 2, [x], order=2)
    gradcheck(lambda x: definitions.avg_pool2d(x, divisor, window) ** 2, [x], order=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_averages_of_the_largest_numbers_and_of_the_smallest(dtype):
    window, info = Window((3, 2), (1, 1), (0, 0), (1, 1), (1, 1)), np.finfo(dtype)
    for size in (info.max, -info.max, info.tiny, info.smallest_subnormal * 64):
        found = definitions.avg_pool2d(np.full((1, 1, 3, 2), size, dtype), np.full((1, 1), 6, dtype), window)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.item(), size, rtol=4 * info.eps, atol=2 * info.smallest_subnormal)


def test_the_largest_of_an_image_of_minus_infinity_is_in_the_image():
    window = Window((2, 2), (2, 2), (1, 1), (1, 1), (2, 2))
    for given in (np.full((1, 1, 2, 2), -np.inf), Tensor(np.full((1, 1, 2, 2), -np.inf))):
        _, position = definitions.max_pool2d(given, window)
        assert position.tolist() == [[[[3, 2], [1, 0]]]]


@pytest.mark.parametrize(("size", "shape"), [(1, (2, 3, 4)), (2, (2, 5, 2, 3)), (3, (1, 4, 5)), (9, (2, 4, 1, 2))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_local_response_norm_in_loops_and_by_the_standard(size, shape, dtype, rng):
    numbers = (size, 0.3, 0.6, 1.5)
    x, dy = rng.normal(0.3, 1.2, (2, *shape)).astype(dtype)
    y, (dx,) = definitions.local_response_norm(x, *numbers), definitions.local_response_norm_gradient(dy, x, *numbers)
    for c in range(shape[1]):
        near = [x[:, i].astype(np.longdouble) for i in range(c - size // 2, c - size // 2 + size) if 0 <= i < shape[1]]
        expected = x[:, c] / (1.5 + 0.3 / size * sum(map(np.square, near))) ** 0.6
        np.testing.assert_allclose(y[:, c], expected, rtol=4 * np.finfo(dtype).eps)
    assert (y.dtype, dx.dtype) == (dtype, dtype)
    np.testing.assert_allclose(strict(definitions.local_response_norm, x, *numbers), y, rtol=1e-15)
    (found,) = strict(definitions.local_response_norm_gradient, dy, x, *numbers)
    np.testing.assert_allclose(found, dx, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_the_gradient_of_local_response_norm_is_that_of_the_definition(size, rng):
    x, dy = rng.normal(0.3, 1.2, (2, 3, 5, 2, 2))
    leaf, numbers = Tensor(x, requires_grad=True), (size, 0.7, 0.6, 1.5)
    y = definitions.local_response_norm(leaf, *numbers)
    np.testing.assert_allclose(definitions.local_response_norm_gradient(dy, x, *numbers)[0], grad(y, leaf, dy)[0].raw)
