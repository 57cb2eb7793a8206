"""Orthogonal matrices: what they are, that any can be assigned, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.nn.orthogonal import MAPS, Householder, Solve, cayley, exponential, reflections
from tinygrad_norm.nn.parametrizations import orthogonal
from tinygrad_norm.testing import gradcheck

SHAPES = [(4, 4), (5, 3), (3, 5), (4, 1), (1, 3), (1, 1), (2, 3, 4, 2), (3, 2, 2)]
KINDS = [*((name, True) for name in MAPS), *((name, False) for name in MAPS)]


class Holder(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)


def made(shape, rng, kind, dtype="float64"):
    """An orthogonal weight, away from where it begins."""
    name, trivialized = kind
    layer = orthogonal(
        Holder(rng.normal(size=shape).astype(dtype)), orthogonal_map=name, use_trivialization=trivialized
    )
    original = layer.parametrizations.weight.original
    original.raw = (original.raw + np.tril(rng.normal(size=shape), -1) + np.triu(rng.normal(size=shape), 1)).astype(
        dtype
    )
    return layer


def narrow(q):
    """With at least as many rows as columns."""
    return q if q.shape[-2] >= q.shape[-1] else np.swapaxes(q, -1, -2)


def random_orthogonal(shape, rng):
    tall = narrow(rng.normal(size=shape))
    q = np.linalg.qr(tall)[0] * rng.choice([-1.0, 1.0], tall.shape[-1])
    return q if q.shape == tuple(shape) else np.swapaxes(q, -1, -2)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_weight_is_orthogonal(shape, kind, dtype, rng):
    weight = made(shape, rng, kind, dtype).weight
    assert (weight.shape, weight.dtype) == (shape, np.dtype(dtype))
    q = narrow(weight.numpy()).astype("float64")
    identity = np.broadcast_to(np.eye(q.shape[-1]), (*q.shape[:-2], q.shape[-1], q.shape[-1]))
    np.testing.assert_allclose(np.swapaxes(q, -1, -2) @ q, identity, rtol=0, atol=1e-13 if dtype == "float64" else 1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != (1, 1)])  # which is 1 or -1
def test_gradients_to_the_second_order(shape, kind, rng):
    computing = made(shape, rng, kind).parametrizations.weight
    x = Tensor(computing.original.raw, requires_grad=True)
    gradcheck(computing[0], [x], order=2, rtol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[1] or kind[0] == "householder"], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_orthogonal_matrix_is_kept_and_another_becomes_q_of_qr(shape, kind, rng):
    layer = made(shape, rng, kind)
    wanted = random_orthogonal(shape, rng)
    layer.weight = Tensor(wanted)
    np.testing.assert_allclose(layer.weight.numpy(), wanted, rtol=0, atol=1e-14)
    other = rng.normal(size=shape)
    layer.weight = Tensor(other)
    q = narrow(layer.weight.numpy())
    r = np.swapaxes(q, -1, -2) @ narrow(other)  # upper triangular, with a positive diagonal
    np.testing.assert_allclose(np.tril(r, -1), 0, atol=1e-13)
    assert (np.diagonal(r, axis1=-2, axis2=-1) > 0).all()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_singular_matrix_becomes_an_orthogonal_one(kind, rng):
    weight = rng.normal(size=(4, 3))
    weight[:, 1] = 0
    for given in (weight, np.zeros((4, 3))):
        layer = orthogonal(Holder(given), orthogonal_map=kind[0], use_trivialization=kind[1])
        q = layer.weight.numpy()
        np.testing.assert_allclose(q.T @ q, np.eye(3), rtol=0, atol=1e-13)


def test_without_trivialization_a_map_but_householder_takes_the_weight_as_it_is(rng):
    weight = rng.normal(size=(3, 3))
    layer = orthogonal(Holder(weight.copy()), orthogonal_map="cayley", use_trivialization=False)
    lower = np.tril(weight, -1)
    a = lower - lower.T
    expected = np.linalg.inv(np.eye(3) - a / 2) @ (np.eye(3) + a / 2)
    np.testing.assert_allclose(layer.weight.numpy(), expected, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match=r"Holder\.weight: Orthogonal has no right_inverse\(\), so it stays"):
        layer.weight = Tensor(np.eye(3))


@pytest.mark.parametrize("size", [0.0, 1e-9, 0.4, 3.0, 40.0])
def test_the_exponential_is_that_of_eigenvalues(size, rng):
    a = rng.normal(size=(2, 5, 5))
    a = size * (a - np.swapaxes(a, 1, 2))
    values, vectors = np.linalg.eigh(1j * a)
    expected = (vectors * np.exp(-1j * values)[:, None, :]) @ np.conj(np.swapaxes(vectors, 1, 2))
    np.testing.assert_allclose(exponential(Tensor(a)).raw, expected.real, rtol=0, atol=1e-15 * (5 + 50 * size))


def test_reflections_are_their_product(rng):
    v = rng.normal(size=(2, 5, 3))
    product = np.broadcast_to(np.eye(5), (2, 5, 5))
    for i in range(3):
        one = v[:, :, i : i + 1]
        square = (one**2).sum(axis=1, keepdims=True)
        product = product @ (np.eye(5) - 2 * one @ np.swapaxes(one, 1, 2) / square)
    np.testing.assert_allclose(reflections(Tensor(v)).raw, product[..., :3], rtol=0, atol=1e-14)


def test_the_cayley_map(rng):
    a = rng.normal(size=(4, 4))
    a = a - a.T
    expected = np.linalg.inv(np.eye(4) - a / 2) @ (np.eye(4) + a / 2)
    np.testing.assert_allclose(cayley(Tensor(a)).raw, expected, rtol=0, atol=1e-14)


def test_solve_and_its_gradients(rng):
    a, b = (Tensor(rng.normal(size=shape), requires_grad=True) for shape in ((2, 3, 3), (2, 3, 4)))
    np.testing.assert_allclose((a.raw @ Solve()(a, b).raw), b.raw, rtol=0, atol=1e-12)
    gradcheck(lambda a, b: Solve()(a, b), [a, b], order=3, rtol=1e-3)


def test_weight_decay_changes_no_sign_and_no_length(rng):
    """Of the diagonal, which no gradient moves, the sign alone counts."""
    layer = made((5, 3), rng, ("householder", True))
    original = layer.parametrizations.weight.original
    places = np.arange(3)
    before = layer.weight.numpy().copy()
    original.raw[places, places] *= 0.9
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_the_state_is_what_there_is(rng):
    keys = ["bias", "parametrizations.weight.original", "parametrizations.weight.0.base"]
    layer = orthogonal(nn.Linear(5, 3))
    assert sorted(layer.state_dict()) == sorted(keys)
    assert layer.state_dict()[keys[2]].shape == (5, 5)
    other = orthogonal(nn.Linear(5, 3))
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other.weight.numpy(), layer.weight.numpy())
    assert "orthogonal_map='householder'" in repr(layer)
    assert "orthogonal_map='matrix_exp'" in repr(orthogonal(nn.Linear(3, 3)))
    assert sorted(orthogonal(nn.Linear(5, 3), use_trivialization=False).state_dict()) == sorted(keys[:2])


@pytest.mark.parametrize("trivialized", [True, False])
def test_what_is_not_finite_is_refused(trivialized):
    layer, weight = orthogonal(nn.Linear(3, 2), use_trivialization=trivialized), np.ones((2, 3), np.float32)
    before, weight[0, 0] = layer.weight.numpy().copy(), np.nan
    with pytest.raises(ValueError, match="orthogonal: the weight is finite, got infinite values or NaN"):
        layer.weight = Tensor(weight)
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_training_keeps_it_orthogonal_and_folding_leaves_it(rng):
    layer = orthogonal(nn.Linear(6, 4, dtype="float64"))
    for _ in range(20):
        layer.zero_grad()
        layer(rng.normal(size=(3, 6))).square().sum().backward()
        for parameter in layer.parameters():
            parameter.raw = parameter.raw - 0.1 * parameter.grad.raw
    weight = layer.weight.numpy()
    np.testing.assert_allclose(weight @ weight.T, np.eye(4), rtol=0, atol=1e-13)
    folded = nn.fold_parametrizations(layer)
    assert type(folded) is nn.Linear
    np.testing.assert_allclose(folded.weight.numpy(), weight, rtol=0, atol=1e-15)


def test_householder_of_what_needs_no_reflection():
    """LAPACK leaves those out."""
    x = Householder("householder").right_inverse(Tensor(np.eye(3)))
    np.testing.assert_array_equal(Householder("householder")(x).raw, np.eye(3))
