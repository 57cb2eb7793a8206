"""A derived norm beside its definition in 100 digits, to the third derivative; and those digits beside mpmath."""

from __future__ import annotations

import decimal
from typing import Any

import mpmath
import numpy as np
import pytest

from tests.derivation import norms
from tinygrad_norm import Tensor, grad
from tinygrad_norm.certificate.case import is_differentiated
from tinygrad_norm.certificate.comparisons import EXACT, _extended_precision, _found
from tinygrad_norm.certificate.extended_precision import FUNCTIONS, PRECISE, ExactNorm, _decimals, _pi
from tinygrad_norm.certificate.targets import cases_of
from tinygrad_norm.derivation.rules import RULES
from tinygrad_norm.derived import DerivedNorm, derive
from tinygrad_norm.ops.elementwise import Sqrt

DEFINITIONS = [each for each in vars(norms).values() if getattr(each, "__module__", "") == norms.__name__]
OPTIONS = {"batch_renorm": {"r_max": 1.5, "d_max": 0.7}}


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda each: each.__name__)
def test_derivatives_to_the_third_are_those_of_extended_precision(definition):
    more = OPTIONS.get(definition.__name__, {})
    for case in cases_of(derive(definition), (), np.random.default_rng(0), more):
        if case.larger:
            continue
        found = {each.row: each for each in _found(case, _extended_precision, *EXACT)}
        assert [*found] == EXACT
        for each in found.values():
            assert not each.message
            assert each.error <= 1e-5 * each.bound  # which is 1e-9 of the largest: some roundings are left


def chain(norm: DerivedNorm, inputs: Any, directions: Any, options: dict[str, Any]) -> list[Any]:
    """The last of a chain of derivatives, by the tape."""
    leaves = [Tensor(each, requires_grad=True) for each in inputs]
    total = (norm(*leaves, **options) * directions[0][0]).sum()
    for along in directions[1:]:
        parts = zip(grad(total, leaves, create_graph=True, allow_unused=True), along, strict=True)
        total = sum(((one * direction).sum() for one, direction in parts if one is not None), Tensor(0.0))
    found = grad(total, leaves, allow_unused=True)  # of the last input, which is added, there is no second derivative
    return [np.zeros(leaf.shape) if each is None else each.raw for each, leaf in zip(found, leaves, strict=True)]


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4)])
def test_a_chain_of_derivatives_goes_through_parameters_too(shape, rng):
    options, norm = {"axes": -1, "eps": 0.1}, derive(norms.shifted_norm)
    inputs = [rng.normal(size=shape), *rng.normal(size=(3, shape[-1]))]
    directions = [[rng.normal(size=shape)], *([rng.normal(size=each.shape) for each in inputs] for _ in range(2))]
    exact = ExactNorm(norm, options)
    value = exact.values(inputs)
    np.testing.assert_allclose(norm(*inputs, **options).raw, value, rtol=0, atol=1e-13 * np.abs(value).max())
    for order in (1, 2, 3):
        expected = exact.derivatives(inputs, directions[:order], range(4))
        for one, other in zip(chain(norm, inputs, directions[:order], options), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-13 * max(np.abs(other).max(), 1))


def test_a_norm_without_a_second_derivative_passes():
    def centred(x: Any, *, axes: Any) -> Any:
        return x - x.__array_namespace__().mean(x, axis=axes, keepdims=True)

    (case, *_) = cases_of(derive(centred), (), np.random.default_rng(0))
    found = [*_found(case, _extended_precision, *EXACT)]
    assert [(each.row, each.message) for each in found] == [(row, "") for row in EXACT]
    assert found[-1].error == 0


def test_a_wrong_third_derivative_is_seen(monkeypatch):
    (case, *_) = cases_of(derive(norms.layer_norm), (), np.random.default_rng(0))
    gradient = staticmethod(lambda grad, y: grad / (2 * y.detach()))  # of which the derivative is lost
    monkeypatch.setattr(Sqrt, "gradient", gradient)
    failed = [each.row for each in _found(case, _extended_precision, *EXACT) if each.message]
    assert failed
    assert EXACT[1] not in failed


EXPECTED = {
    "erf": mpmath.erf,
    "ndtr": mpmath.ncdf,
    "tanh": mpmath.tanh,
    "expm1": mpmath.expm1,
    "log1p": mpmath.log1p,
    "sqrt": mpmath.sqrt,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "exp": mpmath.exp,
    "log": mpmath.log,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_functions_have_90_digits(name, rng):
    values = rng.uniform(0.1 if name in ("sqrt", "rsqrt", "log") else -0.9, 5, 7)
    with mpmath.workdps(120):
        for value in values:
            with_decimals = _in_context(FUNCTIONS[name], value)
            expected = EXPECTED[name](mpmath.mpf(value))
            assert abs(mpmath.mpf(str(with_decimals)) / expected - 1) < mpmath.mpf(10) ** -90
        assert abs(mpmath.mpf(str(_in_context(lambda _: _pi(PRECISE.prec), 0.0))) - mpmath.pi) < mpmath.mpf(10) ** -97


def _in_context(function: Any, value: float) -> Any:
    with decimal.localcontext(PRECISE):
        return function(_decimals(np.asarray(value))[()])


@pytest.mark.parametrize("name", RULES)
def test_every_function_of_a_definition_is_there_and_is_that_of_numpy(name, rng):
    count = FUNCTIONS[name].nin
    inputs = [np.abs(each) + 0.1 for each in rng.normal(size=(count, 9))]
    if name == "where":
        inputs[0] = rng.normal(size=9) > 0
    decimals = [each if each.dtype == bool else _decimals(each) for each in inputs]
    found = np.asarray(FUNCTIONS[name](*decimals)).astype(float)
    np.testing.assert_allclose(found, np.asarray(RULES[name].function(*inputs)).astype(float), rtol=1e-14)


def test_a_branch_that_is_not_taken_may_be_infinite():
    def inverse(x: Any, *, axes: Any) -> Any:
        xp = x.__array_namespace__()
        return xp.where(x == 0, x, 1 / x) - xp.mean(x, axis=axes, keepdims=True)

    x = np.array([[0.0, 2, 4]])
    np.testing.assert_array_equal(ExactNorm(derive(inverse), {"axes": 1}).values([x]), [[-2, -1.5, -1.75]])


def test_what_has_no_gradient_is_not_asked_for_one():
    (case, *_) = cases_of(derive(norms.batch_renorm), (), np.random.default_rng(0), OPTIONS["batch_renorm"])
    assert [is_differentiated(each) for each in case.inputs] == [True, False, False]
    found = case.exact.derivatives(case.inputs, [[np.ones(case.inputs[0].shape)]], [0])
    assert [each.shape for each in found] == [case.inputs[0].shape]
