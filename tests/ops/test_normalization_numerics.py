"""Norms of numbers that are hard: large means, tiny variances, what leaves the range, NaN and infinity."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.norms import LAYOUTS, NORMS, Statistics, formula, leaf
from tinygrad_norm import grad, kernels, ops
from tinygrad_norm.modes import composed, hooks


@pytest.fixture(params=["reference", *(["cpu"] if kernels._use_cpu else [])])
def _implementation(request, monkeypatch):
    monkeypatch.setattr(kernels, "_use_cpu", request.param == "cpu")


def ramp(rng, shape):
    return 0.01 * np.arange(np.prod(shape)).reshape(shape) + 100


HARD = {
    "mean 2000, small variance": lambda rng, shape: 2000 + 0.05 * rng.normal(size=shape),  # pytorch#51102
    "0.01 N + 100": ramp,  # pytorch#40302
    "0.01 noise + 100": lambda rng, shape: 100 + 0.01 * rng.normal(size=shape),
    "constant": lambda rng, shape: np.full(shape, 3.3),  # pytorch#5410
    "large constant": lambda rng, shape: np.full(shape, 1e10 / 3),
    "around 1e30": lambda rng, shape: 1e30 * rng.normal(size=shape),  # pytorch#178123
    "around 1e-30": lambda rng, shape: 1e-30 * rng.normal(size=shape),
    "variance about eps": lambda rng, shape: 3e-3 * rng.normal(size=shape),  # eps inside of the root: Flux#2421
    "an outlier first": lambda rng, shape: np.where(
        np.arange(np.prod(shape)).reshape(shape) == 0, 1e4, rng.normal(size=shape)
    ),
}


IMAGES, ROWS = (37, 3, 5, 11), (4001, 3)


CHOICES = {
    "batch of rows": ("batch", ROWS, 0),
    "batch": ("batch", IMAGES, (0, 2, 3)),
    "layer": ("layer", IMAGES, -1),
    "layer_2d": ("layer_2d", IMAGES, 1),
    "trailing": ("trailing", IMAGES, (1, 2, 3)),
    "instance": ("instance", IMAGES, (2, 3)),
    "rms": ("rms", IMAGES, -1),
}


def assert_close_in_float32(found, truth, condition):
    """Within a few roundings of what float32 statistics allow: a rounded mean moves all values by as much."""
    error = np.abs(found.astype(np.longdouble) - truth) / (1 + np.abs(truth) + condition)
    assert float(error.max()) < 8 * np.finfo(np.float32).eps


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("case", HARD)
def test_hard_values_and_their_gradients_in_float32(case, choice, rng):
    name, shape, axes = CHOICES[choice]
    x, dy = leaf(HARD[case](rng, shape).astype(np.float32)), rng.normal(size=shape).astype(np.float32)
    y = NORMS[name](x, eps=1e-5)
    y.backward(dy)

    def average(values):
        return values.mean(axis=axes, keepdims=True)

    exact, g, subtracts_mean = x.raw.astype(np.longdouble), dy.astype(np.longdouble), name != "rms"
    mean = subtracts_mean * average(exact)
    rstd = 1 / np.sqrt(average((exact - mean) ** 2) + 1e-5)
    normal, condition = (exact - mean) * rstd, np.abs(mean) * rstd
    dx = g - subtracts_mean * average(g) - normal * average(g * normal)
    assert y.dtype == np.float32
    assert_close_in_float32(y.raw, normal, condition)
    assert_close_in_float32(x.grad.raw / rstd.astype(np.float32), dx, condition * (1 + np.abs(normal)))


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("channels", [1, 3, 5, 7, 17, 31, 33, 65, 100])
def test_any_number_of_channels_in_float32(channels, rng):
    x, dy = rng.normal(size=(2, 19, channels, 3)).astype(np.float32)
    weight, bias = rng.normal(size=(2, channels)).astype(np.float32)
    for layout in LAYOUTS.values():
        inputs = [leaf(array) for array in (layout(x), weight, bias)]
        y = ops.batch_norm(inputs[0], None, None, *inputs[1:], training=True)
        y.backward(dy)
        normal = formula(x, (0, 2)).astype(float)
        rstd = 1 / np.sqrt(x.astype(float).var(axis=(0, 2)) + 1e-5)
        np.testing.assert_allclose(y.raw, normal * weight[:, None] + bias[:, None], rtol=1e-5, atol=1e-5)
        dbias, dweight = dy.astype(float).sum(axis=(0, 2)), (dy * normal).sum(axis=(0, 2))
        dx = (weight * rstd)[:, None] * (dy - dbias[:, None] / 57 - normal * dweight[:, None] / 57)
        for tensor, expected in zip(inputs, (dx, dweight, dbias), strict=True):
            np.testing.assert_allclose(tensor.grad.raw, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("name", ["batch", "layer", "layer_2d", "trailing", "instance"])
def test_the_variance_is_never_negative(name, rng):
    # https://github.com/google/flax/issues/1491
    seen = Statistics()
    for offset in (0.0, 1.0, 1e3, 1e6, -3e8, 1e12):
        for spread in (0.0, 1e-6, 1e-3):
            with hooks(seen):
                NORMS[name]((offset + spread * rng.normal(size=(6, 2, 3, 5))).astype(np.float32))
    assert all((var >= 0).all() for _, var in seen.found)


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("activation", [None, "relu", "hardswish", "leaky_relu", "elu"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "axes"), [("batch", (0, 2, 3)), ("layer_2d", 1), ("instance", (2, 3)), ("rms", 3)])
def test_nan_and_infinity_are_not_hidden(name, axes, poison, activation, rng):
    x = rng.normal(size=(4, 3, 2, 5)).astype(np.float32)
    clean = NORMS[name](x, activation=activation).raw
    x[1, 2, 0, 3] = poison
    with np.errstate(invalid="ignore"):
        y = NORMS[name](x, activation=activation).raw
    lost = np.broadcast_to((~np.isfinite(x)).any(axis=axes, keepdims=True), x.shape)
    np.testing.assert_array_equal(y[~lost], clean[~lost])
    only_itself = name == "rms" and np.isinf(poison)  # it makes the root infinite, which makes the others 0
    assert np.isnan(y[~np.isfinite(x) if only_itself else lost]).all()


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_in_inference_nan_and_infinity_stay_where_they_are(poison, rng):
    x = rng.normal(size=(4, 3, 2, 5)).astype(np.float32)
    clean = NORMS["inference"](x).raw
    x[1, 2, 0, 3] = poison
    for activation in (None, "relu", "silu"):
        with np.errstate(invalid="ignore"):
            y = NORMS["inference"](x, activation=activation).raw
        np.testing.assert_equal(y[1, 2, 0, 3], poison)
        assert np.isfinite(y).sum() == x.size - 1
    y = NORMS["inference"](x).raw
    np.testing.assert_array_equal(y[np.isfinite(y)], clean[np.isfinite(y)])


@pytest.mark.usefixtures("_implementation")
@pytest.mark.parametrize("name", ["batch", "inference", "layer", "rms"])
def test_nan_in_the_gradient_is_not_hidden(name, rng):
    x, dy = leaf(rng.normal(size=(4, 3)).astype(np.float32)), rng.normal(size=(4, 3)).astype(np.float32)
    dy[1, 2] = np.nan
    NORMS[name](x, activation="relu").backward(dy)
    assert np.isnan(x.grad.raw[1, 2])
    assert np.isfinite(x.grad.raw[:, 0] if name == "batch" else x.grad.raw[0]).all()


def test_the_definition_does_not_cancel_far_from_zero(rng):
    """https://github.com/pytorch/pytorch/issues/51102, in the primitives that a kernel is held to."""
    x = rng.normal(2000, 0.01, (64, 5)).astype(np.float32)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5)
    with composed():
        y = ops.batch_norm(x, None, None, training=True)
    np.testing.assert_allclose(y.numpy(), expected, atol=2e-5)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("dtype", "size"), [(np.float32, 3e38), (np.float32, 1e-30), (np.float64, 1.7e308), (np.float64, 1e200)]
)
def test_what_has_no_square_in_the_range_is_normalized(dtype, size):
    """Of 1, -1, 1, 1 the mean is 1/2 and the deviation √3/2."""
    column = leaf((np.array([[1.0], [-1], [1], [1]]) * size).astype(dtype))
    dy = np.array([[1.0], [0], [-2], [3]], dtype)
    y = ops.batch_norm(column, None, None, training=True, eps=0.0)
    np.testing.assert_allclose(y.raw[:, 0], np.array([1, -3, 1, 1]) / np.sqrt(3), rtol=1e-6)
    (dx,) = grad(y, [column], dy)
    normal = np.array([1, -3, 1, 1]) / np.sqrt(3)
    expected = (dy[:, 0] - 0.5 - normal * (dy[:, 0] * normal).mean()) / (np.sqrt(3) / 2)
    np.testing.assert_allclose(dx.raw[:, 0] * dtype(size), expected, rtol=1e-5, atol=1e-6)
    rows = ops.layer_norm(column.raw.T, 4, eps=0.0)
    np.testing.assert_allclose(rows.raw[0], y.raw[:, 0], rtol=1e-6)
    np.testing.assert_allclose(ops.rms_norm(column.raw.T, 4, eps=0.0).raw, [[1, -1, 1, 1]], rtol=1e-6)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("value", [3e38, 1e200, -1.7e308])
def test_equal_values_of_any_size_give_the_bias(value):
    dtype = np.float32 if value == 3e38 else np.float64
    x = leaf(np.full((6, 2), value, dtype))
    y = ops.batch_norm(x, None, None, np.full(2, 1e30, dtype), np.array([0.5, -2], dtype), training=True)
    assert y.raw.tolist() == [[0.5, -2]] * 6
    (dx,) = grad(y, [x], np.tile(np.array([[1], [-1]], dtype), (3, 2)))
    np.testing.assert_allclose(dx.raw, np.tile([[1], [-1]], (3, 2)) * 1e30 / np.sqrt(1e-5), rtol=1e-6)


@pytest.mark.usefixtures("_way")
def test_a_leaky_relu_after_a_norm_has_its_slope_at_nan_and_a_relu_1():
    """As PyTorch's; the gradient of the bias is their sum."""
    for activation, slope in ((("leaky_relu", 0.1), 0.1), ("relu", 1.0)):
        bias = leaf(np.zeros(1))
        x = np.array([[np.nan], [2.0]])
        y = ops.batch_norm(x, np.zeros(1), np.ones(1), np.ones(1), bias, activation=activation)
        assert grad(y, [bias], np.ones((2, 1)))[0].item() == pytest.approx(1 + slope)
