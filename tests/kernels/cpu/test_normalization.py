"""Each norm against the reference in float64, over the shapes, layouts and values that have broken others."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.cpu.norms import LAYOUTS, NORMS, arrays
from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import compiler, normalization
from tinygrad_norm.kernels.cpu.layout import layout

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
ACTIVATIONS = [None, ("relu", 0.0), ("leaky_relu", -0.3), ("silu", 0.0)]
SMOOTH = [None, ("silu", 0.0)]  # at the edge of the others the rounding of float32 decides


def wide(value):
    return value.astype(np.float64) if isinstance(value, np.ndarray) else value


def agree(name, *arguments, like):
    """The fast kernel and the reference: shapes, dtypes, which results are None, and values."""
    found, expected = getattr(cpu, name)(*arguments), getattr(definitions, name)(*map(wide, arguments))
    if isinstance(found, np.ndarray):
        found, expected = (found,), (expected,)
    assert found[0].dtype == like.dtype
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert a.shape == b.shape
            close = TOLERANCE[str(like.dtype)]
            np.testing.assert_allclose(a, b, rtol=close, atol=close * (1 + np.abs(b[np.isfinite(b)]).max(initial=0)))
    return found


def check(x, weight, bias, axes, activation, rng, eps=0.1):
    """All six functions, forward and back, and that they left their inputs alone."""
    dy = rng.normal(size=x.shape).astype(x.dtype)
    given = [array for array in (dy, x, weight, bias) if array is not None]
    before = [array.copy() for array in given]
    y, mean, var = agree("normalize", x, weight, bias, axes, eps, activation, like=x)
    assert mean.dtype == var.dtype == np.float64
    agree("normalize_gradient", dy, x, weight, bias, mean, var, axes, eps, activation, like=x)
    mean, var = mean + 0.5, 2 * var  # in inference they are not those of x
    agree("normalize_inference", x, mean, var, weight, bias, eps, activation, like=x)
    agree("normalize_inference_gradient", dy, x, mean, var, weight, bias, eps, activation, like=x)
    _, square = agree("rms_normalize", x, weight, axes, eps, activation, like=x)
    agree("rms_normalize_gradient", dy, x, weight, square, axes, eps, activation, like=x)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    return y


@st.composite
def cases(draw):
    """Arrays whose axes lie in memory in any order, with gaps or without; any axes; weight and bias along any."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=5)))
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in shape]
    axes = tuple(i for i in range(len(shape)) if draw(st.booleans()))
    dtype = draw(st.sampled_from(sorted(TOLERANCE)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    stored = rng.normal(3, 2, [abs(steps[i]) * shape[i] for i in order]).astype(dtype)
    x = stored.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]

    def parameter():
        if draw(st.booleans()):
            return None
        return rng.normal(size=[n if draw(st.booleans()) else 1 for n in shape]).astype(dtype)

    activation = draw(st.sampled_from(ACTIVATIONS if dtype == "float64" else SMOOTH))
    return x, parameter(), parameter(), axes, activation, rng


@given(cases())
def test_any_shape_layout_and_axes(case):
    check(*case)


@pytest.mark.parametrize("norm", ["batch, of images", "group", "instance"])
@pytest.mark.parametrize("large", [1, 2**18])
def test_fused_silu(monkeypatch, norm, large, rng):
    """In one block and in many, with and without a remainder of rows, and as far out as exp underflows."""
    monkeypatch.setattr(compiler, "LARGE", large)
    layout.cache_clear()
    x, weight, bias, axes = arrays(norm, True, np.float32, rng)
    for copies in (1, 41):
        many = np.concatenate([x] * copies)
        form = layout(many.shape, many.strides, axes, (weight.shape, bias.shape))
        assert normalization._fuses(("silu", 0.0), form, x.dtype)
        for scale in (1, 30):
            check(many, scale * weight, scale * bias, axes, ("silu", 0.0), rng)
    layout.cache_clear()


def test_fused_silu_keeps_nan_and_infinity(rng):
    x = np.array([[np.nan, np.inf, -np.inf, -200.0, 200.0, 0.0]] * 5, np.float32)
    dy, (mean, var) = rng.normal(size=x.shape).astype(np.float32), np.zeros((2, 1, 6)) + 1
    infinite = np.array([[0, 0, 0, 0, np.inf, -np.inf]], np.float32)
    with np.errstate(invalid="ignore"):
        for bias in None, infinite:
            agree("normalize_inference", x, mean, var, None, bias, 0.0, ("silu", 0.0), like=x)
            agree("normalize_inference_gradient", dy, x, mean, var, None, bias, 0.0, ("silu", 0.0), like=x)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("norm", ["batch, of images", "layer", "group", "instance"])
@pytest.mark.parametrize("name", sorted(definitions.ACTIVATIONS.keys() - {"leaky_relu"}))
def test_what_leaves_the_range_before_a_fused_activation_gives_its_limit(name, norm, channels_last, rng):
    """In float64, as the reference computes, it stays in the range; as does, of a leaky ReLU, 0.3 of it."""
    x, weight, bias, axes = arrays(norm, channels_last and norm != "layer", np.float32, rng)
    weight, bias = np.float32(3e38) * np.sign(weight), np.zeros_like(bias)
    dy, activation = rng.normal(size=x.shape).astype(np.float32), (name, 0.3)
    z = definitions.normalize(*map(wide, (x, weight, bias)), axes, 0.1, None)[0]
    beyond = np.abs(z) > np.finfo(np.float32).max
    with np.errstate(over="ignore"):
        expected = definitions.activate(z, activation).astype(np.float32)
    y, mean, var = cpu.normalize(x, weight, bias, axes, 0.1, activation)
    assert beyond.any()
    np.testing.assert_allclose(y[beyond], expected[beyond], rtol=1e-5)
    given = dy, x, weight, bias, mean, var, axes, 0.1, activation
    found, exact = cpu.normalize_gradient(*given), definitions.normalize_gradient(*map(wide, given))
    for one, other in zip(found[1:], exact[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("norm", "channels_last"), LAYOUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_norms_in_use(norm, channels_last, activation, rng):
    x, weight, bias, axes = arrays(norm, channels_last, np.float64, rng)
    y = check(x, weight, bias, axes, activation, rng)
    if norm != "layer, of pixels" or channels_last:
        assert y.strides == x.strides  # channels last stay last


@pytest.mark.parametrize("name", ["batch, of features", "batch, of images", "layer", "group", "instance"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_number_of_threads_changes_no_bit(monkeypatch, name, channels_last, rng):
    x, weight, bias, axes = arrays(name, channels_last and len(NORMS[name][0]) > 2, np.float32, rng)
    x = np.concatenate([x] * 40)
    dy = rng.normal(size=x.shape).astype(np.float32)

    def run():
        layout.cache_clear()
        y, mean, var = cpu.normalize(x, weight, bias, axes, 0.1, ("relu", 0.0))
        return y, mean, var, *cpu.normalize_gradient(dy, x, weight, bias, mean, var, axes, 0.1, ("relu", 0.0))

    alone = run()
    monkeypatch.setattr(compiler, "LARGE", 1)
    together = run()
    if name in ("batch, of features", "batch, of images", "layer"):
        assert layout(x.shape, x.strides, axes, (weight.shape, bias.shape)).blocks > 1, "more than one block"
    numba.set_num_threads(1)
    in_turn = run()
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    layout.cache_clear()
    for a, b, c in zip(together, in_turn, alone, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-5)


VALUES = {
    "far from 0 (pytorch#51102)": lambda n: 2000 + 0.01 * n,
    "close together (pytorch#40302)": lambda n: 100 + 0.01 * n,
    "huge (pytorch#178123)": lambda n: 1e30 * (n + 3),
    "tiny": lambda n: 1e-22 * (n + 3),
    "large first value": lambda n: np.where(np.indices(n.shape).sum(axis=0) == 0, 1e6, n),
    "of different size": lambda n: n * np.logspace(-10, 10, n.shape[-1]),
    "of two values": np.sign,
    "drifting": lambda n: n + 1e6 * np.indices(n.shape)[0],
    "begins 1.9 away": lambda n: begun_at(n, 1.9),
    "begins 3 away": lambda n: begun_at(n, 3),
    "begins 20 away": lambda n: begun_at(n, 20),
}
FORMS = {
    "columns": ((500, 70, 3), (0,), (1, 70, 3)),
    "columns in groups": ((3, 300, 5), (1,), (1, 1, 5)),
    "rows": ((7, 500, 1), (1,), (1, 500, 1)),
    "rows in groups": ((40, 3, 81), (0, 2), (1, 3, 81)),
    "channels": ((500, 70, 3), (0, 2), (1, 70, 3)),
    "blocks": ((500, 70, 3), (0, 1), (1, 70, 3)),
}
"""The shape of x, the axes that are reduced, and the shape of weight and bias."""


def begun_at(n, away):
    """The numbers, of which the first along the longest axis are so many deviations away from the others."""
    return np.where(np.indices(n.shape)[np.argmax(n.shape)] < 8, away, n)


@pytest.fixture
def _layouts():
    """Layouts made anew, before and afterwards: how many blocks there are depends on what counts as large."""
    layout.cache_clear()
    yield
    layout.cache_clear()


@pytest.mark.usefixtures("_layouts")
@pytest.mark.parametrize(("shape", "axes", "affine"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize(("dtype", "large"), [("float32", compiler.LARGE), ("float32", 1), ("float64", compiler.LARGE)])
def test_values_that_are_hard(values, shape, axes, affine, dtype, large, monkeypatch, rng):
    """Against the definition in extended precision, to the last digits that the dtype has; in many blocks as well."""
    monkeypatch.setattr(compiler, "LARGE", large)
    x = values(rng.normal(size=shape)).astype(dtype)
    dy = rng.normal(size=x.shape).astype(dtype)
    weight, bias = rng.normal(size=(2, *affine)).astype(dtype)
    exact = x.astype(np.longdouble)
    eps = 0.0
    mean = exact.mean(axis=axes, keepdims=True)
    var = ((exact - mean) ** 2).mean(axis=axes, keepdims=True)
    normal = (exact - mean) / np.sqrt(var + np.longdouble(eps))
    g = dy * weight.astype(np.longdouble)
    projected = g.mean(axis=axes, keepdims=True) + normal * (g * normal).mean(axis=axes, keepdims=True)
    dx = (g - projected) / np.sqrt(var + np.longdouble(eps))

    y, found_mean, found_var = cpu.normalize(x, weight, bias, axes, eps, None)
    gradients = cpu.normalize_gradient(dy, x, weight, bias, found_mean, found_var, axes, eps, None)
    digits = 3e-6 if dtype == "float32" else 3e-9
    assert (np.abs(found_mean - mean) <= digits * np.sqrt(var)).all()
    np.testing.assert_allclose(found_var, var.astype(float), rtol=digits)
    np.testing.assert_allclose(y, normal * weight + bias, atol=digits * np.abs(normal).max())
    np.testing.assert_allclose(gradients[0], dx.astype(float), rtol=digits, atol=digits * float(np.abs(dx).max()))
    shared = tuple(i for i, n in enumerate(affine) if n == 1)
    expected = (dy * normal).sum(axis=shared, keepdims=True).astype(float)
    np.testing.assert_allclose(gradients[1], expected, rtol=digits, atol=digits * np.abs(expected).max())


@pytest.mark.usefixtures("_layouts")
@pytest.mark.parametrize(("shape", "axes", "affine"), FORMS.values(), ids=FORMS)
def test_groups_out_of_range_are_alike_with_one_thread_and_with_all(shape, axes, affine, monkeypatch, rng):
    x, dy = 1e200 * rng.normal(3, 1, shape), rng.normal(size=shape)
    weight, bias = rng.normal(size=(2, *affine))
    alone = cpu.normalize(x, weight, bias, axes, 0.1, None)
    gradients = cpu.normalize_gradient(dy, x, weight, bias, *alone[1:], axes, 0.1, None)
    monkeypatch.setattr(compiler, "LARGE", 1)
    together = cpu.normalize(x, weight, bias, axes, 0.1, None)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(gradients, cpu.normalize_gradient(dy, x, weight, bias, *alone[1:], axes, 0.1, None), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.abs(a).max())


@pytest.mark.usefixtures("_layouts")
@pytest.mark.parametrize("large", [compiler.LARGE, 1])
@pytest.mark.parametrize(("shape", "axes", "affine"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("value", [0.1, 3e9, -1e30])
def test_constant_groups_give_exactly_the_bias(value, shape, axes, affine, large, monkeypatch, rng):
    """Source: https://github.com/pytorch/pytorch/issues/5410."""
    monkeypatch.setattr(compiler, "LARGE", large)
    x = np.full(shape, value, np.float32)
    weight, bias = rng.normal(size=(2, *affine)).astype(np.float32)
    y, mean, var = cpu.normalize(x, weight, bias, axes, 1e-5, None)
    assert (y == bias).all()
    assert (mean == x[0, 0, 0]).all()
    assert (var == 0).all()


@pytest.mark.parametrize("values", [[0, 1e-25, -1e-25, 0], [1e-25, -1e-25] * 4])
def test_differences_whose_squares_vanish_are_none_the_less_seen(values):
    x = np.array([values], np.float32)
    y, _, var = cpu.normalize(x, None, None, (1,), 0.0, None)
    np.testing.assert_allclose(y, x / np.sqrt(np.mean(x.astype(float) ** 2)), rtol=1e-6)
    np.testing.assert_allclose(var, np.mean(x.astype(float) ** 2), rtol=1e-6)
    np.testing.assert_allclose(cpu.rms_normalize(x, None, (1,), 0.0, None)[0], y, rtol=1e-6)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (0, 1)])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", [None, ("relu", 0.0), ("silu", 0.0)])
def test_nan_and_infinity_are_kept(special, activation, axes, rng):
    x, dy = rng.normal(size=(2, 4, 70, 3))
    weight, bias = rng.normal(size=(2, 1, 70, 3))
    x[1, 2, 0] = special
    mean, var = rng.uniform(1, 2, (2, *np.mean(x, axis=axes, keepdims=True).shape))
    with np.errstate(invalid="ignore"):
        y, _, found_var = cpu.normalize(x, weight, bias, axes, 0.1, activation)
        np.testing.assert_allclose(y, definitions.normalize(x, weight, bias, axes, 0.1, activation)[0], rtol=1e-9)
        assert np.isnan(found_var).sum() == 1
        agree("normalize_inference", x, mean, var, weight, bias, 0.1, activation, like=x)
        agree("normalize_inference_gradient", dy, x, mean, var, weight, bias, 0.1, activation, like=x)
        agree("rms_normalize", x, weight, axes, 0.1, activation, like=x)
