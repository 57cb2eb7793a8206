"""Pooling and resizing beside the installed PyTorch, at drawn arguments, with the gradient of the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, composed, grad, nn, ops

FACES = {"fused": False, "composed": True}


def pairs(low, high):
    number = st.integers(low, high)
    return number | st.tuples(number, number)


@st.composite
def windows(draw):
    """A shape that mostly is large enough, and kernel size, stride and padding."""
    kernel = draw(pairs(1, 4))
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    too_much = draw(st.integers(0, 9)) == 9
    padding = draw(st.tuples(*[st.integers(0, side // 2 + too_much) for side in sides]))
    size = [draw(st.integers(side, 11)) for side in sides]
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *size)
    return draw(st.sampled_from([shape, shape[1:]])), kernel, draw(st.none() | pairs(1, 4)), padding


def agree(ours, theirs, x, seed, definition=False):
    """Value, gradient, and gradient of a product of the gradient, or both refuse."""
    rng = np.random.default_rng(seed)
    theirs_x = torch.tensor(x, requires_grad=True)
    try:
        expected = theirs(theirs_x)
    except (RuntimeError, ValueError):
        with pytest.raises((ValueError, TypeError)):
            ours(Tensor(x))
        return
    cotangents = rng.normal(size=tuple(expected.shape)), rng.normal(size=x.shape)
    with composed(definition):
        ours_x = Tensor(x, requires_grad=True)
        found = ours(ours_x)
        cotangent = Tensor(cotangents[0], requires_grad=True)
        (dx,) = grad(found, [ours_x], cotangent, create_graph=True)
        (mixed,) = grad((dx * cotangents[1]).sum(), [cotangent])
    theirs_cotangent = torch.tensor(cotangents[0], requires_grad=True)
    (theirs_dx,) = torch.autograd.grad(expected, [theirs_x], theirs_cotangent, create_graph=True)
    (theirs_mixed,) = torch.autograd.grad((theirs_dx * torch.tensor(cotangents[1])).sum(), [theirs_cotangent])
    for a, b in ((found, expected), (dx, theirs_dx), (mixed, theirs_mixed)):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)


def images(shape, seed, ties=True):
    rng = np.random.default_rng(seed)
    return rng.integers(-3, 4, shape).astype(np.float64) if ties else rng.normal(size=shape)


SHAPES = st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
IMAGE_SHAPES = SHAPES | SHAPES.map(lambda shape: shape[1:])
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("definition", FACES.values(), ids=FACES)
@given(windows(), st.just(1) | pairs(1, 3), st.booleans(), SEEDS)
def test_max_pool2d(definition, window, dilation, ceil_mode, seed):
    shape, *arguments = window
    agree(
        lambda x: ops.max_pool2d(x, *arguments, dilation, ceil_mode),
        lambda x: F.max_pool2d(x, *arguments, dilation, ceil_mode),
        images(shape, seed),
        seed,
        definition,
    )


@pytest.mark.parametrize("definition", FACES.values(), ids=FACES)
@given(windows(), st.booleans(), st.booleans(), st.none() | st.integers(-3, 9), SEEDS)
def test_avg_pool2d(definition, window, ceil_mode, count_include_pad, divisor, seed):
    shape, *arguments = window
    arguments += ceil_mode, count_include_pad, divisor
    agree(
        lambda x: ops.avg_pool2d(x, *arguments),
        lambda x: F.avg_pool2d(x, *arguments),
        images(shape, seed),
        seed,
        definition,
    )


@given(IMAGE_SHAPES, st.integers(1, 12) | st.tuples(st.none() | st.integers(1, 12), st.integers(1, 12)), SEEDS)
def test_adaptive_avg_pool2d(shape, size, seed):
    agree(
        lambda x: ops.adaptive_avg_pool2d(x, size),
        lambda x: F.adaptive_avg_pool2d(x, size),
        images(shape, seed, ties=False),
        seed,
    )


SCALES = st.floats(0.3, 3).map(lambda scale: round(scale, 2))


@given(
    SHAPES,
    st.fixed_dictionaries({"size": pairs(1, 12)}) | st.fixed_dictionaries({"scale_factor": st.tuples(SCALES, SCALES)}),
    st.sampled_from([{}, {"mode": "nearest"}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}]),
    SEEDS,
)
def test_interpolate(shape, size, options, seed):
    agree(
        lambda x: ops.interpolate(x, **size, **options),
        lambda x: F.interpolate(x, **size, **options),
        images(shape, seed, ties=False),
        seed,
    )


@pytest.mark.parametrize("scale", [0.1, 0.2, 1.1])
@pytest.mark.parametrize("size", [20, 24, 41])
def test_the_nearest_by_a_scale(scale, size):
    agree(
        lambda x: ops.interpolate(x, scale_factor=scale),
        lambda x: F.interpolate(x, scale_factor=scale),
        images((2, 3, size, size + 1), 0, ties=False),
        0,
    )


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 7)),
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(1, 9),
    st.tuples(st.sampled_from([1e-4, 0.3]), st.sampled_from([0.75, 0.5, 2.0, -1.0]), st.sampled_from([1.0, 2.5])),
    st.integers(0, 2**32 - 1),
)
def test_local_response_norm(batch, positions, size, numbers, seed):
    agree(
        lambda x: ops.local_response_norm(x, size, *numbers),
        lambda x: F.local_response_norm(x, size, *numbers),
        images((*batch, *positions), seed, ties=False),
        seed,
    )


@pytest.mark.parametrize("definition", FACES.values(), ids=FACES)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_and_infinity(rng, special, dtype, definition):
    x = rng.integers(-2, 3, (2, 3, 7, 8)).astype(dtype)
    x[rng.random(x.shape) < 0.5] = special
    for arguments in ((2,), (3, 2, 1), (2, 1, 1, 2), (3, 3, 0, 1, True)):
        ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        with composed(definition):
            found, average = ops.max_pool2d(ours, *arguments), ops.avg_pool2d(ours, *arguments[:3])
            dy = rng.normal(size=found.shape).astype(dtype)
            (dx,) = grad(found, [ours], dy)
        expected = F.max_pool2d(theirs, *arguments)
        expected.backward(torch.tensor(dy))
        np.testing.assert_array_equal(found.numpy(), expected.detach().numpy())
        np.testing.assert_allclose(dx.numpy(), theirs.grad.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(average.numpy(), F.avg_pool2d(theirs, *arguments[:3]).detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.MaxPool2D((3, 2), 2, 1, ceil_mode=True), torch.nn.MaxPool2d((3, 2), 2, 1, ceil_mode=True)),
        (nn.AvgPool2D(3, padding=1), torch.nn.AvgPool2d(3, padding=1)),
        (nn.AdaptiveAvgPool2D((None, 3)), torch.nn.AdaptiveAvgPool2d((None, 3))),
        (nn.Upsample(scale_factor=2.5, mode="bilinear"), torch.nn.Upsample(scale_factor=2.5, mode="bilinear")),
        (nn.LocalResponseNorm(3, 0.3), torch.nn.LocalResponseNorm(3, 0.3)),
        (nn.Dropout2D(1.0), torch.nn.Dropout2d(1.0)),
    ],
)
def test_layers(rng, ours, theirs):
    x = rng.normal(size=(2, 3, 7, 6)).astype(np.float32)
    np.testing.assert_allclose(ours(Tensor(x)).numpy(), theirs(torch.tensor(x)).numpy(), rtol=1e-5, atol=1e-6)
