"""Arithmetic of two tensors: broadcasting, dtypes, powers, ties, and scaling by channels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from tests.ops.elements import ARITHMETIC, BOOL, FLOAT32, FLOAT64, INT64, UINT8, leaf, positive
from tinygrad_norm import Tensor, grad, ops
from tinygrad_norm.ops import elementwise
from tinygrad_norm.testing import compare_with_composition, gradcheck

arithmetic = pytest.mark.parametrize("name", ARITHMETIC)


@arithmetic
@pytest.mark.parametrize(
    "shapes", [((3, 5), (3, 5)), ((4, 1, 5), (3, 1)), ((), (2, 3)), ((2, 3), ()), ((1, 5), (3, 1))]
)
def test_gradient_of_arithmetic_with_broadcasting(rng, name, shapes):
    x, y = leaf(positive(rng, shapes[0])), leaf(ARITHMETIC[name][0](rng, shapes[1]))
    gradcheck(lambda x, y: ops.square(getattr(ops, name)(x, y)), [x, y], order=2)


@arithmetic
def test_gradient_of_arithmetic_with_a_number(rng, name):
    op, x = getattr(ops, name), leaf(positive(rng))
    gradcheck(lambda x: ops.square(op(x, 1.7)), [x], order=2)
    gradcheck(lambda x: ops.square(op(1.7, x)), [x], order=2)


@arithmetic
@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3), seed=st.integers(0, 99))
def test_arithmetic_broadcasts_as_numpy_does(name, shapes, seed):
    rng = np.random.default_rng(seed)
    x, y = positive(rng, shapes.input_shapes[0]), positive(rng, shapes.input_shapes[1])
    a, b = leaf(x), leaf(y)
    z = getattr(ops, name)(a, b)
    np.testing.assert_allclose(z.numpy(), ARITHMETIC[name][1](x, y), rtol=1e-14)
    cotangent = rng.normal(size=shapes.result_shape)
    whole = [leaf(np.broadcast_to(v, shapes.result_shape)) for v in (x, y)]
    expected = grad(getattr(ops, name)(*whole), whole, cotangent)
    for found, full, v in zip(grad(z, [a, b], cotangent), expected, (x, y), strict=True):
        assert found.shape == v.shape
        added = full.numpy().sum(axis=tuple(range(full.ndim - v.ndim)))
        axes = tuple(i for i, n in enumerate(v.shape) if n == 1)
        np.testing.assert_allclose(found.numpy(), added.sum(axis=axes, keepdims=True), rtol=1e-10, atol=1e-12)


@arithmetic
def test_arithmetic_keeps_the_memory_layout(rng, name):
    x, y = (positive(rng, (2, 4, 5, 3)).transpose(0, 3, 1, 2) for _ in range(2))
    a, b = (Tensor.wrap(v).requires_grad_() for v in (x, y))
    z = getattr(ops, name)(a, b)
    assert z.raw.strides == x.strides
    for gradient in grad(z, [a, b], np.ones_like(x)):
        assert gradient.raw.strides == x.strides


@arithmetic
def test_arithmetic_refuses_shapes_that_do_not_broadcast(name):
    op = {"pow": "power"}.get(name, name)
    with pytest.raises(ValueError, match=rf"(?i)^{op}: shapes \(3, 4\) and \(5,\) do not broadcast"):
        getattr(ops, name)(np.ones((3, 4)), Tensor(np.ones(5)))


@pytest.mark.parametrize(
    ("name", "x", "y", "dtype"),
    [
        ("add", FLOAT32, 2.5, "float32"),
        ("add", 2.5, FLOAT64, "float64"),
        ("add", FLOAT32, np.float64(2.5), "float32"),
        ("add", FLOAT32, FLOAT64, "float64"),
        ("add", FLOAT32, INT64, "float32"),
        ("add", INT64, 2.5, "float32"),
        ("add", INT64, 2, "int64"),
        ("add", 1, 2.5, "float32"),
        ("subtract", UINT8, 0.5, "float32"),
        ("multiply", BOOL, FLOAT32, "float32"),
        ("multiply", BOOL, 2.5, "float32"),
        ("divide", INT64, INT64, "float32"),
        ("divide", UINT8, 3, "float32"),
        ("divide", BOOL, BOOL, "float32"),
        ("divide", FLOAT64, INT64, "float64"),
        ("pow", FLOAT32, 2, "float32"),
        ("pow", 2, FLOAT64, "float64"),
        ("pow", INT64, 2, "int64"),
        ("pow", INT64, 0.5, "float32"),
        ("maximum", FLOAT32, 0, "float32"),
        ("maximum", INT64, FLOAT32, "float32"),
        ("minimum", INT64, 0, "int64"),
    ],
)
def test_dtype_of_arithmetic(name, x, y, dtype):
    assert getattr(ops, name)(x, y).dtype == dtype
    wrapped = [Tensor(v) if isinstance(v, np.ndarray) else v for v in (x, y)]
    assert getattr(ops, name)(*wrapped).dtype == dtype


def test_each_gradient_has_the_dtype_of_its_input():
    x, y = Tensor([1.0, 2.0], requires_grad=True), leaf([3.0, 4.0])
    dx, dy = grad(ops.multiply(x, y).sum(), [x, y])
    assert (dx.dtype, dy.dtype) == (np.float32, np.float64)
    assert (dx.tolist(), dy.tolist()) == ([3, 4], [1, 2])


def test_maximum_and_minimum_share_the_gradient_of_a_tie():
    x, y, cotangent = leaf([1.0, 2.0, 3.0]), leaf([2.0, 2.0, 2.0]), np.array([10.0, 20.0, 30.0])
    dx, dy = grad(ops.maximum(x, y), [x, y], cotangent)
    assert (dx.tolist(), dy.tolist()) == ([0, 10, 30], [10, 10, 0])
    dx, dy = grad(ops.minimum(x, y), [x, y], cotangent)
    assert (dx.tolist(), dy.tolist()) == ([10, 10, 0], [0, 10, 30])


@pytest.mark.parametrize("op", [ops.maximum, ops.minimum])
def test_maximum_and_minimum_hide_no_nan(op):
    x, y = leaf([np.nan, 1.0]), leaf([0.0, np.nan])
    z = op(x, y)
    assert np.isnan(z.numpy()).all()
    for gradient in grad(z, [x, y], np.array([3.0, 4.0])):
        assert gradient.tolist() == [3, 4]


@pytest.mark.parametrize("exponent", [-1, Tensor([-1]), np.array([2, -3]), Tensor([[-1], [1]])])
def test_negative_powers_of_integers_are_refused_without_a_word_on_shapes(exponent):
    with pytest.raises(ValueError, match="pow: y is at least 0 where x and y are integers") as refused:
        ops.pow(Tensor([2, 3]), exponent)
    assert "shape" not in str(refused.value)
    np.testing.assert_allclose(ops.pow(Tensor([2, 4]), -1.0).numpy(), [0.5, 0.25])


def test_powers_at_zero():
    x = leaf([0.0, 0.0, 0.0, -2.0])
    y = leaf([0.0, 1.0, 2.0, 3.0])
    z = ops.pow(x, y)
    assert z.tolist() == [1, 0, 0, -8]
    dx, dy = grad(z.sum(), [x, ops.negative(y)], allow_unused=True, retain_graph=True)
    assert dx.tolist() == [0, 1, 0, 12]
    assert dy is None
    positive_base = leaf([0.0, 0.0, 2.0])
    (dy,) = grad(ops.pow(positive_base.detach(), exponent := leaf([0.0, 2.0, 3.0])).sum(), [exponent])
    np.testing.assert_allclose(dy.numpy(), [0, 0, 8 * math.log(2)])


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.5, -1, -2.0])
def test_powers_with_a_number(rng, exponent):
    x = leaf(positive(rng))
    np.testing.assert_allclose(ops.pow(x, exponent).numpy(), x.numpy() ** exponent, rtol=1e-14)
    (dx,) = grad(ops.pow(x, exponent).sum(), [x])
    expected = exponent * x.numpy() ** (exponent - 1.0)
    np.testing.assert_allclose(dx.numpy(), expected, rtol=1e-13)


def test_powers_of_zero_with_a_number():
    x = leaf([0.0])
    for exponent, slope in ((0, 0), (1, 1), (2, 0)):
        assert grad(ops.pow(x, exponent), [x])[0].item() == slope
    (slope,) = grad(ops.pow(x, 2), [x], create_graph=True)
    assert grad(slope, [x])[0].item() == 2


def test_gradient_of_a_fractional_power(rng):
    x = leaf(rng.uniform(0.1, 5, size=20))
    (dx,) = grad(x**0.3, [x], np.ones(20))
    np.testing.assert_allclose(dx.numpy(), 0.3 * x.numpy().astype(np.longdouble) ** np.longdouble(0.3 - 1), rtol=1e-14)


def test_the_gradient_of_a_quotient_takes_no_square_that_leaves_the_range():
    x, y = (
        Tensor(np.array(values, np.float32), requires_grad=True) for values in ([2e30, 2e-30, 0], [1e30, 1e-30, 1e-30])
    )
    dx, dy = grad(x / y, [x, y], np.ones(3))
    np.testing.assert_allclose(dx.numpy(), [1e-30, 1e30, 1e30], rtol=1e-6)
    np.testing.assert_allclose(dy.numpy(), [-2e-30, -2e30, 0], rtol=1e-6)


def test_power_of_a_number_is_differentiated_in_float64():
    x = leaf([1.5])
    assert grad(ops.pow(3.0, x), [x])[0].item() == pytest.approx(3**1.5 * math.log(3), rel=1e-15)


def test_the_gradient_of_a_power_of_0_is_0_and_can_be_differentiated():
    x, weights = leaf([2.0, -3.0, 0.0]), leaf([1.0, 2.0, 3.0])
    (dx,) = grad(x**0, x, weights, create_graph=True)
    assert dx.tolist() == [0, 0, 0]
    assert grad(dx.sum(), weights)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(3, 2, 1, 1), (2, 1, 1), (3, 1, 1, 1), (4, 5), (3, 2, 4, 5), (1,), ()])
def test_scale_and_its_gradients(rng, shape):
    x = Tensor(rng.normal(size=(3, 2, 4, 5)), requires_grad=True)
    factors = Tensor(rng.normal(size=shape), requires_grad=True)
    np.testing.assert_array_equal(ops.scale(x, factors).numpy(), x.numpy() * factors.numpy())
    gradcheck(ops.scale, [x, factors], order=2)
    if shape:
        compare_with_composition(ops.scale, [x, factors], order=2)


def test_scaled_images_are_their_composition(rng):
    x = rng.normal(size=(8, 64, 64, 8)).transpose(0, 3, 1, 2)
    for shape in [(8, 8, 1, 1), (8, 1, 1)]:
        factors = Tensor(rng.normal(size=shape), requires_grad=True)
        compare_with_composition(ops.scale, [Tensor.wrap(x).requires_grad_(), factors])


def test_scale_keeps_dtypes_and_takes_numbers():
    half, wide = np.ones((2, 3), np.float32), np.ones(3)
    assert ops.scale(half, half[0]).dtype == np.float32
    assert ops.scale(half, wide).dtype == np.float64
    assert ops.scale(half, 2.0).tolist() == [[2, 2, 2], [2, 2, 2]]
    assert ops.scale(2, 3.0).item() == 6


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2), (2, 1)])
def test_factors_do_not_stretch_the_input(shape):
    with pytest.raises(ValueError, match=r"scale: factors of shape .* do not broadcast to the shape \(1, 2\)"):
        ops.scale(np.ones((1, 2)), np.ones(shape))


@pytest.mark.parametrize("op", [elementwise.Exp, elementwise.Log, elementwise.Subtract, elementwise.Floor])
def test_a_subclass_keeps_the_function_of_its_op(op):
    own = type("Own", (op,), {})
    inputs = [leaf([0.5, 1.5]), leaf([2.0, 0.25])][: 1 + (op is elementwise.Subtract)]
    found, expected = own()(*inputs), op()(*inputs)
    assert found.tolist() == expected.tolist()
    for one, other in zip(grad(found, inputs, np.ones(2)), grad(expected, inputs, np.ones(2)), strict=True):
        assert one.tolist() == other.tolist()


def test_integers_have_a_power_of_0():
    assert ops.pow(np.array([2, 3]), np.array([0, 2])).raw.tolist() == [1, 9]
