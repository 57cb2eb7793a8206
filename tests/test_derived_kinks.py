"""Where a function has no derivative: kernels of both readings and NumPy take the one that `ops` takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, grad, kernels
from tinygrad_norm.definitions import special
from tinygrad_norm.derived import derive

EPS = 0.5
ROWS = np.array(
    [
        [1, 1, 0, -1, -1],
        [0, 0, 0, 0, 0],
        [2, 0, 2, -3, -1],
        [1, -1, 1, -1, 0.5],
        [0.5, 0.25, 0, 2, 1],
        [3, 2, 0.1, -4, 9],
    ]
)


def ties(x: Any, *, axes: Any) -> Any:
    xp = x.__array_namespace__()
    top, low = xp.max(x, axis=axes, keepdims=True), xp.min(xp.abs(x), axis=axes, keepdims=True)
    return x / (top * top + EPS) + low * x


def zeros(x: Any, *, axes: Any) -> Any:
    xp = x.__array_namespace__()
    size = xp.mean(xp.abs(x), axis=axes, keepdims=True)
    return xp.abs(x) * x / (size + EPS) + special.relu(x) * xp.sign(x)


def root_of_nothing(x: Any, *, axes: Any, eps: Any = 0.0) -> Any:
    xp = x.__array_namespace__()
    return x * xp.sqrt(xp.sum(xp.square(x), axis=axes, keepdims=True) + eps)


def not_taken(x: Any, *, axes: Any) -> Any:
    """The other branch is NaN below 0, and its derivative infinite at 0."""
    xp = x.__array_namespace__()
    return xp.where(x > 0, xp.sqrt(x), x) / (xp.mean(xp.square(x), axis=axes, keepdims=True) + EPS)


def spared(x: Any, *, axes: Any) -> Any:
    """`not_taken`, where what is not taken is given what it can bear."""
    xp = x.__array_namespace__()
    root = xp.sqrt(xp.where(x > 0, x, 1.0))
    return xp.where(x > 0, root, x) / (xp.mean(xp.square(x), axis=axes, keepdims=True) + EPS)


def clipped(x: Any, most: Any, *, axes: Any, least: Any = -1.0) -> Any:
    xp = x.__array_namespace__()
    inside = xp.mean(xp.clip(x, least, most) * x, axis=axes, keepdims=True)
    return xp.clip(x, least, most) / (xp.square(inside) + EPS) + xp.clip(x, None, most) * xp.clip(x, least, None)


def twice_the_same(x: Any, other: Any, *, axes: Any) -> Any:
    xp = x.__array_namespace__()
    square = xp.mean(xp.square(x), axis=axes, keepdims=True)
    return xp.maximum(x, x) * xp.minimum(square, square) + xp.maximum(x, other) + xp.minimum(other, x) * x


def powers(x: Any, p: Any, *, axes: Any, q: Any = 2.0) -> Any:
    xp = x.__array_namespace__()
    return x**3 / (xp.mean(xp.abs(x) ** p, axis=axes, keepdims=True) + EPS) + xp.abs(x) ** q


CASES = {
    ties: (),
    zeros: (),
    root_of_nothing: (),
    not_taken: (),
    spared: (),
    clipped: (1.0,),
    twice_the_same: (0.0,),
    powers: (2.0,),
}


def derivatives(norm: Any, arrays: Any, axes: int) -> list[Any]:
    """y, its gradients under a cotangent, and those of a weighed gradient of x, by x and by the cotangent."""
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    weights = np.random.default_rng(0).normal(size=(2, *arrays[0].shape))
    dy = Tensor(weights[0], requires_grad=True)
    y = norm(*leaves, axes=axes)
    first = grad(y, leaves, weights[0], retain_graph=True)
    (dx,) = grad(y, leaves[:1], dy, create_graph=True)
    return [y, *first, *grad((dx * weights[1]).sum(), [leaves[0], dy], allow_unused=True)]


@pytest.mark.parametrize("x", [ROWS, np.zeros_like(ROWS)], ids=["rows", "zeros"])
@pytest.mark.parametrize("axes", [0, 1], ids=["outer", "inner"])
@pytest.mark.parametrize("definition", CASES, ids=lambda each: each.__name__)
def test_derivatives_where_there_are_none_are_those_of_ops(definition, axes, x):
    arrays = [x, *(np.full(1, each) for each in CASES[definition])]
    expected = derivatives(definition, arrays, axes)
    installed = not kernels.missing()
    for name in ("cpu", "reference") if installed else ("reference",):
        kernels.use(name)
        try:
            found = derivatives(derive(definition), arrays, axes)
        finally:
            kernels.use("cpu" if installed else "reference")
        for one, other in zip(found, expected, strict=True):
            if other is None:
                assert one is None
                continue
            np.testing.assert_allclose(one.raw, other.raw, rtol=1e-12, atol=1e-12)
            assert definition in (root_of_nothing, not_taken) or np.isfinite(other.raw).all()


def slope(function: Any, *at: float) -> list[float]:
    """The gradient of a function of numbers, of one element that is a group of its own."""

    def definition(x: Any, *others: Any, axes: Any) -> Any:
        xp = x.__array_namespace__()
        return function(xp, x, *others) + 0 * xp.mean(x, axis=axes, keepdims=True)

    names = ["x", *("a", "b")[: len(at) - 1]]
    namespace: dict[str, Any] = {"definition": definition}
    exec(f"def norm({', '.join(names)}, *, axes): return definition({', '.join(names)}, axes=axes)", namespace)
    leaves = [Tensor(np.full((1, 1), each), requires_grad=True) for each in at]
    return [each.item() for each in grad(derive(namespace["norm"])(*leaves, axes=1), leaves, np.ones((1, 1)))]


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (lambda xp, x: xp.abs(x), (0.0,), [0]),
        (lambda xp, x: special.relu(x), (0.0,), [0]),
        (lambda xp, x: xp.sqrt(x), (0.0,), [np.inf]),
        (lambda xp, x, a: xp.maximum(x, a), (1.0, 1.0), [0.5, 0.5]),
        (lambda xp, x, a: xp.minimum(x, a), (1.0, 1.0), [0.5, 0.5]),
        (lambda xp, x: xp.maximum(x, x), (1.0,), [1]),
        (lambda xp, x, a, b: xp.clip(x, a, b), (1.0, 1.0, 2.0), [1, 0, 0]),
        (lambda xp, x, a, b: xp.clip(x, a, b), (2.0, 1.0, 2.0), [1, 0, 0]),
        (lambda xp, x, a, b: xp.clip(x, a, b), (3.0, 1.0, 2.0), [0, 0, 1]),
        (lambda xp, x, a, b: xp.clip(x, a, b), (0.0, 1.0, 2.0), [0, 1, 0]),
        (lambda xp, x, a: x**a, (0.0, 2.0), [0, 0]),
    ],
)
def test_the_convention(function, at, expected):
    assert slope(function, *at) == expected


def test_what_is_infinite_in_one_group_stays_there():
    """0 · ∞ is NaN for the values that share a statistic with it, and for no others."""
    x = Tensor(ROWS, requires_grad=True)
    for axes in (0, 1):
        (dx,) = grad(derive(root_of_nothing)(x, axes=axes), x, np.ones_like(ROWS))
        lost = (ROWS == 0).all(axis=axes, keepdims=True)
        np.testing.assert_array_equal(np.isfinite(dx.raw), np.broadcast_to(~lost, ROWS.shape))
