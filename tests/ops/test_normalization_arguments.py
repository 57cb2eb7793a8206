"""What norms take: dtypes, strides, arrays and lists; and what they refuse."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

from tests.ops.norms import NORMS, ONES, X, affine_shape, call, example, formula, leaf
from tinygrad_norm import Tensor, grad, ops
from tinygrad_norm.modes import composed, no_grad
from tinygrad_norm.testing import compare_with_composition, gradcheck


@pytest.mark.parametrize("name", NORMS)
def test_no_input_is_changed(name, rng):
    inputs = example(name, rng)
    copies, dy = [tensor.raw.copy() for tensor in inputs], rng.normal(size=inputs[0].shape)
    given = dy.copy()
    call(name, activation="relu")(*inputs).backward(dy)
    for tensor, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(tensor.raw, copy)
    np.testing.assert_array_equal(dy, given)


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


def test_the_arguments_are_pytorchs():
    expected = "x running_mean running_var weight bias training momentum eps activation"
    assert list(inspect.signature(ops.batch_norm).parameters) == expected.split()


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


def test_norms_take_as_many_axes_as_arrays_have():
    x = np.arange(4.0).reshape((1,) * 62 + (2, 2))
    np.testing.assert_allclose(ops.layer_norm(x, 2, eps=0.0).raw.ravel(), [-1, 1, -1, 1])
    assert ops.rms_norm(x, (2, 2)).shape == x.shape


@pytest.mark.parametrize("norm", [ops.layer_norm, ops.rms_norm])
@pytest.mark.parametrize("lengths", [4.0, (4.0,), "4", None])
def test_normalized_shape_is_made_of_integers(norm, lengths):
    with pytest.raises(TypeError, match=rf"{norm.__name__}: normalized_shape is an integer or several, got "):
        norm(np.ones((2, 4)), lengths)


def test_an_empty_batch_is_checked_as_any_other():
    with pytest.raises(ValueError, match="weight has shape"):
        ops.layer_norm(np.ones((0, 4)), 4, np.ones(3))
    with pytest.raises(TypeError, match="one floating dtype"):
        ops.batch_norm(np.ones((0, 4), int), None, None, training=True)


def test_an_empty_batch_of_images_of_one_pixel_is_no_lack_of_values():
    assert ops.instance_norm(np.ones((0, 3, 1))).shape == (0, 3, 1)


@pytest.mark.parametrize("num_groups", ["a", 1.0, True, 0, None])
def test_the_number_of_groups_is_an_integer(num_groups):
    with pytest.raises((TypeError, ValueError), match="group_norm: num_groups is an integer of at least 1, got"):
        ops.group_norm(X, num_groups)


def test_a_number_has_no_axis_to_normalize():
    with pytest.raises(ValueError, match="layer_norm: the input has 1 or more axes, got shape"):
        ops.layer_norm(np.float64(1.0), 3)
