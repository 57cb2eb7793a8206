"""Convolution of images smaller than the kernel against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import definitions
from tinygrad_norm.kernels.cpu import whole_images
from tinygrad_norm.kernels.cpu.window import Window

SHAPES = {  # size, kernel, stride, padding, dilation
    "one pixel": ((1, 1), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "pixels in a kernel": ((2, 2), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "more on one side": ((1, 4), (3, 5), (1, 2), ((2, 0), (1, 3)), (1, 1)),
    "dilated": ((3, 2), (3, 3), (2, 1), ((2, 1), (3, 2)), (2, 3)),
    "windows that meet no pixel": ((1, 1), (1, 2), (2, 1), ((4, 4), (3, 0)), (1, 1)),
}


def last(images):
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_and_gradients(shape, groups, rng):
    size, kernel, stride, padding, dilation = SHAPES[shape]
    how = stride, padding, dilation, groups, None
    x, weight = rng.normal(size=(3, 6, *size)), rng.normal(size=(4, 6 // groups, *kernel))
    y = definitions.conv2d(x, weight, None, *how)
    dy = rng.normal(size=y.shape)
    dx, dweight = definitions.conv2d_gradient(dy, x, weight, None, *how, (True, True, False))[:2]

    def filters(array):
        """[G, kh, kw, C / G, O / G], as the kernels have them."""
        return array.reshape(groups, 4 // groups, 6 // groups, *kernel).transpose(0, 3, 4, 2, 1)

    window = Window(y.shape[2:], kernel, (-padding[0][0], -padding[1][0]), stride, dilation)
    found = whole_images.correlate(last(x), filters(weight), window)
    np.testing.assert_allclose(found, last(y), atol=1e-12)
    np.testing.assert_allclose(
        whole_images.input_gradient(last(dy), filters(weight), size, window), last(dx), atol=1e-12
    )
    found = whole_images.filter_gradient(last(dy), last(x), filters(weight).shape, window)
    np.testing.assert_allclose(found, filters(dweight), atol=1e-12)


@pytest.mark.parametrize(
    ("size", "kernel", "suits"),
    [
        ((1, 1), (3, 3), True),
        ((2, 2), (3, 3), True),
        ((5, 1), (3, 3), False),
        ((4, 6), (7, 7), True),
        ((1, 1), (1, 2), False),
    ],
)
def test_it_is_for_images_with_less_than_half_as_many_pixels_as_the_kernel_has_places(size, kernel, suits):
    assert whole_images.suits(size, kernel) is suits
