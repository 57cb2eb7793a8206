from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from tinygrad_norm import Tensor, composed, definitions, grad, ops
from tinygrad_norm.ops.activation import activate, fusible
from tinygrad_norm.testing import compare_with_composition, gradcheck


def leaf(array):
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def phi(x):
    return (1 + math.erf(x / math.sqrt(2))) / 2


def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


ACTIVATIONS = {  # id: the op, its arguments, its formula, where it has a kink
    "relu": (ops.relu, {}, lambda x: max(x, 0), [0]),
    "leaky_relu": (ops.leaky_relu, {}, lambda x: x if x > 0 else 0.01 * x, [0]),
    "leaky_relu 0.3": (ops.leaky_relu, {"negative_slope": 0.3}, lambda x: x if x > 0 else 0.3 * x, [0]),
    "elu": (ops.elu, {}, lambda x: x if x > 0 else math.expm1(x), [0]),
    "elu 1.7": (ops.elu, {"alpha": 1.7}, lambda x: x if x > 0 else 1.7 * math.expm1(x), [0]),
    "gelu": (ops.gelu, {}, lambda x: x * phi(x), []),
    "gelu tanh": (
        ops.gelu,
        {"approximate": "tanh"},
        lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        [],
    ),
    "silu": (ops.silu, {}, lambda x: x * sigmoid(x), []),
    "softplus": (ops.softplus, {}, softplus, []),
    "softplus 2.5": (ops.softplus, {"beta": 2.5, "threshold": 3}, lambda x: softplus(2.5 * x) / 2.5, []),
    "hardswish": (ops.hardswish, {}, lambda x: x * min(max(x + 3, 0), 6) / 6, [-3, 3]),
    "mish": (ops.mish, {}, lambda x: x * math.tanh(softplus(x)), []),
}
FUSED = [name for name in ACTIVATIONS if name.partition(" ")[0] not in ("relu", "softplus")]

activations = pytest.mark.parametrize("name", ACTIVATIONS)


def act(name, x):
    return ACTIVATIONS[name][0](x, **ACTIVATIONS[name][1])


def expected(name, x):
    return np.vectorize(ACTIVATIONS[name][2], otypes=[float])(x)


def smooth(rng, name, shape=(3, 5)):
    """Inputs that keep away from the kinks, on both sides."""
    x = rng.normal(0, 2.5, size=shape)
    for kink in ACTIVATIONS[name][3]:
        x = np.where(np.abs(x - kink) < 0.01, kink + 0.1, x)
    return x


def test_every_op_has_tests(exported):
    tested = {op.__name__ for op, *_ in ACTIVATIONS.values()}
    assert exported("activation") == tested | {"add_relu", "softmax", "log_softmax"}


def test_agrees_with_pytorch(golden):
    np.testing.assert_allclose(*golden, rtol=1e-8, atol=1e-10)  # PyTorch takes softplus beyond 20 for its argument


@activations
def test_value_and_gradient(rng, name):
    x = leaf(smooth(rng, name))
    np.testing.assert_allclose(act(name, x).numpy(), expected(name, x.numpy()), rtol=1e-13, atol=1e-15)
    gradcheck(lambda x: ops.square(act(name, x)), [x], order=2)


@pytest.mark.parametrize("name", FUSED)
@given(shape=array_shapes(max_dims=4, max_side=5), seed=st.integers(0, 999))
def test_is_its_composition(name, shape, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 3, size=shape).transpose(rng.permutation(len(shape)))
    compare_with_composition(lambda x: act(name, x), [Tensor.wrap(x).requires_grad_()], order=2)


@pytest.mark.parametrize("name", FUSED)
def test_is_its_composition_to_third_order(rng, name):
    compare_with_composition(lambda x: act(name, x), [leaf(smooth(rng, name, (7,)))], order=3)


@activations
@pytest.mark.parametrize("shape", [(), (0, 3)])
def test_of_a_number_and_of_nothing(name, shape):
    x = leaf(np.full(shape, 0.7))
    y = act(name, x)
    assert y.shape == grad(y.sum(), [x])[0].shape == shape
    np.testing.assert_allclose(y.numpy(), np.full(shape, ACTIVATIONS[name][2](0.7)), rtol=1e-14)


@activations
def test_float32_and_memory_layout(rng, name):
    x = smooth(rng, name, (2, 4, 5, 3)).astype(np.float32).transpose(0, 3, 1, 2)
    before = x.copy()
    given = Tensor.wrap(x).requires_grad_()
    y = act(name, given)
    (dx,) = grad(y, [given], np.ones_like(x))
    assert y.dtype == dx.dtype == np.float32
    assert y.raw.strides == dx.raw.strides == x.strides
    np.testing.assert_allclose(y.numpy(), expected(name, x), rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(x, before)


@activations
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_of_integers(name, dtype):
    x = np.array([0, 1, 3]).astype(dtype)
    y = act(name, x)
    assert y.dtype.kind in "iu" if name == "relu" else y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), expected(name, x.astype(float)), rtol=1e-6)


@activations
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("definition", [False, True])
def test_far_out(name, dtype, definition):
    x = Tensor(np.array([-1e4, -200, 200, 1e4], dtype), requires_grad=True)
    with composed(definition):
        y = act(name, x)
        (dx,) = grad(y, [x], np.ones(4))
    np.testing.assert_allclose(y.numpy(), expected(name, x.numpy()), rtol=1e-6, atol=1e-30)
    left = {"leaky_relu": 0.01, "leaky_relu 0.3": 0.3}.get(name, 0)
    np.testing.assert_allclose(dx.numpy(), [left, left, 1, 1], rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("definition", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("op", "values", "slopes"),
    [
        (ops.hardswish, [np.inf, -np.inf, 1e30], [1, 0, 1]),
        (lambda x: ops.gelu(x, "tanh"), [np.inf, -np.inf, 1e30, -1e30], [1, 0, 1, 0]),
        (lambda x: ops.leaky_relu(x, 0.1), [np.nan, np.inf, -np.inf], [0.1, 1, 0.1]),  # at NaN as PyTorch's
    ],
)
def test_slopes_far_out_and_at_nan(op, values, slopes, dtype, definition):
    x = Tensor(np.array(values, dtype), requires_grad=True)
    with composed(definition):
        (dx,) = grad(op(x), [x], np.ones(len(values)))
    np.testing.assert_allclose(dx.numpy(), slopes, rtol=1e-6)


@activations
@pytest.mark.parametrize("definition", [False, True])
def test_nan_and_infinity_are_not_hidden(name, definition):
    with composed(definition):
        y = act(name, np.array([np.nan, 1.0, np.inf]))
    assert np.isnan(y.numpy()).tolist() == [True, False, False]
    assert y.numpy()[2] == np.inf


@pytest.mark.parametrize(
    ("name", "kink", "slope"),
    [
        ("relu", 0, 0),
        ("leaky_relu 0.3", 0, 0.3),
        ("elu 1.7", 0, 1.7),
        ("hardswish", -3, 0),
        ("hardswish", 3, 1),
        ("softplus", 0, 0.5),
    ],
)
@pytest.mark.parametrize("definition", [False, True])
def test_slope_at_a_kink_is_pytorchs(name, kink, slope, definition):
    x = leaf([kink])
    with composed(definition):
        assert grad(act(name, x), [x])[0].item() == pytest.approx(slope)


def test_softplus_is_exact_far_below_zero():
    np.testing.assert_allclose(ops.softplus(np.array([-700.0, -40.0])).numpy(), np.exp([-700.0, -40.0]), rtol=1e-14)


def test_gelu_refuses_an_unknown_approximation():
    with pytest.raises(ValueError, match="gelu: approximate is 'none' or 'tanh', got 'erf'"):
        ops.gelu([1.0], approximate="erf")


# ReLU saves its output only


def test_relu_hides_nothing_where_it_is_off():
    x = Tensor(np.array([-1.0, 0.0, 2.0, np.nan]), requires_grad=True)
    (dx,) = grad(ops.relu(x), [x], np.array([np.inf, np.nan, np.inf, 3.0]))
    np.testing.assert_array_equal(dx.numpy(), [0, 0, np.inf, 3])


@pytest.mark.parametrize("shapes", [((3, 5), (3, 5)), ((2, 3, 4), (3, 1)), ((1,), (4,)), ((), (2, 2))])
def test_add_relu_is_its_composition(rng, shapes):
    x, y = (leaf(rng.normal(size=shape)) for shape in shapes)
    np.testing.assert_array_equal(ops.add_relu(x, y).numpy(), np.maximum(x.numpy() + y.numpy(), 0))
    gradcheck(lambda x, y: ops.square(ops.add_relu(x, y)), [x, y], order=2)
    compare_with_composition(lambda x, y: ops.square(ops.add_relu(x, y)), [x, y], order=3)


def test_add_relu_of_what_meets_again(rng):
    def block(x):
        y = ops.add_relu(x, ops.sin(x))
        return ops.add_relu(y, y) * y

    gradcheck(block, [leaf(rng.normal(size=(3, 4)))], order=2)
    compare_with_composition(block, [leaf(rng.normal(size=(3, 4)))], order=2)


@pytest.mark.parametrize("op", [ops.relu, lambda x: ops.add_relu(x, np.float32(0.5) * x)])
def test_relu_saves_one_array(rng, op):
    x = Tensor(rng.normal(size=(4, 5)).astype(np.float32), requires_grad=True)
    y = op(x * 1.0)
    assert y.creator.saved_bytes == y.raw.nbytes


def test_add_relu_of_dtypes_and_numbers():
    x, y = Tensor(np.array([1.0, -3.0], np.float32), requires_grad=True), leaf([0.5, 1.0])
    z = ops.add_relu(x, y)
    dx, dy = grad(z, [x, y], np.ones(2))
    assert (z.dtype, dx.dtype, dy.dtype) == (np.float64, np.float32, np.float64)
    assert dx.tolist() == dy.tolist() == [1, 0]
    assert ops.add_relu(x, 2).tolist() == ops.add_relu(2, x).tolist() == [3, 0]
    assert ops.add_relu([1, -2], [1, 1]).dtype == np.int64
    with pytest.raises(ValueError, match=r"AddRelu: shapes \(2,\) and \(3,\) do not broadcast"):
        ops.add_relu(x, np.ones(3))


def test_leaves_of_a_sum_get_gradients_of_their_own():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    ops.add_relu(x, y).sum().backward()
    assert not np.shares_memory(x.grad.raw, y.grad.raw)


# softmax

SOFT = pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax])


@SOFT
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_and_its_gradient(rng, op, axis):
    x = leaf(rng.normal(size=(3, 2, 4)))
    exact = np.exp(x.numpy()) / np.exp(x.numpy()).sum(axis=axis, keepdims=True)
    found = op(x, axis=axis).numpy()
    np.testing.assert_allclose(np.exp(found) if op is ops.log_softmax else found, exact, rtol=1e-13)
    gradcheck(lambda x: op(x, axis=axis), [x], order=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1e4, -1e4, 1e30])
def test_softmax_does_not_mind_an_offset(dtype, offset):
    x = Tensor(np.array([offset, offset + 1, offset - 2], dtype), requires_grad=True)
    differences = x.numpy().astype(np.float64) - x.numpy().max()
    exact = np.exp(differences) / np.exp(differences).sum()
    np.testing.assert_allclose(ops.softmax(x).numpy(), exact, rtol=3e-7)
    np.testing.assert_allclose(ops.log_softmax(x).numpy(), np.log(exact), rtol=3e-7)
    (dx,) = grad(ops.log_softmax(x)[0], [x])
    np.testing.assert_allclose(dx.numpy(), [1, 0, 0] - exact, rtol=1e-6)


def test_softmax_of_far_apart_and_of_masked():
    x = Tensor([1e4, -1e4, -np.inf], requires_grad=True)
    assert ops.softmax(x).tolist() == [1, 0, 0]
    assert ops.log_softmax(x).tolist() == [0, -2e4, -np.inf]
    (dx,) = grad(ops.softmax(x)[0], [x])
    assert dx.tolist() == [0, 0, 0]


@SOFT
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_softmax_of_integers(op, dtype):
    x = np.array([0, 1, 1]).astype(dtype)
    y = op(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), op(x.astype(np.float64)).numpy(), rtol=1e-6)


@SOFT
def test_softmax_needs_an_axis_that_is_there(op):
    with pytest.raises(ValueError, match=f"{op.__name__}: axis 2 is out of range for an input with 2 axes"):
        op(np.ones((2, 3)), axis=2)


@SOFT
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_softmax_of_nothing_is_nothing(op, shape, axis):
    x = leaf(np.ones(shape))
    y = op(x, axis=axis)
    assert y.shape == grad(y.sum(), [x])[0].shape == shape


@SOFT
@pytest.mark.parametrize("row", [[np.inf, 1, 2], [np.inf, np.inf, 1], [np.nan, 1, 2], [-np.inf, -np.inf, -np.inf]])
def test_softmax_of_what_has_no_differences_is_nan_throughout_as_in_pytorch(op, row):
    x = leaf([row, [0, 0, 0]])
    y = op(x)
    assert np.isnan(y.numpy()).tolist() == [[True] * 3, [False] * 3]
    assert np.isnan(grad(y, [x], np.ones((2, 3)))[0].numpy()).tolist() == [[True] * 3, [False] * 3]


# What a norm can fuse


def test_fusible_names_and_parameters():
    assert fusible(None) is None
    assert fusible("relu") == ("relu", 0.0)
    assert fusible("leaky_relu") == ("leaky_relu", 0.01)
    assert fusible(("elu", 2)) == ("elu", 2.0)


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("relu6", r"is 'relu' or 'leaky_relu' .*, got 'relu6'; did you mean relu\?"),
        (("relu", 0.5), ": 'relu' takes no parameter, got 0.5"),
        (("leaky_relu", np.nan), ": the parameter of 'leaky_relu' is a finite number, got nan"),
        (("leaky_relu", "0.1"), ": the parameter of 'leaky_relu' is a finite number, got '0.1'"),
        (("relu",), r" is a name, or \(name, parameter\), got \('relu',\)"),
        (np.ones(2), "is .*, got array"),
        (ops.relu, "is .*, got <function relu"),
    ],
)
def test_fusible_refuses_others(activation, message):
    with pytest.raises((TypeError, ValueError), match=f"activation.*{message}"):
        fusible(activation)


@pytest.mark.parametrize("name", definitions.ACTIVATIONS)
def test_activate_is_the_op_of_that_name(rng, name):
    x, parameter = leaf(rng.normal(size=5)), 0.4 if name in ("leaky_relu", "elu") else None
    op = {"gelu_tanh": lambda x: ops.gelu(x, "tanh")}.get(name) or getattr(ops, name)
    with composed():
        expected = op(x) if parameter is None else op(x, parameter)
    found = activate(x, fusible(name if parameter is None else (name, parameter)))
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert activate(x, None) is x


def test_parameters_are_pytorchs_if_nothing_is_said(rng):
    x = rng.normal(size=(2, 3, 4))
    np.testing.assert_array_equal(ops.leaky_relu(x).numpy(), ops.leaky_relu(x, 0.01).numpy())
    np.testing.assert_array_equal(ops.elu(x).numpy(), ops.elu(x, 1.0).numpy())
    np.testing.assert_array_equal(ops.softplus(x).numpy(), ops.softplus(x, 1.0).numpy())
    np.testing.assert_array_equal(ops.gelu(x).numpy(), ops.gelu(x, "none").numpy())
    for op in (ops.softmax, ops.log_softmax):
        np.testing.assert_array_equal(op(x).numpy(), op(x, 2).numpy())
    assert [fusible(name)[1] for name in ("elu", "leaky_relu", "relu", "gelu")] == [1.0, 0.01, 0.0, 0.0]
