"""Functions of single elements: values, gradients, dtypes, comparisons."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.ops.elements import ARITHMETIC, FLOAT32, FLOAT64, INT64, leaf, nonzero, positive
from tinygrad_norm import Tensor, grad, no_grad, ops
from tinygrad_norm.testing import gradcheck


def real(rng, shape=(3, 5)):
    return rng.normal(0, 2, size=shape)


FUNCTIONS = {  # of one real number: where it is smooth, and what it is
    "negative": (real, lambda x: -x),
    "exp": (real, math.exp),
    "expm1": (real, math.expm1),
    "log": (positive, math.log),
    "log1p": (positive, math.log1p),
    "sqrt": (positive, math.sqrt),
    "rsqrt": (positive, lambda x: 1 / math.sqrt(x)),
    "square": (real, lambda x: x * x),
    "abs": (nonzero, math.fabs),
    "sin": (real, math.sin),
    "cos": (real, math.cos),
    "tanh": (real, math.tanh),
    "sigmoid": (real, lambda x: 1 / (1 + math.exp(-x))),
    "erf": (real, math.erf),
    "ndtr": (real, lambda x: math.erfc(-x * math.sqrt(0.5)) / 2),
}


KEEP_INTEGERS = {"negative", "square", "abs"}


STEPS = {"sign": lambda x: math.copysign(1, x), "floor": math.floor, "ceil": math.ceil, "round": round}


COMPARISONS = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}


TESTS_OF_ONE = {"logical_not": np.logical_not, "isnan": np.isnan, "isfinite": np.isfinite}


OTHERS = {"where", "clip", "astype", "gated", "logaddexp", "scale", "stop_gradient"}


functions = pytest.mark.parametrize("name", FUNCTIONS)


def test_every_op_stands_in_a_table(exported):
    named = {*FUNCTIONS, *STEPS, *ARITHMETIC, *COMPARISONS, *TESTS_OF_ONE, *OTHERS}
    assert named == exported("elementwise")


def test_agrees_with_pytorch(golden):
    np.testing.assert_allclose(*golden, rtol=1e-10, atol=1e-13)


# Functions of one number


@functions
def test_value_of_a_function(rng, name):
    draw, formula = FUNCTIONS[name]
    x = draw(rng)
    expected = np.vectorize(formula, otypes=[float])(x)
    np.testing.assert_allclose(getattr(ops, name)(x).numpy(), expected, rtol=1e-14, atol=1e-15)


@functions
def test_gradient_of_a_function(rng, name):
    op, x = getattr(ops, name), leaf(FUNCTIONS[name][0](rng))
    gradcheck(lambda x: ops.square(op(x)), [x], order=2)  # squared, so that linear ones have a second derivative


@functions
@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_function_of_a_number_and_of_nothing(rng, name, shape):
    draw, formula = FUNCTIONS[name]
    x = Tensor(draw(rng, shape), requires_grad=True)
    y = getattr(ops, name)(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape
    np.testing.assert_allclose(y.numpy(), np.vectorize(formula, otypes=[float])(x.numpy()), rtol=1e-14)


@functions
def test_functions_are_computed_in_the_dtype_of_their_input(rng, name):
    draw, formula = FUNCTIONS[name]
    x = draw(rng).astype(np.float32)
    y = getattr(ops, name)(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), np.vectorize(formula, otypes=[float])(x), rtol=3e-6, atol=1e-7)
    assert getattr(ops, name)(x.astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8", "bool"])
@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - KEEP_INTEGERS))
def test_functions_of_integers_are_float32(name, dtype):
    x = np.array([1, 3, 5]).astype(dtype)
    y = getattr(ops, name)(x)
    assert y.dtype == np.float32
    expected = [FUNCTIONS[name][1](float(v)) for v in x]
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6)
    assert ops.exp(2).dtype == np.float32


@pytest.mark.parametrize("name", sorted(KEEP_INTEGERS))
def test_arithmetic_of_integers_stays_integer(name):
    y = getattr(ops, name)(np.array([-3, 2]))
    assert y.dtype == np.int64
    assert y.tolist() == [FUNCTIONS[name][1](v) for v in (-3, 2)]


@functions
def test_functions_keep_the_memory_layout_and_the_input(rng, name):
    channels_last = FUNCTIONS[name][0](rng, (2, 4, 5, 3)).transpose(0, 3, 1, 2)
    before = channels_last.copy()
    x = Tensor.wrap(channels_last).requires_grad_()
    y = getattr(ops, name)(x)
    assert y.raw.strides == channels_last.strides
    (dx,) = grad(y, [x], np.ones_like(channels_last))
    assert dx.raw.strides == channels_last.strides
    np.testing.assert_array_equal(channels_last, before)


@functions
def test_functions_of_strided_views(rng, name):
    x = FUNCTIONS[name][0](rng, (6, 10))
    view = x[::-2, ::3].T
    np.testing.assert_array_equal(getattr(ops, name)(view).numpy(), getattr(ops, name)(view.copy()).numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "at_infinity", "at_minus_infinity"),
    [
        ("negative", -np.inf, np.inf),
        ("exp", np.inf, 0),
        ("expm1", np.inf, -1),
        ("log", np.inf, None),
        ("log1p", np.inf, None),
        ("sqrt", np.inf, None),
        ("rsqrt", 0, None),
        ("square", np.inf, np.inf),
        ("abs", np.inf, np.inf),
        ("sin", None, None),
        ("cos", None, None),
        ("tanh", 1, -1),
        ("sigmoid", 1, 0),
        ("erf", 1, -1),
        ("ndtr", 1, 0),
        ("sign", 1, -1),
        ("floor", np.inf, -np.inf),
        ("ceil", np.inf, -np.inf),
        ("round", np.inf, -np.inf),
    ],
)
def test_infinity_has_its_limit_and_nan_goes_through(name, at_infinity, at_minus_infinity, dtype):
    op = getattr(ops, name)
    for x, limit in ((np.inf, at_infinity), (-np.inf, at_minus_infinity)):
        if limit is not None:
            assert op(np.array([x], dtype)).item() == limit
    assert np.isnan(op(np.array([np.nan, 1.0], dtype)).numpy()).tolist() == [True, False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturating_functions_far_out(dtype):
    far = np.array([-1e4, -200, 200, 1e4], dtype)
    for name, below, above in (("sigmoid", 0, 1), ("tanh", -1, 1), ("erf", -1, 1), ("ndtr", 0, 1)):
        x = Tensor(far, requires_grad=True)
        y = getattr(ops, name)(x)
        np.testing.assert_allclose(y.numpy(), [below, below, above, above], rtol=1e-7, atol=1e-80)
        (dx,) = grad(y, [x], np.ones(4))
        np.testing.assert_allclose(dx.numpy(), np.zeros(4), atol=1e-80)


def test_sigmoid_is_exact_far_below_zero():
    np.testing.assert_allclose(ops.sigmoid(np.array([-700.0, -40.0])).numpy(), np.exp([-700.0, -40.0]), rtol=1e-14)


def test_erf_is_exact_to_1e_14():
    x = np.concatenate([np.linspace(-7, 7, 20001), np.logspace(-300, 0, 301), [0.0, 1.0, -1.0, 30.0]])
    np.testing.assert_allclose(ops.erf(x).numpy(), [math.erf(v) for v in x], rtol=0, atol=1e-14)
    small = x[np.abs(x) < 0.1]
    np.testing.assert_allclose(ops.erf(small).numpy(), [math.erf(v) for v in small], rtol=2e-14)


def test_log1p_and_expm1_are_exact_near_zero():
    tiny = np.array([1e-12, -1e-12])
    np.testing.assert_array_equal(ops.log1p(tiny).numpy(), [math.log1p(v) for v in tiny])
    np.testing.assert_array_equal(ops.expm1(tiny).numpy(), [math.expm1(v) for v in tiny])


def test_gradient_of_abs_at_zero_is_zero():
    x = leaf([0.0, -2.0, 3.0])
    assert grad(ops.abs(x).sum(), [x])[0].tolist() == [0, -1, 1]


@pytest.mark.parametrize("name", STEPS)
def test_a_step_has_values_and_a_gradient_of_zero(name):
    x = leaf([-1.5, -0.4, 0.5, 2.5, 3.2])
    y = getattr(ops, name)(x)
    assert y.tolist() == [STEPS[name](v) for v in x.tolist()]
    assert grad(y, [x], np.ones(5), retain_graph=True)[0].tolist() == [0] * 5
    assert grad(y, [x], np.full(5, np.inf))[0].tolist() == [0] * 5


def test_sign_of_zero_is_zero():
    assert ops.sign([-0.0, 0.0]).tolist() == [0, 0]


# Choosing and bounding


@pytest.mark.parametrize("shapes", [((3, 5),) * 3, ((3, 1), (5,), (2, 1, 1)), ((2, 3), (), ())])
def test_where_and_its_gradient(rng, shapes):
    condition = np.arange(np.prod(shapes[0])).reshape(shapes[0]) % 3 == 0
    x, y = leaf(rng.normal(size=shapes[1])), leaf(rng.normal(size=shapes[2]))
    np.testing.assert_array_equal(ops.where(condition, x, y).numpy(), np.where(condition, x.numpy(), y.numpy()))
    gradcheck(lambda x, y: ops.square(ops.where(condition, x, y)), [x, y], order=2)
    gradcheck(lambda x: ops.where(condition, x, 0.5), [x])
    gradcheck(lambda y: ops.where(condition, 0.5, y), [y])


@pytest.mark.parametrize("shapes", [((3, 5), (3, 5)), ((2, 3, 4), (3, 1)), ((), (2, 2))])
def test_logaddexp_and_its_gradients(rng, shapes):
    x, y = (leaf(rng.normal(0, 3, size=shape)) for shape in shapes)
    np.testing.assert_allclose(ops.logaddexp(x, y).numpy(), np.logaddexp(x.numpy(), y.numpy()), rtol=1e-14)
    gradcheck(lambda x, y: ops.square(ops.logaddexp(x, y)), [x, y], order=2)


def test_logaddexp_of_what_has_no_difference_and_of_numbers_far_apart():
    x, y = (
        leaf([1, -np.inf, np.inf, 1e-9, -2.5, -1e300, np.inf, 7]),
        leaf([-np.inf, -np.inf, np.inf, -1e8, -1e300, 3, 1, 7]),
    )
    z = ops.logaddexp(x, y)
    np.testing.assert_allclose(z.numpy(), [1, -np.inf, np.inf, 1e-9, -2.5, 3, np.inf, 7 + math.log(2)], rtol=1e-15)
    dx, dy = grad(z, [x, y], np.ones(8), create_graph=True)
    assert dx.tolist() == [1, 0.5, 0.5, 1, 1, 0, 1, 0.5]
    assert dy.tolist() == [0, 0.5, 0.5, 0, 0, 1, 0, 0.5]
    assert grad(dx, [x], np.ones(8))[0].tolist()[-1] == 0.25  # equal numbers are no infinities


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool"])
def test_logaddexp_of_integers_is_float32(dtype):
    y = ops.logaddexp(np.array([0, 1], dtype), 1)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), [np.logaddexp(0, 1), np.logaddexp(1, 1)], rtol=1e-6)


def test_where_takes_numbers_in_the_dtype_they_meet():
    mask = Tensor([True, False])
    assert ops.where(mask, Tensor([1.0, 2.0]), 0.1).dtype == np.float32
    assert ops.where(mask, 0.1, np.ones(2)).dtype == np.float64
    assert ops.where(mask, 1, 0).dtype == np.int64
    assert ops.where(mask, 1.5, 0).dtype == np.float32


def test_where_blocks_what_was_not_chosen():
    x = leaf([np.inf, 1.0])
    y = ops.where([False, True], x, 0.0)
    assert grad(y, [x], np.array([np.inf, 2.0]))[0].tolist() == [0, 2]


BOUNDS = {
    "both": (-0.5, 0.7),
    "lower": (-0.5, None),
    "upper": (None, 0.7),
    "arrays": (np.array([[-1.0], [0.0], [0.5]]), np.linspace(0.6, 1.5, 5)),
}


@pytest.mark.parametrize("kind", BOUNDS)
def test_clip_and_its_gradient(rng, kind):
    low, high = BOUNDS[kind]
    x = leaf(rng.normal(size=(3, 5)))
    np.testing.assert_array_equal(ops.clip(x, low, high).numpy(), np.clip(x.numpy(), low, high))
    gradcheck(lambda x: ops.square(ops.clip(x, low, high)), [x], order=2)


def test_clip_by_tensors_gives_each_its_gradient(rng):
    x, low, high = leaf(rng.normal(size=(4, 3, 5))), leaf([[-0.5], [-0.3], [0.1]]), leaf(rng.uniform(0.2, 0.9, size=5))
    gradcheck(lambda x, low, high: ops.square(ops.clip(x, low, high)), [x, low, high], order=2)
    gradcheck(lambda low: ops.square(ops.clip(x.detach(), min=low)), [low], order=2)
    gradcheck(lambda high: ops.square(ops.clip(x.detach(), max=high)), [high], order=2)


def test_clip_at_a_bound_and_with_bounds_the_wrong_way_round():
    x, low, high = leaf([0.0, 1.0, 0.5, 3.0]), leaf(np.full(4, 0.0)), leaf([1.0, 1.0, -1.0, 1.0])
    y = ops.clip(x, low, high)
    assert y.tolist() == [0, 1, -1, 1]
    found = grad(y, [x, low, high], np.array([1.0, 2.0, 3.0, 4.0]))
    assert [gradient.tolist() for gradient in found] == [[1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 3, 4]]


def test_clip_keeps_nan_and_dtype():
    assert np.isnan(ops.clip([np.nan, 2.0], 0, 1).numpy()).tolist() == [True, False]
    assert ops.clip(FLOAT32, 0.0, 0.1).dtype == np.float32
    assert ops.clip(INT64, 0, 2).dtype == np.int64
    assert ops.clip(FLOAT64, 0.0, 0.1).dtype == np.float64


def test_clip_without_bounds_changes_nothing():
    assert ops.clip([-1.0, 2.0]).tolist() == [-1, 2]


# Dtypes


def test_astype_casts_and_its_gradient_comes_back():
    x = leaf([1.5, -2.5])
    y = ops.astype(x, np.float32)
    assert (y.dtype, y.tolist()) == (np.float32, [1.5, -2.5])
    (dx,) = grad((y * y).sum(), [x])
    assert (dx.dtype, dx.tolist()) == (np.float64, [3, -5])
    gradcheck(lambda x: ops.square(ops.astype(ops.exp(x), "float64")), [x], order=2)


def test_astype_without_a_copy_is_the_tensor_itself_and_no_entry():
    x = leaf([1.0, 2.0])
    assert ops.astype(x, np.float64, copy=False) is x
    assert ops.astype(x, np.float64) is not x
    assert ops.astype(x, np.float32, copy=False).dtype == np.float32
    assert ops.astype(np.ones(2), np.float64, copy=False).tolist() == [1, 1]


def test_stop_gradient_is_a_constant_of_the_same_values():
    x = leaf([2.0, np.inf, np.nan])
    y = ops.stop_gradient(x)
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    assert not y.requires_grad
    assert grad(x * y, x, np.array([1.0, 0.0, 0.0]))[0].tolist()[0] == 2


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8"])
def test_astype_to_what_has_no_gradient(dtype):
    y = ops.astype(leaf([0.0, 2.7]), dtype)
    assert y.numpy().tolist() == np.array([0.0, 2.7]).astype(dtype).tolist()
    assert not y.requires_grad


@pytest.mark.parametrize("dtype", ["float16", "complex128", "datetime64[s]", object])
def test_astype_refuses_what_is_not_supported(dtype):
    with pytest.raises(TypeError, match="not supported"):
        ops.astype([1.0], dtype)


# Comparison


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_broadcast_and_have_no_gradient(rng, name):
    x, y = leaf(rng.integers(0, 3, size=(4, 1, 3))), leaf(rng.integers(0, 3, size=(5, 1)))
    z = getattr(ops, name)(x, y)
    assert z.dtype == np.bool_
    assert not z.requires_grad
    np.testing.assert_array_equal(z.numpy(), COMPARISONS[name](x.numpy(), y.numpy()))
    assert getattr(ops, name)(1.0, 2).item() == COMPARISONS[name](1.0, 2)
    with pytest.raises(ValueError, match=r"shapes \(3, 4\) and \(5,\) do not broadcast"):
        getattr(ops, name)(np.ones((3, 4)), np.ones(5))


@pytest.mark.parametrize("name", TESTS_OF_ONE)
def test_tests_of_one_number(name):
    x = leaf([0.0, 1.0, np.nan, np.inf, -np.inf])
    y = getattr(ops, name)(x)
    assert y.tolist() == TESTS_OF_ONE[name](x.numpy()).tolist()
    assert not y.requires_grad


def test_comparisons_with_nan():
    x = np.array([np.nan, 1.0])
    assert ops.equal(x, x).tolist() == [False, True]
    assert ops.not_equal(x, x).tolist() == [True, False]
    assert ops.less_equal(x, np.nan).tolist() == [False, False]


def test_no_grad_records_nothing(rng):
    with no_grad():
        assert not ops.add(leaf(real(rng)), 1.0).requires_grad
