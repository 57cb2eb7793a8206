"""Norms: values against the formula, gradients against finite differences and the composition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.norms import LAYOUTS, NORMS, affine_shape, call, example, formula, leaf, statistics
from tinygrad_norm import grad, ops
from tinygrad_norm.definitions import ACTIVATIONS as FUSIBLE
from tinygrad_norm.modes import Hook, composed, hooks
from tinygrad_norm.testing import compare_with_composition, gradcheck

ACTIVATIONS = [None, *FUSIBLE, ("leaky_relu", 0.3), ("elu", 0.7)]


RANKS = {"layer_2d": (4, 4), "instance": (3, 5), "instance_inference": (3, 5)}


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


def test_one_row_without_a_batch_is_normalized(rng):
    x = rng.normal(size=4)
    for norm in (ops.layer_norm, ops.rms_norm):
        np.testing.assert_array_equal(norm(x, 4).raw, norm(x[None], 4).raw[0])


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
