from __future__ import annotations

import copy
import pickle
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, composed, grad
from tinygrad_norm.derived import derive
from tinygrad_norm.testing import compare_with_composition, gradcheck

pytestmark = pytest.mark.usefixtures("plain_numpy")  # kernels: derivation/test_inner, test_outer
norms = run_path(str(Path(__file__).parent / "derivation" / "norms.py"))
RNG = np.random.default_rng(0)


def leaf(*shape: int) -> Tensor:
    return Tensor(RNG.normal(0.5, 1, shape), requires_grad=True)


def positive(*shape: int) -> Tensor:
    return Tensor(RNG.uniform(0.2, 1, shape), requires_grad=True)


MASK = np.array([[1.0, 0, 1, 1, 1], [1, 1, 1, 0, 1], [1, 1, 1, 1, 1]])
RUNNING = RNG.normal(size=(1, 3)), RNG.uniform(0.5, 2, (1, 3))
MEAN_AND_VAR = {"batch_norm", "batch_renorm", "masked_norm", "evonorm_b0", "switchable_norm"}
# The name, what it is called with beside x, options, and the tensors
CASES: dict[str, tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]] = {
    "layer_norm": ((), {"axes": (1, 2)}, [leaf(3, 2, 4), leaf(2, 4), leaf(2, 4)]),
    "batch_norm": ((), {"axes": (0, 2), "eps": 0.1}, [leaf(4, 3, 2), leaf(3, 1), leaf(3, 1)]),
    "grn": ((), {"pixels": (2, 3), "channels": 1}, [leaf(2, 3, 2, 2), leaf(3, 1, 1), leaf(3, 1, 1)]),
    "batch_renorm": (RUNNING, {"axes": 0, "eps": 0.1, "r_max": 1.5, "d_max": 0.7}, [leaf(5, 3)]),
    "linf_norm": ((), {"axes": -1}, [leaf(3, 5)]),
    "masked_norm": ((MASK,), {"axes": 1}, [leaf(3, 5)]),
    "l1_norm": ((), {"axes": -1}, [leaf(3, 5), leaf(5)]),
    "fourth_moment_norm": ((), {"axes": 0}, [leaf(5, 3)]),
    "evonorm_b0": ((), {"positions": 2, "batch": 0, "eps": 0.1}, [leaf(3, 2, 4), *(leaf(2, 1) for _ in range(3))]),
    "switchable_norm": (
        (),
        {"positions": (2, 3), "channels": 1, "batch": 0, "eps": 0.1},
        [leaf(3, 2, 2, 2), *(positive(1, 1, 1, 1) for _ in range(5)), *(leaf(2, 1, 1) for _ in range(2))],
    ),
}


def call(name: str) -> Any:
    """A derived norm as a function of tensors to one tensor."""
    norm, (more, options, _) = derive(norms[name]), CASES[name]

    def function(x: Tensor, *parameters: Any) -> Any:
        found = norm(x, *more, *parameters, **options)
        return found[0] if name in MEAN_AND_VAR else found

    return function


@pytest.mark.parametrize("name", CASES)
def test_gradients_to_the_third_order_agree_with_finite_differences(name):
    order = 3 if name in ("layer_norm", "l1_norm") else 2
    if name != "batch_renorm":  # of which the derivative is none: r and d are held
        gradcheck(call(name), CASES[name][2], order=order, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_value_and_derivatives_are_those_of_the_composition(name):
    compare_with_composition(call(name), CASES[name][2], order=2, rtol=1e-12)


def test_what_is_held_has_no_gradient(rng):
    more, options, (x,) = CASES["batch_renorm"]
    y, mean, var = derive(norms["batch_renorm"])(x, *more, **options)
    dy = rng.normal(size=x.shape)
    deviation, running = np.sqrt(var.raw + 0.1), np.sqrt(RUNNING[1] + 0.1)
    r = np.clip(deviation / running, 1 / 1.5, 1.5)
    plain = derive(norms["layer_norm"])(x, np.ones(1), np.zeros(1), axes=0, eps=0.1)
    np.testing.assert_allclose(grad(y, x, dy)[0].raw, grad(plain, x, dy * r)[0].raw, rtol=1e-12)
    np.testing.assert_allclose(mean.raw, x.raw.mean(axis=0, keepdims=True))


def test_statistics_are_off_the_tape():
    x, weight, bias = CASES["batch_norm"][2]
    y, mean, var = derive(norms["batch_norm"])(x, weight, bias, axes=(0, 2))
    assert y.requires_grad
    assert [mean.requires_grad, var.requires_grad] == [False, False]
    np.testing.assert_allclose(mean.raw, x.raw.mean(axis=(0, 2), keepdims=True))
    np.testing.assert_allclose(var.raw, x.raw.var(axis=(0, 2), keepdims=True))
    with composed():
        found = derive(norms["batch_norm"])(x, weight, bias, axes=(0, 2))
    for one, other in zip(found, (y, mean, var), strict=True):
        np.testing.assert_allclose(one.raw, other.raw, rtol=1e-12)


def test_a_derived_norm_is_named_as_its_definition():
    norm = derive(norms["grn"])
    x, gamma, beta = CASES["grn"][2]
    assert norm.__name__ == "grn"
    assert norm.__doc__ == norms["grn"].__doc__
    assert norm(x, gamma, beta, pixels=(2, 3), channels=1).creator.name == "grn"


def test_axes_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"axes: axis 2 is out of range for an input with 2 axes"):
        derive(norms["linf_norm"])(np.ones((2, 3)), axes=2)
    with pytest.raises(TypeError, match=r"missing a required (keyword-only )?argument"):
        derive(norms["linf_norm"])(np.ones((2, 3)))


def test_inputs_may_be_given_by_name(rng):
    norm, x = derive(norms["l1_norm"]), rng.normal(size=(3, 5))
    np.testing.assert_array_equal(norm(x=x, weight=np.ones(5), axes=-1).raw, norm(x, np.ones(5), axes=-1).raw)


@pytest.mark.parametrize("shape", [(3, 1), (5,), (1, 1)])
def test_a_parameter_that_is_reduced_counts_for_each_value(shape, rng):
    norm, x = derive(norms["masked_norm"]), Tensor(rng.normal(size=(3, 5)), requires_grad=True)
    mask = rng.integers(1, 3, shape).astype(float)
    weights = np.broadcast_to(mask, x.shape)
    mean = np.average(x.raw, axis=1, weights=weights)[:, None]
    var = np.average((x.raw - mean) ** 2, axis=1, weights=weights)[:, None]
    expected = (x.raw - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(norm(x, mask, axes=1)[0].raw, expected)
    with composed():
        np.testing.assert_allclose(norm(x, mask, axes=1)[0].raw, expected)
    compare_with_composition(lambda x: norm(x, mask, axes=1)[0], [x], order=2, rtol=1e-12)


def test_a_reduction_of_a_reduction(rng):
    @derive
    def twice(x: Any, *, rows: Any, columns: Any, eps: Any = 0.1) -> Any:
        xp = x.__array_namespace__()
        size = xp.mean(xp.abs(x), axis=rows, keepdims=True)
        return x / (xp.mean(size, axis=columns, keepdims=True) + xp.max(size, axis=columns, keepdims=True) + eps)

    @derive
    def direct(x: Any, *, rows: Any, columns: Any, eps: Any = 0.1) -> Any:
        xp = x.__array_namespace__()
        return x - xp.mean(xp.mean(x, axis=rows, keepdims=True), axis=columns, keepdims=True) * (1 + eps)

    for norm in (twice, direct):
        x = Tensor(rng.normal(size=(4, 3)), requires_grad=True)
        gradcheck(lambda x, norm=norm: norm(x, rows=0, columns=1), [x], order=2)


def test_a_view_is_the_shape_in_which_x_is_normalized(rng):
    norm, x = derive(norms["layer_norm"]), rng.normal(size=(2, 6, 3))
    weight, bias = rng.normal(size=(2, 2, 3, 1))
    y = norm(x, weight, bias, axes=(2, 3), view=(2, 2, 3, 3))
    expected = norm(x.reshape(2, 2, 3, 3), weight, bias, axes=(2, 3)).raw.reshape(x.shape)
    np.testing.assert_array_equal(y.raw, expected)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "words"),
    [
        (
            (np.ones((3, 4)), np.ones(5)),
            {"axes": 1},
            ValueError,
            r"weight broadcasts against x, \(3, 4\), got shape \(5,\)",
        ),
        (
            (np.ones(4), np.ones((3, 4))),
            {"axes": 0},
            ValueError,
            r"weight broadcasts against x, \(4,\), got shape \(3, 4\)",
        ),
        ((np.ones((3, 4)), None), {"axes": 1}, TypeError, "weight is a tensor, an array or a number, got None"),
        ((np.ones((3, 4)), 1.0), {"axes": "a"}, TypeError, "l1_norm: axes: an axis is an integer, got 'a'"),
        ((np.ones((3, 4)), 1.0), {"axes": 1, "eps": "x"}, TypeError, "l1_norm: eps is a number, got 'x'"),
        ((np.ones((3, 4)), 1.0), {"axes": 1, "eps": np.nan}, ValueError, "l1_norm: eps is a number, got nan"),
        ((np.ones((3, 4)), 1.0), {"axes": 1, "eps": True}, TypeError, "l1_norm: eps is a number, got True"),
        ((np.ones((3, 4)), 1.0), {"axes": 1, "epsilon": 1}, TypeError, r"argument .epsilon.; it is l1_norm"),
    ],
)
def test_arguments_that_do_not_fit_are_named(inputs, options, error, words):
    with pytest.raises(error, match=words):
        derive(norms["l1_norm"])(*inputs, **options)


def test_x_of_integers_is_refused():
    with pytest.raises(TypeError, match="linf_norm: x is of floats, got int64"):
        derive(norms["linf_norm"])(np.arange(6).reshape(2, 3), axes=1)


def test_sets_of_axes_have_none_in_common(rng):
    with pytest.raises(
        ValueError, match=r"grn: sets of axes have none in common, got pixels=\(1, 2\), channels=\(1,\)"
    ):
        derive(norms["grn"])(rng.normal(size=(2, 3, 4)), 1.0, 0.0, pixels=(1, 2), channels=1)


def test_statistics_that_are_changed_change_no_gradient(rng):
    x, dy = Tensor(rng.normal(size=(4, 3)), requires_grad=True), rng.normal(size=(4, 3))
    norm = derive(norms["batch_norm"])
    expected = grad(norm(x, np.ones(3), np.zeros(3), axes=0)[0], x, dy)[0].raw
    y, mean, _ = norm(x, np.ones(3), np.zeros(3), axes=0)
    mean.raw[...] = 7
    np.testing.assert_array_equal(grad(y, x, dy)[0].raw, expected)


def test_the_definitions_signature_and_formula_are_what_is_shown():
    assert repr(derive(norms["linf_norm"])).splitlines()[1:] == ["top = max(|x|)", "y = x / (top + ε)"]


@pytest.mark.parametrize(("shape", "axes"), [((3, 0), 1), ((0, 3), (0, 1)), ((0, 0), 1)])
def test_the_largest_of_nothing_is_refused(shape, axes):
    with pytest.raises(
        ValueError, match=r"linf_norm: the values along axes=\(.*\) have a max, so there is one at least"
    ):
        derive(norms["linf_norm"])(np.ones(shape), axes=axes)
    assert derive(norms["linf_norm"])(np.ones((0, 3)), axes=1).shape == (0, 3)


@pytest.mark.parametrize("compose", [False, True])
@pytest.mark.parametrize("op", ["max", "min"])
def test_so_it_is_where_it_is_only_returned(op, compose):
    @derive
    def watched(x: Any, *, axes: Any) -> Any:
        return x * 2, getattr(x.__array_namespace__(), op)(x, axis=axes, keepdims=True)

    with composed() if compose else nullcontext():
        with pytest.raises(ValueError, match=rf"watched: the values along axes=\(1,\) have a {op}, so there is"):
            watched(np.ones((3, 0)), axes=1)
        assert [each.shape for each in watched(np.ones((3, 0)), axes=0)] == [(3, 0), (1, 0)]


@pytest.mark.parametrize("compose", [False, True])
@pytest.mark.parametrize(("shape", "axes"), [((3, 0), 1), ((0, 3), 0), ((0, 3), 1), ((3, 0), 0), ((0, 0), 1)])
def test_of_nothing_y_is_nothing_and_a_mean_is_no_number(shape, axes, compose):
    norm, kept = derive(norms["batch_norm"]), tuple(1 if axis == axes else n for axis, n in enumerate(shape))
    x, weight, bias = (Tensor(np.ones(each), requires_grad=True) for each in (shape, (1, 1), (1, 1)))
    with composed() if compose else nullcontext():
        y, *statistics = norm(x, weight, bias, axes=axes)
        dx, dweight, dbias = grad(y.square().sum(), [x, weight, bias], create_graph=True)
    assert (y.shape, dx.shape) == (shape, shape)
    for each in (dweight, dbias):
        np.testing.assert_array_equal(each.raw, np.zeros((1, 1)))
    for each in statistics:
        np.testing.assert_array_equal(each.raw, np.full(kept, np.nan))


def test_numbers_may_be_others_in_each_call_of_one_spec(rng, monkeypatch):
    norm, x, bound = derive(norms["linf_norm"]), rng.normal(size=(4, 6)), 0
    bind = type(norm).bind

    def counted(*given: Any) -> Any:
        nonlocal bound
        bound += 1
        return bind(*given)

    monkeypatch.setattr(type(norm), "bind", counted)
    for eps in rng.uniform(0.1, 3, 20):
        expected = x / (np.abs(x).max(axis=1, keepdims=True) + eps)
        np.testing.assert_allclose(norm(x, axes=1, eps=eps).raw, expected, rtol=1e-12)
        with composed():
            np.testing.assert_allclose(norm(x, axes=1, eps=eps).raw, expected, rtol=1e-12)
    assert bound == 1
    default = norm(x, axes=1).raw
    np.testing.assert_allclose(default, x / (np.abs(x).max(axis=1, keepdims=True) + 1e-5), rtol=1e-12)


@derive
def kept_by_name(x: Any, *, axes: Any) -> Any:
    return x - x.__array_namespace__().mean(x, axis=axes, keepdims=True)


def plain(x: Any, *, axes: Any, eps: Any = 0.1) -> Any:
    xp = x.__array_namespace__()
    return x / (xp.mean(xp.abs(x), axis=axes, keepdims=True) + eps)


def test_a_norm_is_pickled_by_reference_and_copied_as_a_function_is(rng):
    x = rng.normal(size=(3, 4))
    assert pickle.loads(pickle.dumps(kept_by_name)) is kept_by_name
    for norm in (derive(plain), derive(partial(plain, eps=0.5))):
        other = pickle.loads(pickle.dumps(norm))
        np.testing.assert_array_equal(other(x, axes=1).raw, norm(x, axes=1).raw)
    inner = derive(lambda x, *, axes: x - x.__array_namespace__().mean(x, axis=axes, keepdims=True))
    with pytest.raises(
        pickle.PicklingError, match=r"pickled by its definition's name, got .*<lambda>, which is no name"
    ):
        pickle.dumps(inner)
    for norm in (kept_by_name, inner):
        assert copy.copy(norm) is copy.deepcopy([norm])[0] is norm


def test_axes_may_be_those_of_what_is_returned_alone(rng):
    @derive
    def watched(x: Any, *, axes: Any, others: Any) -> Any:
        xp = x.__array_namespace__()
        mean = xp.mean(x, axis=axes, keepdims=True)
        return x - mean, xp.max(x, axis=others, keepdims=True)

    x = rng.normal(size=(3, 4))
    y, top = watched(x, axes=1, others=0)
    np.testing.assert_allclose(y.raw, x - x.mean(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_array_equal(top.raw, x.max(axis=0, keepdims=True))
    with pytest.raises(ValueError, match="watched: others: axis 2 is out of range"):
        watched(x, axes=1, others=2)


@pytest.mark.parametrize("axes", [0, 1])
def test_a_parameter_of_x_s_shape_is_never_transposed(axes, rng):
    """Of a square one, the shape does not tell how it lies in memory."""
    x, weight, dy = (rng.normal(size=(6, 6)) for _ in range(3))
    leaves = [Tensor(each, requires_grad=True) for each in (x, weight)]
    found = grad(derive(norms["l1_norm"])(*leaves, axes=axes), leaves, dy)
    with composed():
        expected = grad(derive(norms["l1_norm"])(*leaves, axes=axes), leaves, dy)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.raw, other.raw, rtol=1e-12)
