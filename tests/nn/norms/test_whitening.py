"""Whitening: beside an eigendecomposition, and what becomes of inputs that cannot be white."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest

from tests.nn.norms.layers import IMAGES, along, close, gradient_of
from tinygrad_norm import Tensor, nn
from tinygrad_norm.nn.norms.whitening import inverse_root
from tinygrad_norm.testing import gradcheck


def correlated(rng, *shape):
    """Values whose channels go together."""
    mixing = rng.normal(size=(shape[1], shape[1])) / 2 + np.eye(shape[1])
    return np.einsum("dc,nc...->nd...", mixing, rng.normal(0.7, 1.3, shape))


def channels(x):
    return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)


def covariance(x):
    centred = channels(x) - channels(x).mean(axis=1, keepdims=True)
    return centred @ centred.T / centred.shape[1]


def root_after(steps, matrix):
    """What `inverse_root` is, by eigenvalues: those of the matrix over its trace, each by the recurrence of numbers."""
    values, vectors = np.linalg.eigh(matrix / np.trace(matrix))
    found = np.ones_like(values)
    for _ in range(steps):
        found = (3 * found - found**3 * values) / 2
    return vectors * found @ vectors.T / np.sqrt(np.trace(matrix))


@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_the_root_is_what_the_recurrence_of_eigenvalues_says(steps, rng):
    matrix = covariance(correlated(rng, 50, 6)) + 1e-5 * np.eye(6)
    close(inverse_root(Tensor(matrix), steps), root_after(steps, matrix), 1e-11)


def test_it_goes_to_the_inverse_root(rng):
    matrix = covariance(correlated(rng, 50, 4))
    values, vectors = np.linalg.eigh(matrix)
    expected = vectors / np.sqrt(values) @ vectors.T
    errors = [np.abs(inverse_root(Tensor(matrix), steps).raw - expected).max() for steps in (3, 5, 7, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-10


@pytest.mark.parametrize("groups", [1, 2])
def test_the_output_is_as_white_as_the_iterations_make_it(groups, rng):
    x = correlated(rng, 7, 4, 3, 5)
    for iterations in (1, 5, 20):
        layer = nn.IterNorm2D(4, groups, iterations, eps=1e-9, dtype="float64")
        y = layer(x).raw
        assert np.abs(channels(y).mean(axis=1)).max() < 1e-12
        for group in np.split(np.arange(4), groups):
            matrix = covariance(x[:, group]) + 1e-9 * np.eye(len(group))
            root = root_after(iterations, matrix)
            close(covariance(y[:, group]), root @ covariance(x[:, group]) @ root, 1e-9)
            if iterations == 20:
                close(covariance(y[:, group]), np.eye(len(group)), 1e-6)


def test_three_steps_and_inference(rng):
    layer = nn.IterNorm2D(4, 2, momentum=0.3, eps=1e-3, dtype="float64")
    layer.weight.raw, layer.bias.raw = rng.normal(size=(2, 4))
    mean, matrices = np.zeros(4), [np.eye(2), np.eye(2)]

    def whitened(x, mean, matrices):
        centred = channels(x) - mean[:, None]
        y = np.concatenate([matrix @ part for matrix, part in zip(matrices, np.split(centred, 2), strict=True)])
        y = np.moveaxis(y.reshape(4, 3, 2, 3), 0, 1)
        return along(layer.weight) * y + along(layer.bias)

    for _ in range(3):
        x = correlated(rng, *IMAGES)
        new = [root_after(5, covariance(part) + 1e-3 * np.eye(2)) for part in np.split(x, 2, axis=1)]
        close(layer(x), whitened(x, channels(x).mean(axis=1), new), 1e-11)
        mean = 0.7 * mean + 0.3 * channels(x).mean(axis=1)
        matrices = [0.7 * old + 0.3 * each for old, each in zip(matrices, new, strict=True)]
        close(layer.running_mean, mean)
        close(layer.running_matrix, np.stack(matrices), 1e-11)
    x = correlated(rng, *IMAGES)
    expected = whitened(x, mean, matrices)
    close(layer.eval()(x), expected, 1e-11)
    close(copy.deepcopy(layer)(x), expected, 1e-11)
    close(layer.running_mean, mean)
    layer.train().frozen = True
    close(layer(x), expected, 1e-11)
    assert repr(layer).endswith("frozen=True)")


def test_a_channel_by_itself_is_batch_norm(rng):
    x = rng.normal(3, 2, (3, 4, 2, 3))
    close(nn.IterNorm2D(4, 4, 5, dtype="float64")(x), nn.BatchNorm2D(4, dtype="float64")(x), 1e-12)


@pytest.mark.parametrize("steps", [1, 5])
def test_derivatives_of_the_root_to_the_second_order(steps, rng):
    factor = Tensor(rng.normal(size=(2, 3, 3)), requires_grad=True)
    gradcheck(lambda a: inverse_root(a @ a.mT + 0.1 * np.eye(3), steps), factor, order=2, rtol=1e-4)


def test_equal_eigenvalues_have_a_gradient():
    x = np.concatenate([np.eye(4), -np.eye(4)])  # whose covariance is a multiple of the identity
    layer = nn.IterNorm1D(4, dtype="float64")
    gradcheck(layer, Tensor(x, requires_grad=True), order=2, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("constants", np.full((3, 4, 2, 3), 7.0)),
        ("fewer values than channels", np.random.default_rng(0).normal(size=(2, 4, 1, 1))),
        ("the same channel twice", np.random.default_rng(0).normal(size=(3, 1, 2, 3)).repeat(4, axis=1)),
        ("large", 1e30 * np.random.default_rng(0).normal(size=IMAGES)),
        ("far from 0", 1e5 + np.random.default_rng(0).normal(size=IMAGES)),
    ],
)
def test_what_cannot_be_white_stays_finite(name, x, dtype, rng):
    layer = nn.IterNorm2D(4, dtype=dtype)
    found = [layer(x.astype(dtype)), *gradient_of(layer, [x.astype(dtype)], rng.normal(size=x.shape).astype(dtype))]
    assert all(each.dtype == dtype and np.isfinite(each.raw).all() for each in found)
    assert np.isfinite(layer.running_matrix.raw).all()
    if name == "constants":
        assert not found[0].raw.any()
    else:
        assert np.abs(found[0].raw).max() > 0.1


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.IterNorm2D(4, 3), "IterNorm2D: num_features is a multiple of num_groups, got 4 and 3"),
        (lambda: nn.IterNorm1D(4, 0), "IterNorm1D: num_groups is an integer of at least 1, got 0"),
        (lambda: nn.IterNorm1D(4, 2, 0), "IterNorm1D: iterations is an integer of at least 1, got 0"),
        (lambda: nn.IterNorm1D(4, iterations=2.5), "IterNorm1D: iterations is an integer of at least 1, got 2.5"),
        (lambda: nn.IterNorm1D(4, eps=0), "IterNorm1D: eps is a finite number above 0, got 0"),
        (lambda: nn.IterNorm1D(4, momentum=2), "IterNorm1D: momentum is a number from 0 to 1, the weight of the"),
        (lambda: nn.IterNorm1D(4)(np.ones((1, 4), "float32")), "IterNorm1D: one value per channel has no covariance"),
    ],
)
def test_what_is_refused(build, words):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(words)}"):
        build()
