"""NumPy's functions on tensors run our ops: the same values, a Tensor, and its gradient."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, grad, ops
from tinygrad_norm.ops import numpy_protocol

X = np.array([[0.5, -1.5, 2.0], [3.0, 0.25, -0.75]])
Y = np.array([[1.0, 2.0, -1.0], [0.5, -2.0, 4.0]])

# Each is run on arrays and on tensors.
DIFFERENTIABLE: dict[str, Callable[[Any], Any]] = {
    "add": lambda x: np.add(x, 1),
    "add, array first": lambda x: np.add(Y, x),
    "subtract": lambda x: np.subtract(Y, x),
    "multiply": lambda x: np.multiply(x, Y),
    "divide": lambda x: np.divide(Y, x),
    "true_divide": lambda x: np.true_divide(x, Y),
    "negative": np.negative,
    "power": lambda x: np.power(x, 2),
    "pow": lambda x: np.pow(x, 3),
    "exp": np.exp,
    "expm1": np.expm1,
    "log": lambda x: np.log(x + 4),
    "log1p": lambda x: np.log1p(x + 4),
    "sqrt": lambda x: np.sqrt(x + 4),
    "square": np.square,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "abs": np.abs,
    "sign": np.sign,
    "floor": lambda x: np.floor(x + 0.3),
    "ceil": lambda x: np.ceil(x + 0.3),
    "round": lambda x: np.round(x + 0.3),
    "rint": lambda x: np.rint(x + 0.3),
    "maximum": lambda x: np.maximum(x, Y),
    "minimum": lambda x: np.minimum(Y, x),
    "logaddexp": lambda x: np.logaddexp(x, Y),
    "clip": lambda x: np.clip(x, -1, 1),
    "clip by name": lambda x: np.clip(x, a_min=-1, a_max=None),
    "where": lambda x: np.where(Y > 0, x, 1.0),
    "sum": np.sum,
    "sum over an axis": lambda x: np.sum(x, axis=0, keepdims=True, out=None),
    "sum, axis second": lambda x: np.sum(x, 1),
    "mean": lambda x: np.mean(x, axis=1),
    "var": lambda x: np.var(x, axis=1, ddof=1),
    "std": lambda x: np.std(x, ddof=0),
    "max": lambda x: np.max(x, axis=(0, 1)),
    "amin": lambda x: np.amin(x, axis=0),
    "prod": lambda x: np.prod(x, axis=1),
    "add.reduce": lambda x: np.add.reduce(x),
    "multiply.reduce": lambda x: np.multiply.reduce(x, axis=1, keepdims=True),
    "maximum.reduce": lambda x: np.maximum.reduce(x, axis=None),
    "cumsum": lambda x: np.cumsum(x, axis=1),
    "reshape": lambda x: np.reshape(x, (3, -1)),
    "ravel": np.ravel,
    "transpose": np.transpose,
    "transpose with axes": lambda x: np.transpose(x, (1, 0)),
    "swapaxes": lambda x: np.swapaxes(x, 0, -1),
    "moveaxis": lambda x: np.moveaxis(x, 0, 1),
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "squeeze": lambda x: np.squeeze(np.expand_dims(x, 0), axis=0),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 2, 3)),
    "concatenate": lambda x: np.concatenate([Y, x, x], axis=1),
    "concatenate flat": lambda x: np.concatenate((x, Y), axis=None),
    "stack": lambda x: np.stack([x, Y], axis=-1),
    "split": lambda x: np.split(x, 3, axis=1)[1],
    "flip": lambda x: np.flip(x, 0),
    "roll": lambda x: np.roll(x, 1, axis=1),
    "take": lambda x: np.take(x, [0, 2, 2], axis=1),
    "take_along_axis": lambda x: np.take_along_axis(x, np.array([[2], [0]]), axis=1),
    "pad": lambda x: np.pad(x, ((1, 0), (0, 2))),
    "pad with a value": lambda x: np.pad(x, 1, "constant", constant_values=7),
    "matmul": lambda x: np.matmul(x, Y.T),
    "matmul, array first": lambda x: np.matmul(Y.T, x),
    "dot": lambda x: np.dot(x, Y[0]),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, Y),
    "copy": np.copy,
}
CONSTANT: dict[str, Callable[[Any], Any]] = {
    "equal": lambda x: np.equal(x, 0.5),
    "greater": lambda x: np.greater(Y, x),
    "logical_and": lambda x: np.logical_and(x > 0, Y > 0),
    "bitwise_and": lambda x: np.bitwise_and(x > 0, True),
    "bitwise_or": lambda x: np.bitwise_or(Y > 0, x > 0),
    "isnan": np.isnan,
    "isfinite": np.isfinite,
    "argmax": lambda x: np.argmax(x, axis=1),
    "argmin": np.argmin,
    "all": lambda x: np.all(x > -2, axis=0),
    "any": lambda x: np.any(x > 2, axis=0),
    "zeros_like": lambda x: np.zeros_like(x / 0),
    "ones_like": lambda x: np.ones_like(x * np.nan),
    "copy of truths": lambda x: np.copy(x > 0),
}


def leaf(array: Any = X) -> Tensor:
    return Tensor(array, requires_grad=True)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_function_gives_numpys_values_and_a_gradient(name):
    function, x = DIFFERENTIABLE[name], leaf()
    y = function(x)
    assert type(y) is Tensor
    expected = np.asarray(function(X))
    assert y.shape == expected.shape
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12)
    direction = np.random.default_rng(0).normal(size=X.shape)
    cotangent = np.random.default_rng(1).normal(size=y.shape)
    (dx,) = grad(y, x, cotangent)
    difference = (function(X + 1e-6 * direction) - function(X - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose((dx.numpy() * direction).sum(), (difference * cotangent).sum(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", CONSTANT)
def test_a_function_without_gradient_gives_numpys_values_and_dtype(name):
    with np.errstate(all="ignore"):
        y, expected = CONSTANT[name](leaf()), np.asarray(CONSTANT[name](X))
    assert type(y) is Tensor
    assert not y.requires_grad
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.numpy(), expected)


INF, NAN = np.inf, np.nan
SPECIAL = [0.0, -0.0, 1.0, -2.5, 1e-9, 1e30, -1e300, 5e-324, 2.3e-308, 1.7e308, -1.7e308, INF, -INF, NAN]
PAIRS = np.array([(a, b) for a in SPECIAL for b in SPECIAL])
# Every function, of two columns of special values; sums are those of a pair.
SPECIAL_CALLS: dict[str, Callable[[Any, Any], Any]] = {
    name: getattr(np, name)
    for name in (
        *("add", "subtract", "multiply", "divide", "pow", "power", "maximum", "minimum", "logaddexp"),
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
        *("logical_and", "logical_or", "logical_xor"),
    )
}
SPECIAL_CALLS |= {
    name: lambda x, y, name=name: getattr(np, name)(x)
    for name in (
        *(
            "negative",
            "abs",
            "absolute",
            "exp",
            "expm1",
            "log",
            "log1p",
            "sqrt",
            "square",
            "sign",
            "sin",
            "cos",
            "tanh",
        ),
        *("floor", "ceil", "round", "rint", "isnan", "isfinite", "logical_not", "copy", "zeros_like", "ones_like"),
        *("ravel", "transpose", "squeeze", "flip", "shape", "ndim", "size"),
    )
}
SPECIAL_CALLS |= {
    name: lambda x, y, name=name: getattr(np, name)(np.stack([x, y], -1), axis=-1)
    for name in (
        *("sum", "mean", "var", "std", "max", "min", "amax", "amin", "prod", "argmax", "argmin", "all", "any"),
        *("cumsum", "cumulative_sum"),
    )
}
SPECIAL_CALLS |= {
    "clip": lambda x, y: np.clip(x, -2.5, y),
    "where": lambda x, y: np.where(PAIRS[:, 0] > 0, x, y),
    "stack": lambda x, y: np.stack([x, y]),
    "concatenate": lambda x, y: np.concatenate([x, y]),
    "concat": lambda x, y: np.concat([y, x]),
    "reshape": lambda x, y: np.reshape(x, (-1, 2)),
    "expand_dims": lambda x, y: np.expand_dims(x, 0),
    "broadcast_to": lambda x, y: np.broadcast_to(x, (2, len(PAIRS))),
    "split": lambda x, y: np.split(x, 2)[1],
    "roll": lambda x, y: np.roll(x, 3),
    "moveaxis": lambda x, y: np.moveaxis(np.stack([x, y]), 0, 1),
    "swapaxes": lambda x, y: np.swapaxes(np.stack([x, y]), 0, 1),
    "astype": lambda x, y: np.astype(x, np.float64),
    "matrix_transpose": lambda x, y: np.matrix_transpose(np.stack([x, y])),
    "permute_dims": lambda x, y: np.permute_dims(np.stack([x, y]), (1, 0)),
    "take": lambda x, y: np.take(x, [0, 5, 5], axis=0),
    "take_along_axis": lambda x, y: np.take_along_axis(x, np.array([4, 4]), axis=0),
    "pad": lambda x, y: np.pad(x, 1, constant_values=INF),
    "matmul": lambda x, y: np.matmul(np.reshape(x, (-1, 1)), np.reshape(y, (1, -1))),
    "dot": lambda x, y: np.dot(np.reshape(x, (-1, 1)), np.reshape(y, (1, -1))),
    "einsum": lambda x, y: np.einsum("i,i->i", x, y),
    "bitwise_and": lambda x, y: np.bitwise_and(x > 0, y > 0),
    "bitwise_or": lambda x, y: np.bitwise_or(x > 0, y > 0),
}


def test_every_function_that_ops_has_is_called_with_special_values():
    numpys = {name for name in dir(np) if hasattr(getattr(np, name), "_implementation")}
    numpys |= {name for name in dir(np) if isinstance(getattr(np, name), np.ufunc)}
    assert SPECIAL_CALLS.keys() == numpy_protocol._FUNCTIONS.keys() | numpy_protocol._OUR_NAMES.keys() | (
        numpys & vars(ops).keys()
    )


@pytest.mark.parametrize("name", SPECIAL_CALLS)
def test_pairs_of_special_values(name):
    """NumPy's own result, in extended precision: the mean of two large numbers is none in float64."""
    x, y = PAIRS.T
    with np.errstate(all="ignore"):
        found = SPECIAL_CALLS[name](leaf(x), leaf(y))
        expected = np.asarray(SPECIAL_CALLS[name](x.astype(np.longdouble), y.astype(np.longdouble)))
        expected = expected.astype(np.float64) if expected.dtype == np.longdouble else expected
    assert name in ("shape", "ndim", "size") or (type(found) is Tensor and found.dtype == expected.dtype)
    values = getattr(found, "raw", found)
    np.testing.assert_allclose(values, expected, rtol=1e-13, atol=np.finfo(np.float64).tiny)


def test_numbers_about_a_tensor():
    assert (np.shape(leaf()), np.ndim(leaf()), np.size(leaf())) == ((2, 3), 2, 6)


def test_an_array_takes_the_values():
    x = Tensor(X)
    assert np.asarray(x) is x.numpy()
    assert type(np.array(x)) is np.ndarray
    assert not np.shares_memory(np.array(x), x.numpy())
    assert np.asarray(x, np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.array([x, x]), [X, X])
    np.testing.assert_array_equal(np.array([x[0, 0], x[1, 1]]), [X[0, 0], X[1, 1]])
    with pytest.raises(ValueError, match="Unable to avoid copy"):
        np.array(x, np.float32, copy=False)


def test_comparisons_for_tests_take_tensors():
    x = Tensor(X)
    np.testing.assert_allclose(x, X)
    np.testing.assert_array_equal(X, x)
    with pytest.raises(AssertionError, match="Mismatched elements: 6 / 6"):
        np.testing.assert_allclose(x, X + 1)
    assert np.allclose(x, X)
    assert not np.allclose(X + 1, b=x)
    assert np.array_equal(x, x)
    assert np.isclose(x, X).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda x, out: np.add(x, 1, out=out),
        lambda x, out: np.add(X, 1, out=x),
        lambda x, out: np.sum(x, axis=None, out=out),
        lambda x, out: np.matmul(x, X.T, out=out),
        lambda x, out: np.clip(x, 0, 1, out=out),
        lambda x, out: operator.iadd(out, x),
    ],
)
def test_out_is_refused(call):
    x, out = leaf(), np.zeros((2, 3))
    with pytest.raises(TypeError, match=r"np\.\w+\(out=...\) with tensors is not defined: assign the result"):
        call(x, out)
    np.testing.assert_array_equal(x.numpy(), X)
    assert not out.any()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (np.arctan, "arctan"),
        (np.linalg.norm, "norm"),
        (np.median, "median"),
        (np.fft.fft, "fft"),
        (lambda x: np.remainder(x, 2), "remainder"),
        (lambda x: np.add.outer(x, x), "add.outer"),
        (lambda x: np.add.at(x, 0, 1), "add.at"),
        (lambda x: np.subtract.reduce(x), "subtract.reduce"),
        (lambda x: np.copyto(np.zeros((2, 3)), x), "copyto"),
    ],
)
def test_another_function_is_refused_by_name(call, name):
    with pytest.raises(TypeError, match=rf"np\.{name} is not defined for tensors; use tensor.numpy\(\)"):
        call(leaf())


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda x: np.sum(x, 0, np.float64), "np.sum with tensors: give what follows axis by name"),
        (lambda x: np.max(x, 0, None, True), "np.max with tensors: give what follows axis by name"),
        (lambda x: np.var(x, 0, None, None, 1), "by name"),
        (lambda x: np.dot(x, np.ones((2, 3, 4))), "more than two axes; use matmul or einsum"),
        (lambda x: np.pad(x, 1, mode="edge"), "mode is 'constant', got 'edge'"),
        (lambda x: np.mean(x, dtype=np.float64), "unexpected keyword argument 'dtype'"),
        (lambda x: np.add(x, 1, where=X > 0), "unexpected keyword argument 'where'"),
        (lambda x: np.bitwise_and(np.array([1, 2, 3]), x), "take bool tensors"),
    ],
)
def test_what_would_mean_something_else_is_refused(call, reason):
    with pytest.raises(TypeError, match=reason):
        call(leaf())


@pytest.mark.parametrize("function", [np.bitwise_and, np.bitwise_or, np.logical_xor, np.not_equal])
def test_truths_are_combined_with_either_operand_a_tensor(function):
    truths, others = np.array([True, True, False, False]), np.array([True, False, True, False])
    expected = function(truths, others).tolist()
    for x, y in ((Tensor(truths), Tensor(others)), (Tensor(truths), others), (truths, Tensor(others))):
        assert function(x, y).tolist() == expected


def test_axes_are_swapped_wherever_they_are(rng):
    x = rng.normal(size=(2, 3, 4))
    for a, b in ((0, 2), (1, -1), (-3, 1), (1, 1)):
        swapped: Any = np.swapaxes(Tensor(x), a, b)
        np.testing.assert_array_equal(swapped.numpy(), np.swapaxes(x, a, b))
