from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.data.images import rescale, resize


def test_scale_divides_by_the_highest_value():
    bytes_ = np.array([[0, 51], [102, 255]], np.uint8).T
    scaled = rescale(bytes_, 255, np.float32)
    np.testing.assert_array_equal(scaled, np.array([[0, 0.4], [0.2, 1]], np.float32), strict=True)
    assert scaled.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["uint8", np.int64, np.float16])
def test_scale_gives_floats_of_four_or_eight_bytes(dtype):
    with pytest.raises(TypeError, match="dtype is float32 or float64, got"):
        rescale(np.zeros(3), 1, dtype)


def test_enlarging_interpolates_between_the_centres_of_pixels():
    row = np.array([[[[0.0, 4.0]]]])
    expected = [0.0, 1.0, 3.0, 4.0]  # each new centre lies a quarter of a pixel from an old one, or beyond the last
    np.testing.assert_allclose(resize(row, 4)[0, 0], [expected] * 4, rtol=0, atol=1e-15)


def test_shrinking_averages_what_a_pixel_covers():
    row = np.array([[[[0.0, 8.0, 16.0, 24.0]]]])
    weights = np.array([3, 3, 1, 0]) / 7  # of the triangle 1 − |d|/2 at d = 0.5, 0.5, 1.5, 2.5
    np.testing.assert_allclose(resize(row, 2)[0, 0], [[row[0, 0, 0] @ weights, row[0, 0, 0] @ weights[::-1]]] * 2)


@pytest.mark.parametrize(("height", "width", "size"), [(7, 12, 32), (28, 28, 13), (5, 40, 9), (1, 1, 3), (9, 8, 1)])
def test_any_size_keeps_range_constants_type_and_input(rng, height, width, size):
    images = rng.random((3, 2, height, width), np.float32)
    before = images.copy()
    resized = resize(images, size)
    assert resized.shape == (3, 2, size, size)
    assert resized.dtype == np.float32
    assert resized.flags.c_contiguous
    assert images.min() <= resized.min() <= resized.max() <= images.max()
    np.testing.assert_array_equal(images, before)
    np.testing.assert_allclose(resize(np.full_like(images, 0.7), size), 0.7, rtol=1e-6)


def test_the_same_size_is_left_as_it_is(rng):
    images = rng.random((2, 1, 5, 5))
    np.testing.assert_array_equal(resize(images, 5), images, strict=True)


def test_resizing_commutes_with_turning_over(rng):
    images = rng.random((1, 1, 7, 7))
    for size in (5, 7, 16):
        np.testing.assert_allclose(resize(images[..., ::-1], size), resize(images, size)[..., ::-1], atol=1e-14)
        np.testing.assert_allclose(resize(images.swapaxes(2, 3), size), resize(images, size).swapaxes(2, 3), atol=1e-14)
