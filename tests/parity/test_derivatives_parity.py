"""Derivatives beside PyTorch's: `autograd.functional` and `func`, to the order at which those are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch.autograd import functional

from tinygrad_norm import Tensor, hessian, hessian_vector_product, jacobian, jvp, ops, vjp

SHAPES = (3, 4), (5, 4), (5,)  # x, weight, scale


def with_layer_norm(lib: Any, x: Any, weight: Any, scale: Any) -> Any:
    return lib.softmax(lib.layer_norm(lib.linear(x, weight), (5,), scale), -1)


def with_batch_norm(lib: Any, x: Any, weight: Any, scale: Any) -> Any:
    return lib.silu(lib.batch_norm(lib.linear(x, weight), None, None, scale, training=True))


def with_group_norm(lib: Any, x: Any, weight: Any, scale: Any) -> Any:
    y = lib.linear(x, weight)
    return lib.softplus(lib.group_norm(y.reshape(3, 1, 5), 1)) * scale


def with_rms_norm(lib: Any, x: Any, weight: Any, scale: Any) -> Any:
    return lib.gelu(lib.rms_norm(lib.linear(x, weight), (5,), scale, 1e-6))


FUNCTIONS = [with_layer_norm, with_batch_norm, with_group_norm, with_rms_norm]
functions = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)


def ours(function: Any, scalar: bool) -> Any:
    return lambda *given: (function(ops, *given) ** 2).sum() if scalar else function(ops, *given)


def theirs(function: Any, scalar: bool) -> Any:
    return lambda *given: (function(F, *given) ** 2).sum() if scalar else function(F, *given)


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
        return
    array = expected.detach().numpy()
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    np.testing.assert_allclose(found.raw, array, rtol=1e-9, atol=1e-10 * max(1.0, np.abs(array).max()))


@pytest.fixture
def arrays(rng: np.random.Generator) -> list[Any]:
    return [rng.normal(size=shape) for shape in SHAPES]


@functions
def test_autograd_functional(rng, arrays, function):
    v = [rng.normal(size=shape) for shape in SHAPES]
    mine, its = tuple(map(Tensor, arrays)), tuple(map(torch.tensor, arrays))
    one, other = ours(function, False), theirs(function, False)
    value, product = functional.jvp(other, its, tuple(map(torch.tensor, v)))
    assert_same(jvp(one, mine, v), (value, product))
    u = rng.normal(size=value.shape)
    assert_same(vjp(one, mine, u), functional.vjp(other, its, torch.tensor(u)))
    assert_same(jacobian(one, mine), functional.jacobian(other, its))
    one, other = ours(function, True), theirs(function, True)
    assert_same(hessian(one, mine), functional.hessian(other, its))
    product = functional.hvp(other, its, tuple(map(torch.tensor, v)))
    assert_same(hessian_vector_product(one, mine, v), product)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # which torch.func calls
@functions
def test_func(rng, arrays, function):
    """Of one argument, in the form that PyTorch's and JAX's transformations share."""
    one, other = (make(function, False) for make in (ours, theirs))
    rest, v = arrays[1:], rng.normal(size=SHAPES[0])
    x, held = torch.tensor(arrays[0]), list(map(torch.tensor, rest))
    given = Tensor(arrays[0])
    found = jacobian(lambda x: one(x, *rest), given)
    assert_same(found, torch.func.jacrev(lambda x: other(x, *held))(x))
    expected = torch.func.jvp(lambda x: other(x, *held), (x,), (torch.tensor(v),))
    assert_same(jvp(lambda x: one(x, *rest), given, v), expected)


def test_by_name(rng):
    x = rng.normal(size=4)
    found = jacobian(lambda x: {"exp": x.exp(), "sum": x.sum()}, (Tensor(x),))
    expected = torch.func.jacrev(lambda x: {"exp": x.exp(), "sum": x.sum()}, argnums=(0,))(torch.tensor(x))
    assert found.keys() == expected.keys()
    for name in found:
        assert_same(found[name], expected[name])


def test_an_output_that_does_not_depend_on_an_input(rng):
    x, y = rng.normal(size=2), rng.normal(size=3)
    found = jacobian(lambda x, y: (x * x, y.sum()), (Tensor(x), Tensor(y)))
    assert_same(found, functional.jacobian(lambda x, y: (x * x, y.sum()), (torch.tensor(x), torch.tensor(y))))


def test_third_derivatives_are_those_of_pytorch_s_primitives(rng):
    """PyTorch's own layer norm has another third derivative, which is wrong: see docs/conformance.md."""
    x, v, weights = (rng.normal(size=(2, 5)) for _ in range(3))

    def composed(x: Any) -> Any:
        left = x - x.mean(-1, keepdim=True)
        return (left / ((left * left).mean(-1, keepdim=True) + 1e-5).sqrt() * torch.tensor(weights)).sum()

    along = torch.tensor(v)
    function: Any = lambda x: (ops.layer_norm(x, 5) * weights).sum()  # noqa: E731
    expected: Any = composed
    for _ in range(3):
        function = lambda x, f=function: jvp(f, x, v, create_graph=True)[1]  # noqa: E731
        expected = lambda x, f=expected: functional.jvp(f, x, along, create_graph=True)[1]  # noqa: E731
        assert_same(function(Tensor(x, requires_grad=True)), expected(torch.tensor(x, requires_grad=True)))
