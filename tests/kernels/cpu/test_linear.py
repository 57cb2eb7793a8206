"""The linear layer against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu


@pytest.mark.parametrize("shape", [(5, 3), (1, 3), (2, 5, 3), (3,)])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("activation", [None, *[(name, 0.3) for name in definitions.ACTIVATIONS]])
def test_values_and_gradients(shape, activation, with_bias, rng):
    x, weight, dy = rng.normal(size=shape), rng.normal(size=(4, 3)), rng.normal(size=(*shape[:-1], 4))
    bias = rng.normal(size=4) if with_bias else None
    found, expected = (module.linear(x, weight, bias, activation) for module in (cpu, definitions))
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
    how = weight, bias, activation, (True, True, with_bias)
    found, expected = (module.linear_gradient(dy, x, *how) for module in (cpu, definitions))
    assert (found[2] is None) == (not with_bias)
    for a, b in zip(found[: 2 + with_bias], expected, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)


def test_only_what_is_needed_is_computed(rng):
    x, weight, dy = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), rng.normal(size=(5, 4))
    for i in range(3):
        results = cpu.linear_gradient(dy, x, weight, None, None, tuple(j == i for j in range(3)))
        assert [result is not None for result in results] == [j == i for j in range(3)]


def test_the_bias_gradient_loses_no_digits_over_many_rows():
    dy = np.full((100_000, 1), 0.1, np.float32)
    (dbias,) = cpu.linear_gradient(dy, dy, np.ones((1, 1), np.float32), None, None, (False, False, True))[2]
    assert dbias.dtype == np.float32
    assert dbias == np.float32(np.float64(np.float32(0.1)) * 100_000)


@pytest.mark.parametrize(
    "shapes",
    [
        ((70, 65), (65, 67)),
        ((3, 5, 70, 65), (65, 67)),
        ((70, 65), (3, 65, 67)),
        ((3, 1, 70, 65), (5, 65, 67)),
        ((2, 700, 300), (300, 1)),
        ((1, 700), (700, 500)),
        ((4, 3), (3, 2)),
        ((0, 3), (3, 2)),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_matmul(shapes, transposed, dtype, rng):
    x, y = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    if transposed:
        x, y = (np.ascontiguousarray(z.mT).mT for z in (x, y))
    found, expected = (module.matmul(x, y) for module in (cpu, definitions))
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found, expected, rtol=1e-6 if dtype == np.float32 else 1e-14, atol=shapes[0][-1] * np.finfo(dtype).eps
    )


def test_large_products_do_not_wait_for_the_threads_of_numpy(rng, monkeypatch):
    taken = []
    monkeypatch.setitem(cpu.matmul.__globals__, "gemm", lambda a, b, out: taken.append((a.shape, b.shape)))
    cpu.matmul(rng.normal(size=(64, 64)), rng.normal(size=(64, 64)))
    assert not taken
    cpu.matmul(rng.normal(size=(2, 65, 64)), rng.normal(size=(64, 64)))
    assert taken == [((1, 130, 64), (1, 64, 64))]
    cpu.matmul(rng.normal(size=(2, 1, 65, 64)), rng.normal(size=(3, 64, 64)))  # would have to be copied
    assert len(taken) == 1
