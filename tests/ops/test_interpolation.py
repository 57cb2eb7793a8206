from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_norm import Tensor, ops
from tinygrad_norm.testing import gradcheck

MODES = {
    "nearest": {"mode": "nearest"},
    "bilinear": {"mode": "bilinear"},
    "aligned": {"mode": "bilinear", "align_corners": True},
}
modes = pytest.mark.parametrize("options", MODES.values(), ids=MODES)
SIZES = [{"size": (6, 9)}, {"size": 1}, {"size": (4, 2)}, {"scale_factor": 2}, {"scale_factor": (0.7, 1.6)}]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def place(i, n, count, scale, mode, align_corners=False):
    """Where pixel i of the output lies in the input."""
    if align_corners:
        return i * (n - 1) / (count - 1) if count > 1 else 0.0
    step = n / count if scale is None else 1 / scale
    return min(math.floor(i * step), n - 1) if mode == "nearest" else min(max((i + 0.5) * step - 0.5, 0), n - 1)


def by_definition(x, options, size=None, scale_factor=None):
    """Every pixel by itself."""
    scales = (None, None) if scale_factor is None else np.broadcast_to(scale_factor, 2)
    lengths = x.shape[2:]
    counts = (
        np.broadcast_to(size, 2) if scale_factor is None else [int(n * s) for n, s in zip(lengths, scales, strict=True)]
    )
    y = np.zeros((*x.shape[:2], *counts))
    for i, j in np.ndindex(*counts):
        (top, down), (left, right) = (
            divmod(place(at, n, count, scale, **options), 1)
            for at, n, count, scale in zip((i, j), lengths, counts, scales, strict=True)
        )
        for h, a in ((int(top), 1 - down), (int(top) + 1, down)):
            for w, b in ((int(left), 1 - right), (int(left) + 1, right)):
                if a and b:
                    y[..., i, j] += a * b * x[..., h, w]
    return y


def test_every_op_has_tests(exported):
    assert exported("interpolation") == {"interpolate"}


@modes
@sizes
def test_value_and_gradient(rng, options, size):
    x = Tensor(rng.normal(size=(2, 2, 3, 5)), requires_grad=True)
    y = ops.interpolate(x, **size, **options)
    np.testing.assert_allclose(y.numpy(), by_definition(x.numpy(), options, **size), rtol=1e-13, atol=1e-13)
    gradcheck(lambda x: ops.interpolate(x, **size, **options), [x])


@modes
def test_second_gradient(rng, options):
    x = Tensor(rng.normal(size=(1, 2, 2, 3)), requires_grad=True)
    gradcheck(lambda x: ops.square(ops.interpolate(x, (3, 4), **options)), [x], order=2)


@modes
def test_the_same_size_changes_nothing(rng, options):
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(ops.interpolate(x, (4, 5), **options).numpy(), x)
    np.testing.assert_array_equal(ops.interpolate(x, scale_factor=1.1, **options).numpy(), x)


def test_known_values():
    x = Tensor([[[[0.0, 4.0]]]])
    assert ops.interpolate(x, (1, 4)).tolist() == [[[[0, 0, 4, 4]]]]
    assert ops.interpolate(x, (1, 4), mode="bilinear").tolist() == [[[[0, 1, 3, 4]]]]
    assert ops.interpolate(x, (1, 5), mode="bilinear", align_corners=True).tolist() == [[[[0, 1, 2, 3, 4]]]]


def test_the_nearest_of_many_is_exact():
    """In float32, which PyTorch computes it in, 41 · (1 / 41) and its like may fall below a whole number."""
    x = np.arange(500.0).reshape(1, 1, 1, 500)
    for count in range(1, 600):
        expected = [i * 500 // count for i in range(count)]
        assert ops.interpolate(x, (1, count)).numpy().reshape(-1).tolist() == expected


@pytest.mark.parametrize(
    ("scale", "expected"),  # from PyTorch, for 24 pixels
    [(0.1, [0, 10]), (0.2, [0, 5, 10, 15]), (1.1, [0, *range(11), *range(10, 21), 20, 21, 22])],
)
def test_the_nearest_by_a_scale_is_pytorchs(scale, expected):
    y = ops.interpolate(np.arange(24.0).reshape(1, 1, 1, 24).repeat(24, axis=2), scale_factor=scale)
    assert y.numpy()[0, 0, 0].tolist() == expected


@modes
@pytest.mark.parametrize("channels_last", [False, True])
def test_float32_and_memory_layout(rng, options, channels_last):
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    before = x.copy()
    y = ops.interpolate(Tensor.wrap(x), scale_factor=2, **options)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), by_definition(x, options, scale_factor=2), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(x, before)
    if channels_last:
        assert y.raw.transpose(0, 2, 3, 1).flags.c_contiguous


def test_nan_and_infinity_are_not_hidden():
    x = np.ones((1, 2, 3, 3))
    x[0, 0, 1, 1] = np.inf
    assert ops.interpolate(x, 3).numpy()[0, 0, 1, 1] == np.inf
    y = ops.interpolate(x, 5, mode="bilinear").numpy()
    assert not np.isfinite(y[0, 0]).any()
    assert (y[0, 1] == 1).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 2, "mode": "billinear"}, ValueError, "mode is 'nearest' or 'bilinear', got 'billinear'"),
        ({"size": 2, "align_corners": True}, ValueError, "align_corners is for mode='bilinear'"),
        ({}, ValueError, "either size or scale_factor is given, got None and None"),
        ({"size": 2, "scale_factor": 2}, ValueError, "either size or scale_factor is given"),
        ({"size": 0}, ValueError, "size is an integer of at least 1"),
        ({"size": 2.0}, TypeError, "size is an integer"),
        ({"scale_factor": 0}, ValueError, "scale_factor is positive and finite"),
        ({"scale_factor": math.inf}, ValueError, "scale_factor is positive and finite"),
        ({"scale_factor": "2"}, TypeError, "scale_factor is a number, or one for each of two axes"),
        ({"scale_factor": (2, 2, 2)}, TypeError, "scale_factor is a number, or one for each of two axes"),
        ({"scale_factor": 0.2}, ValueError, r"scale_factor=0.2 leaves no pixel of an input of shape \(1, 1, 4, 4\)"),
    ],
)
def test_refuses(options, error, message):
    with pytest.raises(error, match=f"^interpolate: {message}"):
        ops.interpolate(np.ones((1, 1, 4, 4)), **options)


def test_needs_images_of_floats():
    with pytest.raises(ValueError, match=r"interpolate: the input has shape \(N, C, H, W\), .*got \(1, 4, 4\)"):
        ops.interpolate(np.ones((1, 4, 4)), 2)
    with pytest.raises(ValueError, match="not empty"):
        ops.interpolate(np.ones((1, 1, 0, 4)), 2)
    with pytest.raises(TypeError, match=r"interpolate: .*floating dtype"):
        ops.interpolate(np.ones((1, 1, 4, 4), int), 2)


@pytest.mark.parametrize(("scale", "shown"), [(2.05, [i // 2 for i in range(20)]), (1.05, [*range(10)])])
def test_the_nearest_is_at_an_even_step_where_the_size_is_kept_or_doubled(scale, shown):
    """As PyTorch has it, although 1 / scale is a little less."""
    y = ops.interpolate(np.arange(10.0).reshape(1, 1, 1, 10).repeat(10, axis=2), scale_factor=scale)
    assert y.numpy()[0, 0, 0].tolist() == shown


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_align_corners_is_true_or_false(value):
    with pytest.raises(TypeError, match="interpolate: align_corners is True or False, got "):
        ops.interpolate(np.ones((1, 1, 2, 2)), 2, mode="bilinear", align_corners=value)


def test_the_nearest_pixel_is_shown_if_nothing_is_said(rng):
    x = rng.normal(size=(1, 2, 3, 4))
    np.testing.assert_array_equal(ops.interpolate(x, 7).numpy(), ops.interpolate(x, 7, mode="nearest").numpy())
    plain, corners = (ops.interpolate(x, 7, mode="bilinear", align_corners=flag).numpy() for flag in (False, True))
    np.testing.assert_array_equal(ops.interpolate(x, 7, mode="bilinear").numpy(), plain)
    assert (plain != corners).any()
