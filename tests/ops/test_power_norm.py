"""PowerNorm's op beside its formulas; the layer's tests follow it over several steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, grad
from tinygrad_norm.ops.power_norm import PowerNormOp

EPS, MOMENTUM = 1e-3, 0.4
ACTIVATIONS = {
    None: lambda y: (y, 1.0),
    "relu": lambda y: (np.maximum(y, 0), y > 0),
    "tanh": lambda y: (np.tanh(y), 1 / np.cosh(y) ** 2),
}
PLACES = {
    "images": ((4, 3, 5, 2), (-1, 1, 1), (0, 2, 3), lambda x: x),
    "channels last in memory": (
        (4, 3, 5, 2),
        (-1, 1, 1),
        (0, 2, 3),
        lambda x: np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1),
    ),
    "tokens": ((4, 5, 3), (-1,), (0, 1), lambda x: x),
}


def params(square: Any, running: bool, activation: Any = None, eps: float = EPS) -> dict[str, Any]:
    """Those of a call in the fourth batch, whose warm-up is over if it divides by the running mean square."""
    warmup = 3 if running else 4
    return {"running": square, "batches": np.array(3), "warmup": warmup, "eps": eps, "activation": activation}


def close(found: Any, expected: Any, dtype: Any) -> None:
    """Agree, by the largest element expected."""
    found = getattr(found, "raw", found)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol={"float32": 3e-6, "float64": 1e-13}[dtype] * abs(expected).max()
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("activation", [None, ("relu", 0.0), ("tanh", 0.0)], ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_value_gradients_and_the_move_of_nu(place, activation, affine, running, dtype, rng):
    shape, seen, axes, order = PLACES[place]
    x, dy = (order(rng.normal(0.6, 1.4, shape).astype(dtype)) for _ in range(2))
    weight, bias, nu, kept = rng.normal(0.7, 0.5, (4, 3)).astype(dtype)
    square, buffer = kept**2 + 0.5, Tensor(nu.copy())
    op, leaf = PowerNormOp(), Tensor(x, requires_grad=True)
    parameters = [Tensor(each, requires_grad=True) if affine else None for each in (weight, bias)]
    y = op(leaf, *parameters, axes=axes, **params(square, running, activation), nu=buffer, nu_momentum=MOMENTUM)
    found = grad(y, [leaf, *(each for each in parameters if each is not None)], dy)

    x, dy, weight, bias, nu, square = (each.astype(np.float64) for each in (x, dy, weight, bias, nu, square))
    weight, bias = (weight, bias) if affine else (np.ones(3), np.zeros(3))
    own = (x**2).mean(axis=axes)
    size = np.sqrt((square if running else own) + EPS).reshape(seen)
    normal = x / size
    before = normal * weight.reshape(seen) + bias.reshape(seen)
    expected, slope = ACTIVATIONS[activation and activation[0]](before)
    dy = dy * slope
    g = dy * weight.reshape(seen)
    close(op.square.reshape(-1), own, dtype)
    close(y, expected, dtype)
    close(found[0], (g - nu.reshape(seen) * normal) / size, dtype)
    if affine:
        close(found[1], (dy * normal).sum(axis=axes), dtype)
        close(found[2], dy.sum(axis=axes), dtype)
    moved = nu * (1 - MOMENTUM * (normal**2).mean(axis=axes)) + MOMENTUM * (g * normal).mean(axis=axes)
    close(buffer, moved, dtype)
    assert buffer.dtype == dtype
    assert y.raw.transpose(np.argsort(x.strides)[::-1]).flags.c_contiguous  # as x lies in memory


def test_squares_beyond_float32(rng):
    x, dy = rng.normal(size=(2, 6, 3)).astype(np.float32)
    nu: dict[str, Any] = {"nu": Tensor(np.ones(3)), "nu_momentum": 0.0}
    results = []
    for scale in (1, 1e25):
        leaf = Tensor(x * np.float32(scale), requires_grad=True)
        y = PowerNormOp()(leaf, None, None, axes=(0,), **params(np.ones(3), False, eps=EPS * scale**2), **nu)
        results.append((y, grad(y, leaf, dy)[0].raw * scale))
    np.testing.assert_allclose(results[1][0].raw, results[0][0].raw, rtol=1e-5)
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-5, atol=1e-6)
