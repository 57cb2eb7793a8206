from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, grad, ops
from tinygrad_norm.testing import gradcheck


def leaf(array):
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def log_sum_exp(x, axis, keepdims):
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


REDUCTIONS = {
    "sum": np.sum,
    "mean": np.mean,
    "var": np.var,
    "std": np.std,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "logsumexp": log_sum_exp,
}
FINDINGS = {"argmax": np.argmax, "argmin": np.argmin, "all": np.all, "any": np.any}
NEED_ELEMENTS = ["mean", "max", "min", "argmax", "argmin"]
AXES = [(None, False), (None, True), (0, False), (-1, True), (1, False), ((0, 2), False), ((-1, 0), True)]

reductions = pytest.mark.parametrize("name", REDUCTIONS)


def test_every_op_stands_in_a_table(exported):
    assert {*REDUCTIONS, *FINDINGS, "cumulative_sum"} == exported("reduction")


def test_agrees_with_pytorch(golden):
    np.testing.assert_allclose(*golden, rtol=1e-10, atol=1e-13)


@reductions
@pytest.mark.parametrize(("axis", "keepdims"), AXES)
def test_value_and_gradient(rng, name, axis, keepdims):
    op, x = getattr(ops, name), leaf(rng.uniform(0.5, 1.6, size=(3, 2, 4)) * rng.choice([-1, 1], size=(3, 2, 4)))
    y = op(x, axis=axis, keepdims=keepdims)
    expected = REDUCTIONS[name](x.numpy(), axis=axis, keepdims=keepdims)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12)
    gradcheck(lambda x: ops.square(op(x, axis=axis, keepdims=keepdims)), [x], order=2)


@reductions
def test_over_no_axis(rng, name):
    x = rng.normal(size=(2, 3))
    expected = REDUCTIONS[name](x, axis=(), keepdims=False)
    np.testing.assert_allclose(getattr(ops, name)(x, axis=()).numpy(), expected, atol=1e-15)


@reductions
def test_of_one_number(name):
    y = getattr(ops, name)(leaf(2.5))
    assert y.shape == ()
    assert y.item() == pytest.approx(0 if name in ("var", "std") else 2.5, abs=1e-15)


@reductions
@given(seed=st.integers(0, 999), data=st.data())
def test_any_layout_and_axes(name, seed, data):
    rng = np.random.default_rng(seed)
    ndim = data.draw(st.integers(1, 4))
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * ndim))
    axis = data.draw(st.lists(st.integers(-ndim, ndim - 1), unique_by=lambda i: i % ndim, max_size=ndim).map(tuple))
    view = rng.normal(size=[2 * n for n in shape])[tuple(slice(None, None, -2) for _ in shape)]
    view = view.transpose(rng.permutation(ndim))
    x = Tensor.wrap(view).requires_grad_()
    y = getattr(ops, name)(x, axis=axis)
    np.testing.assert_allclose(y.numpy(), REDUCTIONS[name](view, axis=axis, keepdims=False), rtol=1e-12, atol=1e-13)
    dense = leaf(view.copy())
    cotangent = rng.normal(size=y.shape)
    (found,) = grad(y, [x], cotangent)
    (expected,) = grad(getattr(ops, name)(dense, axis=axis), [dense], cotangent)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12, atol=1e-13)


@reductions
@pytest.mark.parametrize("dtype", ["int64", "int16", "uint8", "bool", "float32", "float64"])
def test_dtypes(name, dtype):
    x = np.array([[1, 0, 1], [1, 1, 0]]).astype(dtype)
    y = getattr(ops, name)(x, axis=1)
    np.testing.assert_allclose(y.numpy(), REDUCTIONS[name](x.astype(np.float64), axis=1, keepdims=False), rtol=1e-6)
    if x.dtype.kind == "f" or name in ("max", "min"):
        assert y.dtype == x.dtype
    else:
        assert y.dtype.kind in "iu" if name in ("sum", "prod") else y.dtype == np.float32


@pytest.mark.parametrize("correction", [0, 1, 0.5, 2])
def test_variance_with_a_correction(rng, correction):
    x = leaf(rng.normal(size=(4, 3)))
    expected = ((x.numpy() - x.numpy().mean(0)) ** 2).sum(0) / (4 - correction)
    np.testing.assert_allclose(ops.var(x, axis=0, correction=correction).numpy(), expected, rtol=1e-13)
    np.testing.assert_allclose(ops.std(x, axis=0, correction=correction).numpy(), np.sqrt(expected), rtol=1e-13)
    gradcheck(lambda x: ops.var(x, axis=0, correction=correction), [x], order=2)
    gradcheck(lambda x: ops.std(x, axis=(0, 1), correction=correction, keepdims=True), [x], order=2)


def test_variance_is_centred(rng):
    x = (2000 + 0.01 * rng.normal(size=10000)).astype(np.float32)
    assert ops.var(x).item() == pytest.approx(x.astype(np.float64).var(), rel=1e-4)


def test_gradient_of_a_deviation_of_zero_is_zero():
    x = leaf([[3.0, 3.0, 3.0], [1.0, 2.0, 3.0]])
    y = ops.std(x, axis=1)
    assert y.tolist() == pytest.approx([0, math.sqrt(2 / 3)])
    (dx,) = grad(y.sum(), [x])
    np.testing.assert_allclose(dx.numpy(), [[0, 0, 0], np.array([-1, 0, 1]) / math.sqrt(6)], atol=1e-15)


@pytest.mark.parametrize(("name", "sign"), [("max", 1), ("min", -1)])
def test_ties_share_the_gradient_evenly(name, sign):
    x = leaf(sign * np.array([[1.0, 2.0, 2.0], [2.0, 0.0, 1.0]]))
    op = getattr(ops, name)
    (dx,) = grad(op(x, axis=1), [x], np.array([4.0, 3.0]))
    assert dx.tolist() == [[0, 2, 2], [3, 0, 0]]
    (dx,) = grad(op(x), [x], np.array(6.0))
    assert dx.tolist() == [[0, 2, 2], [2, 0, 0]]


@pytest.mark.parametrize("zeros", [[], [1], [0, 3], [0, 1, 2, 3, 4]])
def test_product_with_zeros(rng, zeros):
    x = rng.normal(size=5)
    x[zeros] = 0
    (dx,) = grad(ops.prod(given := leaf(x)), [given])
    np.testing.assert_allclose(dx.numpy(), [np.delete(x, i).prod() for i in range(5)], rtol=1e-14)


@pytest.mark.parametrize("zeros", [[1], [0, 3]])
def test_second_gradient_of_a_product_with_zeros(rng, zeros):
    x = rng.normal(size=5)
    x[zeros] = 0
    (dx,) = grad(ops.prod(given := leaf(x)), [given], create_graph=True)
    weights = rng.normal(size=5)
    (second,) = grad((dx * weights).sum(), [given])
    expected = [sum(weights[j] * np.delete(x, [i, j]).prod() for j in range(5) if j != i) for i in range(5)]
    np.testing.assert_allclose(second.numpy(), expected, rtol=1e-12)


def test_product_of_many(rng):
    x = leaf(rng.uniform(0.9, 1.1, size=1000))
    y = ops.prod(x)
    (dx,) = grad(y, [x])
    np.testing.assert_allclose(dx.numpy(), y.item() / x.numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logsumexp_far_out(dtype):
    inf = np.inf
    x = Tensor(np.array([[1e4, 1e4], [-1e4, -1e4], [-inf, 3], [-inf, -inf], [1e4, -1e4]], dtype), requires_grad=True)
    y = ops.logsumexp(x, axis=1)
    np.testing.assert_allclose(y.numpy(), [1e4 + math.log(2), -1e4 + math.log(2), 3, -inf, 1e4], rtol=1e-6)
    (dx,) = grad(y, [x], np.ones(5, dtype))
    np.testing.assert_allclose(dx.numpy(), [[0.5, 0.5], [0.5, 0.5], [0, 1], [0, 0], [1, 0]], rtol=1e-3)


def test_logsumexp_keeps_infinity_and_nan():
    assert ops.logsumexp([np.inf, 1e4]).item() == np.inf
    assert np.isnan(ops.logsumexp([np.nan, 1e4]).item())


def test_equal_values_have_equal_shares_of_logsumexp_however_large_they_are():
    x = Tensor(np.array([[1e30, 1e30, 1e30, 0], [-3e38, -3e38, -3e38, -3e38]], np.float32), requires_grad=True)
    (dx,) = grad(ops.logsumexp(x, axis=1), [x], np.ones(2))
    np.testing.assert_allclose(dx.numpy(), [[1 / 3, 1 / 3, 1 / 3, 0], [1 / 4] * 4], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_and_means_that_are_in_the_range_are_right_where_their_parts_leave_it(dtype):
    m = np.finfo(dtype).max
    x = np.array([[m, m, -m, m / 4], [m, m, m, m], [1, 2, 3, 4], [np.inf, 1, 1, 1], [np.nan, m, m, m]], dtype)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(ops.mean(x, axis=1).numpy(), [dtype(m * 0.3125), m, 2.5, np.inf, np.nan])
        np.testing.assert_array_equal(ops.sum(x, axis=1).numpy(), [dtype(m * 1.25), np.inf, 10, np.inf, np.nan])
        assert ops.sum(x[0, :3]).item() == m
        assert ops.cumulative_sum(x[0, :3]).tolist() == [m, np.inf, m]
        np.testing.assert_array_equal(ops.mean(x.reshape(5, 1, 2, 2), (2, 3)), ops.mean(x, axis=1).numpy()[:, None])


@pytest.mark.parametrize(
    ("dtype", "size"), [(np.float32, 1e30), (np.float32, 1e-30), (np.float64, 1e200), (np.float64, 1e-200)]
)
def test_a_deviation_is_right_where_the_variance_leaves_the_range(rng, dtype, size):
    x = Tensor((rng.normal(size=(5, 4)) * size).astype(dtype), requires_grad=True)
    exact = x.numpy().astype(np.longdouble)
    np.testing.assert_allclose(
        ops.std(x, axis=0, correction=1).numpy(), exact.std(axis=0, ddof=1).astype(dtype), rtol=1e-6
    )
    (dx,) = grad(ops.std(x, axis=0), [x], np.ones(4))
    expected = (exact - exact.mean(axis=0)) / exact.std(axis=0) / 5
    np.testing.assert_allclose(dx.numpy(), expected.astype(dtype), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_values_have_no_variance(name, dtype):
    """The mean of six numbers is rounded, and the square of that rounding is no small number here."""
    assert getattr(ops, name)(np.full((6, 2), 1e30, dtype), axis=0).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["max", "min", "sum", "mean", "prod", "var"])
def test_nan_is_not_hidden(name):
    assert np.isnan(getattr(ops, name)(np.array([[1.0, np.nan], [1.0, 2.0]]), axis=1).numpy()).tolist() == [True, False]


@pytest.mark.parametrize("name", ["max", "min", "sum", "mean", "prod", "var", "std", "logsumexp"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite(name, value):
    expected = {"var": np.nan, "std": np.nan}.get(name, value)
    np.testing.assert_equal(getattr(ops, name)(np.array(value, np.float32)).raw, np.array(expected, np.float32))


@pytest.mark.parametrize("shape", [(1000003,), (1000003, 2), (101, 103, 97)])
def test_long_float32_sums_are_accurate(rng, shape):
    x = rng.uniform(0, 1, size=shape).astype(np.float32)
    axes = (0,) if len(shape) < 3 else (0, 2)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(ops.sum(x, axis=axes).numpy(), exact.sum(axis=axes), rtol=1e-7)
    np.testing.assert_allclose(ops.mean(x, axis=axes).numpy(), exact.mean(axis=axes), rtol=1e-7)
    np.testing.assert_allclose(ops.logsumexp(x, axis=axes).numpy(), np.log(np.exp(exact).sum(axis=axes)), rtol=1e-6)
    running = ops.cumulative_sum(x, axis=0)
    assert running.dtype == np.float32
    np.testing.assert_allclose(running.numpy()[-1], exact.sum(axis=0), rtol=1e-6)


# Cumulative sums


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_cumulative_sum(rng, axis):
    x = leaf(rng.normal(size=(3, 2, 4)))
    np.testing.assert_allclose(ops.cumulative_sum(x, axis=axis).numpy(), x.numpy().cumsum(axis), rtol=1e-14)
    gradcheck(lambda x: ops.square(ops.cumulative_sum(x, axis=axis)), [x], order=2)


def test_cumulative_sum_of_one_axis_and_of_integers():
    assert ops.cumulative_sum(leaf([1, 2, 3])).tolist() == [1, 3, 6]
    assert ops.cumulative_sum(np.array([1, 2, 3])).dtype == np.int64
    assert ops.cumulative_sum(np.array([True, True])).tolist() == [1, 2]
    with pytest.raises(ValueError, match="cumulative_sum: axis is given for an input with 2 axes"):
        ops.cumulative_sum(np.ones((2, 2)))


# Searching and testing


@pytest.mark.parametrize("name", FINDINGS)
@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_findings(rng, name, axis, keepdims):
    x = leaf(rng.integers(0, 3, size=(3, 2, 4)))
    y = getattr(ops, name)(x, axis=axis, keepdims=keepdims)
    np.testing.assert_array_equal(y.numpy(), FINDINGS[name](x.numpy(), axis=axis, keepdims=keepdims))
    assert y.dtype == (np.int64 if name.startswith("arg") else np.bool_)
    assert not y.requires_grad


def test_all_and_any_over_several_axes():
    x = np.array([[[1, 1], [1, 1]], [[1, 0], [1, 1]]])
    assert ops.all(x, axis=[1, 2]).tolist() == [True, False]
    assert ops.any(1 - x, axis=(1, -1)).tolist() == [False, True]


# What is empty, and what is wrong


def test_of_nothing():
    empty = np.ones((0, 3), np.float32)
    assert ops.sum(empty, axis=0).tolist() == [0, 0, 0]
    assert ops.prod(empty, axis=0).tolist() == [1, 1, 1]
    assert ops.all(empty).item()
    assert not ops.any(empty).item()
    assert ops.max(empty, axis=1).shape == (0,)
    assert ops.logsumexp(empty, axis=0).tolist() == [-np.inf] * 3
    assert ops.logsumexp(empty, axis=1).shape == (0,)
    x = leaf(empty)
    assert grad(ops.prod(x, axis=0), [x], np.ones(3))[0].shape == (0, 3)


@pytest.mark.parametrize("name", NEED_ELEMENTS)
def test_what_nothing_has_not(name):
    with pytest.raises(ValueError, match=rf"{name}: an input of shape \(2, 0\) has no elements over axis 1"):
        getattr(ops, name)(np.ones((2, 0)), axis=1)
    with pytest.raises(ValueError, match=rf"{name}: an input of shape \(2, 0\) has no elements$"):
        getattr(ops, name)(np.ones((2, 0)))


@pytest.mark.parametrize("name", ["var", "std"])
def test_variance_needs_more_values_than_the_correction(name):
    with pytest.raises(ValueError, match=rf"{name}: there are more values than correction=1, got 1 of shape \(1, 3\)"):
        getattr(ops, name)(np.ones((1, 3)), axis=0, correction=1)


@pytest.mark.parametrize("name", [*REDUCTIONS, *FINDINGS, "cumulative_sum"])
def test_wrong_axes(name):
    op, x = getattr(ops, name), np.ones((2, 3))
    for axis in (2, -3):
        with pytest.raises(ValueError, match=f"{name}: axis {axis} is out of range for an input with 2 axes"):
            op(x, axis=axis)
    with pytest.raises(TypeError, match=rf"{name}: an axis is an integer.*, got 0\.5"):
        op(x, axis=0.5)
    if name not in ("argmax", "argmin", "cumulative_sum"):
        with pytest.raises(ValueError, match=rf"{name}: axis \(0, -2\) names the same axis twice"):
            op(x, axis=(0, -2))


def test_finding_goes_along_one_axis():
    for op in (ops.argmax, ops.argmin):
        with pytest.raises(TypeError, match=r"an axis is an integer.*, got \(0, 1\)"):
            op([[1, 5], [7, 2]], axis=(0, 1))


def test_sums_and_products_in_another_dtype():
    x = Tensor(np.array([0.1, 0.2], np.float32), requires_grad=True)
    for op in (ops.sum, ops.prod, ops.cumulative_sum):
        assert op(x, dtype="float64").dtype == np.float64
    ops.sum(x, dtype="float64").backward()
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int64", "uint64", "bool"])
@pytest.mark.parametrize("given", ["int64", "int8", "bool", "float32"])
@pytest.mark.parametrize(("op", "numpy_op"), [(ops.sum, np.sum), (ops.prod, np.prod), (ops.cumulative_sum, np.cumsum)])
def test_integer_dtypes_are_numpys_and_wrap_around_as_there(op, numpy_op, given, dtype):
    for x in (np.array([100, 100, 76]), np.array([3, 7, 11]), np.array([0, 0, 0])):
        x = x.astype(given)
        found, expected = op(x, axis=0, dtype=dtype), numpy_op(x.astype(dtype), axis=0, dtype=dtype)
        assert found.dtype == expected.dtype == dtype
        np.testing.assert_array_equal(found.numpy(), expected)
    assert ops.sum(np.array([100, 100, 76]), dtype="int8").item() == 20


def test_sums_of_large_integers_and_of_booleans_are_exact():
    x = np.full(2000, 2**40 + 1)
    y = ops.sum(x)
    assert y.dtype == np.int64
    assert y.item() == 2000 * (2**40 + 1)
    truths = ops.sum(np.ones((2000, 3), bool), axis=0)
    assert truths.dtype == np.int64
    assert truths.tolist() == [2000] * 3


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 5, 2)])
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_the_mean_of_integers_over_two_axes_is_float32(rng, shape, dtype):
    x = rng.integers(0, 200, size=shape).astype(dtype)
    for keepdims in (False, True):
        y = ops.mean(x, (2, 3), keepdims)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.numpy(), x.astype(np.float64).mean(axis=(2, 3), keepdims=keepdims), rtol=1e-7)


def test_the_mean_of_floats_over_two_of_five_axes(rng):
    x = rng.normal(size=(2, 3, 4, 5, 2))
    np.testing.assert_allclose(ops.mean(x, (2, 3)).numpy(), x.mean(axis=(2, 3)), rtol=1e-12)


def test_an_extremum_that_is_nan_gives_its_gradient_to_the_nans():
    x = Tensor([1.0, np.nan, 3.0], requires_grad=True)
    ops.max(x).backward(np.float32(6))
    assert x.grad.tolist() == [0, 6, 0]


def test_lists_are_searched_and_added_up_along_an_axis():
    rows = [[1.0, 3.0], [4.0, 2.0]]
    np.testing.assert_allclose(ops.softmax(rows, axis=1).raw.sum(axis=1), 1, rtol=1e-6)
    assert ops.cumulative_sum(rows, axis=0).raw.tolist() == [[1, 3], [5, 5]]


def test_each_row_s_deviation_is_taken_from_its_own_large_mean(rng):
    noise = rng.normal(size=(2, 50))
    x = noise + np.array([[1e9], [-1e9]])
    exact = x.astype(np.longdouble).std(axis=1).astype(float)
    np.testing.assert_allclose(ops.std(x, axis=1).raw, exact, rtol=1e-14)


def test_zeros_have_no_deviation_beside_what_has_one():
    assert ops.std(np.array([[0.0, 0.0], [1.0, 3.0]]), axis=1).raw.tolist() == [0, 1]
