from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, grad, kernels, ops
from tinygrad_norm.definitions import ACTIVATIONS as FUSIBLE
from tinygrad_norm.modes import Hook, composed, hooks, no_grad
from tinygrad_norm.testing import compare_with_composition, gradcheck

ACTIVATIONS = [None, *FUSIBLE, ("leaky_relu", 0.3), ("elu", 0.7)]


def statistics(channels):
    return {"running_mean": np.linspace(-1, 1, channels), "running_var": np.linspace(0.5, 2, channels)}


# Each norm as a function of x and further options, for an input of any shape that it takes
NORMS = {
    "batch": lambda x, **more: ops.batch_norm(x, None, None, training=True, **more),
    "inference": lambda x, **more: ops.batch_norm(x, **statistics(x.shape[1]), **more),
    "layer": lambda x, **more: ops.layer_norm(x, x.shape[-1], **more),
    "trailing": lambda x, **more: ops.layer_norm(x, x.shape[1:], **more),
    "layer_2d": lambda x, **more: ops.layer_norm_2d(x, **more),
    "group": lambda x, **more: ops.group_norm(x, 2 if x.shape[1] % 2 == 0 else 1, **more),
    "instance": lambda x, **more: ops.instance_norm(x, **more),
    "instance_inference": lambda x, **more: ops.instance_norm(
        x, **statistics(x.shape[1]), use_input_stats=False, **more
    ),
    "rms": lambda x, **more: ops.rms_norm(x, x.shape[-1], **more),
}
RANKS = {"layer_2d": (4, 4), "instance": (3, 5), "instance_inference": (3, 5)}


def affine_shape(name, shape):
    return {"layer": shape[-1:], "rms": shape[-1:], "trailing": shape[1:]}.get(name, shape[1:2])


def leaf(array):
    """A tensor on `array` itself, whatever its strides."""
    return Tensor.wrap(array).requires_grad_()


def channels_last(array):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "channels last": channels_last,
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "sliced": lambda array: np.repeat(np.repeat(array, 2, axis=0), 3, axis=-1)[::2, ..., ::3],
    "reversed": lambda array: np.ascontiguousarray(array[::-1, ..., ::-1])[::-1, ..., ::-1],
}


@st.composite
def norms(draw):
    """A norm with its options, and its inputs: x and perhaps weight and bias."""
    name = draw(st.sampled_from(list(NORMS)))
    shape = draw(st.lists(st.integers(1, 5), min_size=RANKS.get(name, (2,))[0], max_size=RANKS.get(name, (2, 5))[-1]))
    shape[0] += name == "batch"
    shape[-1] += 2
    shape = tuple(shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))](rng.normal(size=shape) * 2 + 3)
    names = draw(st.sampled_from([(), ("weight",), ("weight", "bias")]))[: 1 if name == "rms" else 2]
    more = [leaf(rng.normal(size=affine_shape(name, shape)) + 0.5) for _ in names]
    options = {"eps": draw(st.sampled_from([1e-5, 1e-2])), "activation": draw(st.sampled_from(ACTIVATIONS))}

    def call(x, *affine):
        return NORMS[name](x, **dict(zip(names, affine, strict=True)), **options)

    return call, [leaf(x), *more]


@given(norms())
def test_value_gradient_and_second_gradient_are_those_of_the_composition(norm):
    compare_with_composition(*norm, order=2, rtol=1e-8)


def example(name, rng, shape=None):
    shape = shape or ((3, 2, 1, 2) if name == "layer_2d" else (3, 4, 2))
    affine = [leaf(rng.normal(size=affine_shape(name, shape)) + 0.5) for _ in range(1 if name == "rms" else 2)]
    return [leaf(rng.normal(size=shape) * 2 + 3), *affine]


def call(name, **options):
    """The norm with weight and bias by position, which are what gradients are asked of."""

    def norm(x, weight, bias=None):
        return NORMS[name](x, weight=weight, **({} if bias is None else {"bias": bias}), **options)

    return norm


@pytest.mark.parametrize("name", NORMS)
def test_gradients_agree_with_finite_differences(name, rng):
    gradcheck(call(name), example(name, rng))


@pytest.mark.parametrize("name", NORMS)
def test_second_gradients_agree_with_finite_differences(name, rng):
    shape = (2, 2, 1, 1) if name == "layer_2d" else (2, 2, 2)
    gradcheck(call(name, eps=0.1), example(name, rng, shape), order=2)


@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
def test_gradients_through_each_activation(activation, rng):
    for name in ("batch", "inference", "rms"):
        gradcheck(call(name, activation=activation), example(name, rng, (3, 2)))


def test_third_derivative_of_batch_norm(rng):
    # PyTorch's is silently wrong: https://github.com/pytorch/pytorch/issues/186256
    gradcheck(call("batch", eps=0.1), example("batch", rng, (3, 1)), order=3, rtol=1e-4)


def test_inference_does_not_take_the_training_gradient(rng):
    # https://github.com/pytorch/pytorch/issues/586: the statistics are constants
    x, weight, bias = example("inference", rng, (5, 3))
    dy = rng.normal(size=x.shape)
    NORMS["inference"](x, weight=weight, bias=bias, eps=0.1).backward(dy)
    given = statistics(3)
    rstd = 1 / np.sqrt(given["running_var"] + 0.1)
    np.testing.assert_allclose(x.grad.raw, dy * weight.raw * rstd, rtol=1e-12)
    np.testing.assert_allclose(weight.grad.raw, (dy * (x.raw - given["running_mean"]) * rstd).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(bias.grad.raw, dy.sum(axis=0), rtol=1e-12)


# Values, against the formula in long double


def formula(x, axes, eps=1e-5, weight=1.0, bias=0.0):
    x = x.astype(np.longdouble)
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps) * weight + bias


@pytest.mark.parametrize(
    ("name", "axes"),
    [("batch", (0, 2, 3)), ("layer", -1), ("trailing", (1, 2, 3)), ("layer_2d", 1), ("instance", (2, 3))],
)
def test_each_norm_is_a_choice_of_axes(name, axes, rng):
    x = rng.normal(size=(3, 4, 2, 5)) + 1
    weight, bias = rng.normal(size=(2, *affine_shape(name, x.shape)))
    across = (slice(None), None, None) if len(weight.shape) == 1 and name != "layer" else ...
    y = NORMS[name](x, weight=weight, bias=bias, eps=0.01)
    np.testing.assert_allclose(y.raw, formula(x, axes, 0.01, weight[across], bias[across]).astype(float), rtol=1e-11)


def test_group_norm_cuts_the_channels_into_groups(rng):
    x, weight, bias = rng.normal(size=(2, 6, 3)), rng.normal(size=6), rng.normal(size=6)
    expected = formula(x.reshape(2, 3, 2, 3), (2, 3)).astype(float).reshape(x.shape) * weight[:, None] + bias[:, None]
    np.testing.assert_allclose(ops.group_norm(x, 3, weight, bias).raw, expected, rtol=1e-11)


def test_rms_norm_subtracts_no_mean(rng):
    x, weight = rng.normal(size=(3, 4)) + 5, rng.normal(size=4)
    expected = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 0.5) * weight
    np.testing.assert_allclose(ops.rms_norm(x, 4, weight, eps=0.5).raw, expected, rtol=1e-12)


def test_rms_norm_adds_the_epsilon_of_the_dtype_by_default():
    for dtype in (np.float32, np.float64):
        tiny = np.full((1, 2), np.sqrt(np.finfo(dtype).eps), dtype)
        np.testing.assert_allclose(ops.rms_norm(tiny, 2).raw, np.sqrt(0.5), rtol=1e-6)


# Numerics, in float32, with each implementation of the kernels


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


# Running statistics


@pytest.mark.parametrize("kind", ["array", "tensor", "float32 tensor"])
@pytest.mark.parametrize("name", ["batch", "instance"])
def test_running_statistics_after_several_steps(name, kind, rng):
    mean, var = np.linspace(-1, 1, 3), np.linspace(0.5, 2, 3)
    dtype = np.float32 if kind == "float32 tensor" else np.float64
    running = [np.array(value, dtype) if kind == "array" else Tensor(value, dtype=dtype) for value in (mean, var)]
    for momentum in (0.1, 0.7, 0.0, 0.25):
        x = rng.normal(size=(4, 3, 5)) * [[[1], [2], [3]]] + momentum
        if name == "batch":
            ops.batch_norm(x, *running, training=True, momentum=momentum)
            new_mean, new_var = x.mean(axis=(0, 2)), x.var(axis=(0, 2), ddof=1)
        else:
            ops.instance_norm(x, *running, momentum=momentum)
            new_mean, new_var = x.mean(axis=2).mean(axis=0), x.var(axis=2, ddof=1).mean(axis=0)
        mean, var = (1 - momentum) * mean + momentum * new_mean, (1 - momentum) * var + momentum * new_var
    for found, expected in zip(running, (mean, var), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_running_statistics_that_move_on_do_not_reach_the_gradient_of_an_earlier_inference(kind, rng):
    given = statistics(3)
    running = [np.array(value) if kind == "array" else Tensor(value) for value in given.values()]
    x, weight, bias = example("inference", rng, (5, 3))
    dy = rng.normal(size=x.shape)
    y = ops.batch_norm(x, *running, weight, bias)
    ops.batch_norm(rng.normal(size=(5, 3)), *running, training=True, momentum=1.0)
    y.backward(dy)
    expected = grad(ops.batch_norm(x, *given.values(), weight, bias), [x, weight, bias], dy)
    for tensor, truth in zip((x, weight, bias), expected, strict=True):
        np.testing.assert_array_equal(tensor.grad.raw, truth.raw)


class Statistics(Hook):
    def __init__(self):
        self.found, self.ops = [], []

    def after_forward(self, op, inputs, output):
        self.found.append(op.statistics)
        self.ops.append(op)


@pytest.mark.parametrize("name", ["batch", "layer", "group", "instance"])
def test_a_hook_reads_the_statistics_that_the_kernel_computed(name, rng):
    x, seen = rng.normal(size=(3, 4, 5)), Statistics()
    with hooks(seen):
        y = NORMS[name](leaf(x))
    ((mean, var),) = seen.found
    shape = {"group": (3, 2, 2, 5)}.get(name, x.shape)
    axes = {"batch": (0, 2), "layer": 2, "group": (2, 3), "instance": 2}[name]
    np.testing.assert_allclose(mean, x.reshape(shape).mean(axis=axes, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(var, x.reshape(shape).var(axis=axes, keepdims=True), rtol=1e-12)
    assert all(any(array is kept for kept in y.creator.saved_arrays) for array in (mean, var))


# Inputs


@pytest.mark.parametrize("name", NORMS)
def test_no_input_is_changed(name, rng):
    inputs = example(name, rng)
    copies, dy = [tensor.raw.copy() for tensor in inputs], rng.normal(size=inputs[0].shape)
    given = dy.copy()
    call(name, activation="relu")(*inputs).backward(dy)
    for tensor, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(tensor.raw, copy)
    np.testing.assert_array_equal(dy, given)


def test_inference_leaves_the_running_statistics_alone():
    mean, var = np.ones(2), np.full(2, 4.0)
    ops.batch_norm(np.zeros((3, 2)), mean, var, momentum=1.0)
    assert (mean.tolist(), var.tolist()) == ([1.0, 1.0], [4.0, 4.0])


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept(name, dtype, rng):
    inputs = [Tensor(tensor.raw, requires_grad=True, dtype=dtype) for tensor in example(name, rng)]
    for fused in (True, False):
        with composed(not fused):
            y = call(name)(*inputs)
        assert y.dtype == dtype
        assert all(gradient.dtype == dtype for gradient in grad(y, inputs, np.ones(y.shape)))


@pytest.mark.parametrize("name", NORMS)
def test_arrays_are_as_good_as_tensors(name, rng):
    inputs = example(name, rng)
    y = call(name)(*[tensor.raw for tensor in inputs])
    assert not y.requires_grad
    with no_grad():
        np.testing.assert_array_equal(y.raw, call(name)(*inputs).raw)


@pytest.mark.parametrize("name", ["batch", "layer", "inference", "rms"])
def test_lists_are_as_good_as_arrays(name):
    x = [[1.0, 2.0], [4.0, 8.0]]
    y = {
        "inference": lambda x: ops.batch_norm(x, np.zeros(2), np.ones(2)),
        "batch": lambda x: ops.batch_norm(x, None, None, training=True),
        "layer": lambda x: ops.layer_norm(x, 2),
        "rms": lambda x: ops.rms_norm(x, 2),
    }[name]
    assert y(x).dtype == np.float32
    np.testing.assert_array_equal(y(x).raw, y(np.array(x, np.float32)).raw)


def test_only_what_wants_a_gradient_gets_one(rng):
    x, weight, bias = example("batch", rng)
    frozen = Tensor(weight.raw)
    ops.batch_norm(x.raw, None, None, frozen, bias, training=True).backward(rng.normal(size=x.shape))
    assert frozen.grad is x.grad is None
    assert np.any(bias.grad.raw)


def test_a_batch_of_one_image_has_enough_values(rng):
    x = rng.normal(size=(1, 2, 2, 1))
    np.testing.assert_allclose(NORMS["batch"](x).raw, formula(x, (0, 2, 3)).astype(float), rtol=1e-12)


X, ONES = np.ones((2, 4)), np.ones(4)


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (ops.batch_norm, [np.ones(3), None, None], "batch_norm: the input has 2 or more axes"),
        (
            ops.batch_norm,
            [X, np.ones(3), ONES],
            r"running_mean has shape \(4,\) beside an input of \(2, 4\), got \(3,\)",
        ),
        (ops.batch_norm, [X, ONES, np.ones((1, 4))], r"running_var has shape \(4,\) .*, got \(1, 4\)"),
        (ops.batch_norm, [X, ONES, ONES, np.ones(5)], r"weight has shape \(4,\) .*, got \(5,\)"),
        (ops.batch_norm, [X, ONES, ONES, ONES, np.ones(5)], r"bias has shape \(4,\) .*, got \(5,\)"),
        (ops.batch_norm, [X, None, ONES], "inference takes running_mean and running_var, got no running_mean"),
        (
            ops.batch_norm,
            [X, None, None, None, None, True, 1.5],
            "momentum is the weight of the new value, a number from 0 to 1, got 1.5",
        ),
        (ops.batch_norm, [X, None, None, None, None, True, float("nan")], "momentum"),
        (
            ops.batch_norm,
            [X, None, None, None, None, True, 0.1, -1e-5],
            "eps is a finite number of at least 0, got -1e-05",
        ),
        (ops.batch_norm, [X, None, None, None, None, True, 0.1, float("nan")], "eps"),
        (ops.batch_norm, [X, None, None, None, None, True, 0.1, float("inf")], "eps"),
        (
            ops.batch_norm,
            [X[:1], None, None, None, None, True],
            r"one value per channel .* \(1, 4\); use a larger batch",
        ),
        (ops.batch_norm, [np.ones((1, 4, 1, 1)), None, None, None, None, True], r"drop_last=True.*eval\(\)"),
        (
            ops.batch_norm,
            [X, ONES, ONES, None, None, False, 0.1, 1e-5, "selu"],
            "activation is 'relu' or .*, got 'selu'",
        ),
        (ops.layer_norm, [X, 3], r"normalized_shape is what the input's shape ends in, \(2, 4\), got \(3,\)"),
        (ops.layer_norm, [X, (1, 2, 4)], "normalized_shape is what"),
        (ops.layer_norm, [X, ()], "normalized_shape is what"),
        (ops.layer_norm, [X, 4, np.ones(2)], r"weight has shape \(4,\) .*, got \(2,\)"),
        (ops.layer_norm, [X, (2, 4), np.ones((2, 4)), ONES], r"bias has shape \(2, 4\) .*, got \(4,\)"),
        (ops.layer_norm_2d, [X], "layer_norm_2d: the input has 4 axes"),
        (ops.layer_norm_2d, [np.ones((1, 2, 3, 4)), np.ones(4)], r"weight has shape \(2,\)"),
        (ops.group_norm, [X, 3], "num_groups is a divisor of the number of channels, 4, got 3"),
        (ops.group_norm, [X, 0], "num_groups .*, got 0"),
        (ops.group_norm, [X, 4], "one value per group .* use fewer groups"),
        (ops.group_norm, [X, 2, np.ones(2)], r"weight has shape \(4,\)"),
        (ops.instance_norm, [X], "instance_norm: the input has 3 or more axes"),
        (ops.instance_norm, [np.ones((2, 4, 1))], "one value per channel of an image .* use larger images"),
        (ops.instance_norm, [np.ones((2, 4, 3)), np.ones(3), ONES], "running_mean has shape"),
        (ops.instance_norm, [np.ones((2, 4, 3)), None, None, None, None, False], "inference takes running_mean"),
        (ops.rms_norm, [X, 3], "rms_norm: normalized_shape is what"),
        (ops.rms_norm, [X, 4, None, -1.0], "eps"),
        (ops.rms_norm, [X, 4, np.ones(1)], "weight has shape"),
    ],
)
def test_bad_input_is_refused(function, arguments, words):
    with pytest.raises(ValueError, match=words):
        function(*arguments)


def test_wrong_dtypes_are_refused():
    for x, running in ((X.astype(np.float32), ONES), (X.astype(int), ONES), (X, ONES.astype(np.float32))):
        weight = ONES if running is ONES else running
        with pytest.raises(
            TypeError, match=r"batch_norm: one floating dtype is needed throughout, but given are input"
        ):
            ops.batch_norm(x, running, running, weight)
    counts = np.ones(4, int)
    with pytest.raises(TypeError, match=r"running_(mean|var) is an array or a tensor of floats"):
        ops.batch_norm(X, counts, ONES, training=True)
    with pytest.raises(TypeError, match=r"running_(mean|var) is an array or a tensor of floats"):
        ops.batch_norm(X, ONES, [1.0] * 4, training=True)


def test_a_failed_call_moves_no_running_statistics():
    for x, var in (
        (X[:1], np.full(4, 3.0)),
        (X, np.full(4, 3)),
        (X, np.full(5, 3.0)),
        (X.astype(int), np.full(4, 3.0)),
    ):
        mean = np.full(4, 2.0)
        with pytest.raises((ValueError, TypeError)):
            ops.batch_norm(x, mean, var, training=True)
        assert (mean == 2).all()
        assert (var == 3).all()


def test_the_arguments_are_pytorchs():
    expected = "x running_mean running_var weight bias training momentum eps activation"
    assert list(inspect.signature(ops.batch_norm).parameters) == expected.split()


def test_the_definition_does_not_cancel_far_from_zero(rng):
    """https://github.com/pytorch/pytorch/issues/51102, in the primitives that a kernel is held to."""
    x = rng.normal(2000, 0.01, (64, 5)).astype(np.float32)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5)
    with composed():
        y = ops.batch_norm(x, None, None, training=True)
    np.testing.assert_allclose(y.numpy(), expected, atol=2e-5)


def test_running_statistics_move_both_or_not_at_all(rng):
    mean, var = np.zeros(3), np.ones(3)
    var.flags.writeable = False
    with pytest.raises(ValueError, match="cannot be written"):
        ops.batch_norm(rng.standard_normal((5, 3)), mean, var, training=True)
    assert mean.tolist() == [0, 0, 0]


# The RMS norm of images, and what all norms have in common


def rms_2d(x, weight=None, **options):
    return ops.rms_norm_2d(x, weight, **options)


def test_rms_norm_2d_shares_the_mean_square_among_the_channels_of_a_pixel(rng):
    x, weight = rng.normal(size=(2, 3, 4, 5)) + 1, rng.normal(size=3)
    root = np.sqrt((x.astype(np.longdouble) ** 2).mean(axis=1, keepdims=True) + 0.01)
    expected = x / root * weight[:, None, None]
    np.testing.assert_allclose(rms_2d(x, weight, eps=0.01).raw, expected.astype(float), rtol=1e-12)
    activated = np.maximum(expected, 0).astype(float)
    np.testing.assert_allclose(rms_2d(x, weight, eps=0.01, activation="relu").raw, activated, rtol=1e-12)
    small = 1e-3 * x
    np.testing.assert_array_equal(rms_2d(small).raw, rms_2d(small, eps=1e-6).raw)
    inputs = [leaf(x[:1, :, :2, :2].copy()), leaf(weight)]
    gradcheck(rms_2d, inputs)
    compare_with_composition(rms_2d, inputs, order=2)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5, 6)])
def test_norms_of_images_take_images(shape):
    for norm in (ops.rms_norm_2d, ops.layer_norm_2d):
        with pytest.raises(ValueError, match=rf"{norm.__name__}: the input has 4 axes"):
            norm(np.ones(shape))
    with pytest.raises(ValueError, match=r"rms_norm_2d: weight has shape \(3,\) .*, got \(4,\)"):
        ops.rms_norm_2d(np.ones((2, 3, 4, 5)), np.ones(4))


SHAPES = {"rms_2d": (2, 4, 3, 2), "layer_2d": (2, 4, 3, 2)}
ALL = {**NORMS, "rms_2d": rms_2d}
CALLED = {name: f"{name}_norm" for name in ("batch", "layer", "group", "instance", "rms")}
CALLED |= {"inference": "batch_norm", "trailing": "layer_norm", "instance_inference": "instance_norm"}
CALLED |= {"layer_2d": "layer_norm_2d", "rms_2d": "rms_norm_2d"}


@pytest.mark.parametrize(
    ("name", "which"),
    [(name, which) for name in ALL for which in ("weight", "bias") if which == "weight" or not name.startswith("rms")],
)
def test_weight_and_bias_are_of_the_dtype_and_the_shape_of_the_input(name, which):
    x = np.ones(SHAPES.get(name, (2, 4, 3)))
    shape = affine_shape(name, x.shape)
    with pytest.raises(TypeError, match=r"one floating dtype is needed throughout, .* input float64.* float32"):
        ALL[name](x, **{which: np.ones(shape, np.float32)})
    with pytest.raises(
        ValueError, match=rf"^{CALLED[name]}: {which} has shape .* beside an input of {re.escape(str(x.shape))}, got"
    ):
        ALL[name](x, **{which: np.ones((*shape[:-1], shape[-1] + 1))})


@pytest.mark.parametrize("name", ALL)
def test_eps_is_a_number_of_at_least_0(name, rng):
    x = rng.normal(size=SHAPES.get(name, (3, 4, 3)))
    assert np.isfinite(ALL[name](x, eps=0).raw).all()
    for wrong in (-1e-3, np.nan, np.inf):
        with pytest.raises(ValueError, match="eps is a finite number of at least 0, got"):
            ALL[name](x, eps=wrong)


@pytest.mark.parametrize(
    ("name", "eps"),
    [("batch", 1e-5), ("inference", 1e-5), ("layer", 1e-5), ("layer_2d", 1e-6), ("group", 1e-5), ("instance", 1e-5)],
)
def test_eps_is_pytorchs_if_nothing_is_said(name, eps, rng):
    x = 1e-3 * rng.normal(size=SHAPES.get(name, (3, 4, 3)))
    np.testing.assert_array_equal(ALL[name](x).raw, ALL[name](x, eps=eps).raw)
    assert (ALL[name](x).raw != ALL[name](x, eps=2 * eps).raw).any()


@pytest.mark.parametrize("norm", [ops.batch_norm, ops.instance_norm])
def test_a_tenth_of_the_new_value_counts_if_nothing_is_said(norm, rng):
    x = rng.normal(size=(3, 4, 5))
    silent, told = ([np.zeros(4), np.ones(4)] for _ in range(2))
    own = {"training": True} if norm is ops.batch_norm else {}
    norm(x, *silent, **own)
    norm(x, *told, **own, momentum=0.1)
    np.testing.assert_array_equal(silent, told)
    assert (silent[0] != 0).all()


def test_norms_take_as_many_axes_as_arrays_have():
    x = np.arange(4.0).reshape((1,) * 62 + (2, 2))
    np.testing.assert_allclose(ops.layer_norm(x, 2, eps=0.0).raw.ravel(), [-1, 1, -1, 1])
    assert ops.rms_norm(x, (2, 2)).shape == x.shape


@pytest.mark.parametrize("norm", [ops.layer_norm, ops.rms_norm])
@pytest.mark.parametrize("lengths", [4.0, (4.0,), "4", None])
def test_normalized_shape_is_made_of_integers(norm, lengths):
    with pytest.raises(TypeError, match=rf"{norm.__name__}: normalized_shape is an integer or several, got "):
        norm(np.ones((2, 4)), lengths)


@pytest.mark.parametrize("norm", [ops.batch_norm, ops.instance_norm])
def test_running_statistics_are_arrays_or_tensors(norm):
    for running in ([1.0] * 4, 1.0):
        with pytest.raises(TypeError, match=f"{norm.__name__}: running_mean is an array or a tensor of floats, got"):
            norm(np.ones((2, 4, 3)), running, np.ones(4))


@pytest.mark.parametrize("momentum", [-0.1, 1.5, np.nan])
@pytest.mark.parametrize("norm", [ops.batch_norm, ops.instance_norm])
def test_momentum_is_a_share(norm, momentum):
    mean, var = np.zeros(4), np.ones(4)
    with pytest.raises(
        ValueError, match=rf"{norm.__name__}: momentum is the weight of the new value, .*, got {momentum}"
    ):
        norm(np.ones((2, 4, 3)), mean, var, momentum=momentum)


def test_one_running_statistic_moves_without_the_other(rng):
    x = rng.normal(3, 2, size=(6, 4))
    mean, var = np.zeros(4), np.ones(4)
    ops.batch_norm(x, mean, None, training=True, momentum=0.25)
    np.testing.assert_allclose(mean, 0.25 * x.mean(axis=0), rtol=1e-12)
    ops.batch_norm(x, None, var, training=True, momentum=0.25)
    np.testing.assert_allclose(var, 0.75 + 0.25 * x.var(axis=0, ddof=1), rtol=1e-12)


# What leaves the range: examples by hand; test_special_values.py has all others


@pytest.fixture(params=["reference", "composed", *(["cpu"] if kernels._use_cpu else [])])
def _way(request, monkeypatch):
    """Each way in which a norm is computed."""
    monkeypatch.setattr(kernels, "_use_cpu", request.param == "cpu")
    with composed(request.param == "composed"):
        yield


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


# Of nothing


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NORMS)
def test_an_empty_batch_gives_an_empty_batch_and_gradients_of_0(name, dtype, activation):
    shape = (0, 4, 2, 3)
    affine = [leaf(np.ones(affine_shape(name, shape), dtype)) for _ in range(1 if name == "rms" else 2)]
    running = {key: value.astype(dtype) for key, value in statistics(4).items()}
    x = leaf(np.ones(shape, dtype))
    named = dict(zip(("weight", "bias"), affine, strict=False))
    norms = NORMS | {
        "inference": lambda x, **more: ops.batch_norm(x, **running, **more),
        "instance_inference": lambda x, **more: ops.instance_norm(x, **running, use_input_stats=False, **more),
    }
    y = norms[name](x, **named, activation=activation)
    assert (y.shape, y.dtype) == (shape, dtype)
    dx, *others = grad(y, [x, *affine], np.ones(shape, dtype))
    assert dx.shape == shape
    for parameter, found in zip(affine, others, strict=True):
        assert (found.shape, found.dtype) == (parameter.shape, dtype)
        assert not found.raw.any()


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(("norm", "shape"), [(ops.batch_norm, (0, 3)), (ops.instance_norm, (0, 3, 4))])
def test_an_empty_batch_moves_no_running_statistics(norm, shape):
    mean, var = np.full(3, 2.0), np.full(3, 5.0)
    norm(np.ones(shape), mean, var, **({"training": True} if norm is ops.batch_norm else {}))
    assert mean.tolist() == [2] * 3
    assert var.tolist() == [5] * 3


def test_an_empty_batch_is_checked_as_any_other():
    with pytest.raises(ValueError, match="weight has shape"):
        ops.layer_norm(np.ones((0, 4)), 4, np.ones(3))
    with pytest.raises(TypeError, match="one floating dtype"):
        ops.batch_norm(np.ones((0, 4), int), None, None, training=True)


def test_an_empty_batch_of_images_of_one_pixel_is_no_lack_of_values():
    assert ops.instance_norm(np.ones((0, 3, 1))).shape == (0, 3, 1)


def test_one_row_without_a_batch_is_normalized(rng):
    x = rng.normal(size=4)
    for norm in (ops.layer_norm, ops.rms_norm):
        np.testing.assert_array_equal(norm(x, 4).raw, norm(x[None], 4).raw[0])


def test_running_statistics_of_another_dtype_keep_their_digits(rng):
    x, mean, var = rng.normal(size=(5, 2)).astype(np.float32), np.array([1 / 3, 2 / 3]), np.array([1 / 7, 3 / 7])
    expected = ((x - mean) / np.sqrt(var + 1e-5)).astype(np.float32)
    np.testing.assert_allclose(ops.batch_norm(x, mean, var).raw, expected, rtol=2e-7)


@pytest.mark.parametrize("num_groups", ["a", 1.0, True, 0, None])
def test_the_number_of_groups_is_an_integer(num_groups):
    with pytest.raises((TypeError, ValueError), match="group_norm: num_groups is an integer of at least 1, got"):
        ops.group_norm(X, num_groups)


def test_a_momentum_that_is_no_number_is_refused():
    with pytest.raises(
        TypeError, match="batch_norm: momentum is the weight of the new value, a number from 0 to 1, got"
    ):
        ops.batch_norm(X, ONES, ONES, training=True, momentum="0.1")


def test_a_norm_in_float64_is_composed_of_as_many_ops_as_in_float32():
    seen = []

    class Count(Hook):
        def before_forward(self, op, inputs):
            seen.append(type(op).__name__)

    counts = []
    for dtype in ("float32", "float64"):
        seen.clear()
        with composed(), hooks(Count()):
            ops.layer_norm(np.arange(6.0, dtype=dtype).reshape(2, 3), 3)
            ops.batch_norm(np.arange(6.0, dtype=dtype).reshape(2, 3), np.zeros(3, dtype), np.ones(3, dtype))
        counts.append(len([name for name in seen if name != "AsType"]))
    assert counts[0] == counts[1]


def test_infinite_statistics_move_in_silence():
    running = [np.array([np.inf, 0.0]), np.ones(2)]
    ops.batch_norm(np.array([[1.0, 2], [3, 4]]), *running, training=True, momentum=1.0)
    assert np.isnan(running[0][0])


def test_a_variance_beyond_float32_moves_to_infinity_in_silence():
    running = [np.zeros(1, np.float32), np.ones(1, np.float32)]
    ops.batch_norm(np.array([[-1e30], [1e30]], np.float32), *running, training=True)
    assert running[1].tolist() == [np.inf]


def test_a_number_has_no_axis_to_normalize():
    with pytest.raises(ValueError, match="layer_norm: the input has 1 or more axes, got shape"):
        ops.layer_norm(np.float64(1.0), 3)
