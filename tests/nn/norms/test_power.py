"""PowerNorm beside its published recurrence, written once more in NumPy."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.nn.norm_layers import close, stirred
from tinygrad_norm import Tensor, composed, grad, nn
from tinygrad_norm.certificate import certify
from tinygrad_norm.testing import gradcheck

ALPHA, ALPHA_BACK, WARMUP, EPS = 0.7, 0.6, 2, 1e-3


class Published:
    """Algorithm 2 of the paper for rows (B, d), with the batch's ψ in the first iterations, as in the authors' code."""

    def __init__(self, weight, bias):
        self.gamma, self.beta = weight, bias
        self.psi_squared, self.nu, self.iteration = np.ones(len(weight)), np.zeros(len(weight)), 0

    def step(self, x, dy):
        self.iteration += 1
        batch = (x**2).mean(axis=0)
        psi = np.sqrt((batch if self.iteration <= WARMUP else self.psi_squared) + EPS)
        x_hat = x / psi
        y = self.gamma * x_hat + self.beta
        self.psi_squared = ALPHA * self.psi_squared + (1 - ALPHA) * batch
        dx_hat = self.gamma * dy
        dx = (dx_hat - self.nu * x_hat) / psi
        gamma, lamda = (x_hat * x_hat).mean(axis=0), (dx_hat * x_hat).mean(axis=0)
        self.nu = self.nu * (1 - (1 - ALPHA_BACK) * gamma) + (1 - ALPHA_BACK) * lamda
        return y, dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)


def make(channels=3, **options):
    given = {"momentum": 1 - ALPHA, "nu_momentum": 1 - ALPHA_BACK, "warmup": WARMUP, "eps": EPS}
    return nn.PowerNorm(channels, **{**given, "dtype": "float64", **options})


PLACES = {
    "rows": ((7, 3), False, lambda x: x),
    "images": ((4, 3, 2, 5), False, lambda x: np.moveaxis(x, 1, -1).reshape(-1, 3)),
    "tokens": ((4, 5, 3), True, lambda x: x.reshape(-1, 3)),
}


@pytest.mark.parametrize("place", PLACES)
def test_it_goes_where_the_recurrence_goes(place, rng):
    shape, channels_last, rows = PLACES[place]
    layer = stirred(make(channels_last=channels_last), rng)
    published = Published(layer.weight.raw, layer.bias.raw)
    for _ in range(6):
        x, dy = rng.normal(1, 2, shape), rng.normal(size=shape)
        leaf = Tensor(x, requires_grad=True)
        y = layer(leaf)
        found = grad(y, [leaf, layer.weight, layer.bias], dy)
        expected = published.step(rows(x), rows(dy))
        for one, other in zip((rows(y.raw), rows(found[0].raw), found[1], found[2]), expected, strict=True):
            close(one, other)
        close(layer.running_square, published.psi_squared)
        close(layer.nu, published.nu)
    assert layer.num_batches_tracked.item() == 6
    x = rng.normal(size=shape)
    scale = layer.weight.raw / np.sqrt(published.psi_squared + EPS)
    close(rows(layer.eval()(x).raw), rows(x) * scale + layer.bias.raw)


@pytest.mark.parametrize("warmup", [0, 10])
def test_float32_goes_there_too(warmup, rng):
    layers = [make(warmup=warmup, dtype=dtype) for dtype in ("float32", "float64")]
    for _ in range(3):
        x, dy = (rng.normal(3, 2, (16, 3, 8)).astype(np.float32) for _ in range(2))
        found = []
        for layer in layers:
            leaf = Tensor(x.astype(layer.nu.dtype), requires_grad=True)
            found.append((layer(leaf), grad(layer(leaf), leaf, dy.astype(layer.nu.dtype))[0]))
        for one, other in zip(*found, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one.raw, other.raw, rtol=1e-4, atol=1e-5)
    assert {buffer.dtype.name for buffer in layers[0].buffers()} == {"float32", "int64"}
    np.testing.assert_allclose(layers[0].nu.raw, layers[1].nu.raw, rtol=1e-4)


def test_nu_is_that_of_before_until_the_way_back_moves_it(rng):
    layer = make(warmup=0)
    x, dy = Tensor(rng.normal(size=(5, 3)), requires_grad=True), rng.normal(size=(5, 3))
    y = layer(x)
    assert not layer.nu.raw.any()
    once = grad(y, x, dy, retain_graph=True)[0].raw
    moved = layer.nu.raw.copy()
    assert moved.any()
    np.testing.assert_array_equal(grad(y, x, dy)[0].raw, once)
    assert (layer.nu.raw != moved).all()


def test_without_updates_it_is_frozen_in_place_and_frozen_is_inference(rng):
    layer, x = make(warmup=0), Tensor(rng.normal(size=(5, 3)), requires_grad=True)
    layer.nu.raw, layer.running_square.raw = np.array([1.0, 2, 3]), np.array([4.0, 1, 9])
    before = layer.state_dict()
    layer.update_running_statistics = False
    published = grad(layer(x), x, np.ones((5, 3)))[0]
    layer.frozen = True
    y = layer(x)
    close(y, x.raw / np.sqrt(before["running_square"] + EPS))
    derivative = grad(y, x, np.ones((5, 3)))[0]
    close(derivative, np.broadcast_to(1 / np.sqrt(before["running_square"] + EPS), (5, 3)))
    size = np.sqrt(before["running_square"] + EPS)
    close(published, (1 - before["nu"] * x.raw / size) / size)
    for key, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("warmup", [0, 5])
def test_composed_it_is_the_derivative_of_the_forward_pass(warmup, rng):
    layer, x = stirred(make(warmup=warmup, fused=False), rng), rng.normal(size=(5, 3))
    layer.update_running_statistics = False
    gradcheck(layer, Tensor(x, requires_grad=True), order=2)
    layer.update_running_statistics = None
    before = layer.running_square.raw
    layer(x)
    close(layer.running_square, ALPHA * before + (1 - ALPHA) * (x**2).mean(axis=0))


def test_it_has_no_second_derivative(rng):
    layer, x = make(), Tensor(rng.normal(size=(5, 3)), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"the published backward pass is no derivative .* under composed"):
        grad(layer(x), x, np.ones((5, 3)), create_graph=True)
    grad(layer.eval()(x), x, np.ones((5, 3)), create_graph=True)
    with composed():
        grad(layer.train()(x), x, np.ones((5, 3)), create_graph=True)


def test_the_certificate_says_that_it_differs_and_by_how_much():
    certificate = certify(make(warmup=0), (4, 3, 2))
    assert certificate.ok, str(certificate)
    (check,) = [check for check in certificate.checks if check.name.startswith("published")]
    assert check.error > 0.1
    assert check.case.startswith("training")
    assert "differs by design: the gradient goes through a running ν" in str(certificate)
    row = next(line for line in str(certificate).splitlines() if line.startswith("published"))
    assert f"{check.error:.1e}        -  differs by design" in row
    assert {mutant.case.split(",")[0] for mutant in certificate.mutants} == {"inference"}
    assert certificate.to_json()["differs_by_design"] == certificate.differs_by_design


def test_an_activation_follows_and_weight_and_bias_may_be_left_out(rng):
    x = rng.normal(size=(5, 3))
    close(make(activation="relu")(x), np.maximum(make()(x).raw, 0))
    for options in ({"affine": False}, {"bias": False}):
        layer, leaf = make(**options), Tensor(x, requires_grad=True)
        published = Published(np.ones(3), np.zeros(3))
        y = layer(leaf)
        close(grad(y, leaf, x)[0], published.step(x, x)[1])


def test_arguments_copies_state_and_empty_batches(rng):
    for options, told in (
        ({"momentum": 2}, "PowerNorm: momentum is a number from 0 to 1, the weight of the new value, or None, got 2"),
        ({"nu_momentum": -1}, "PowerNorm: nu_momentum is a number from 0 to 1, got -1"),
        ({"warmup": -1}, "PowerNorm: warmup is an integer of at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=told):
            nn.PowerNorm(3, **options)
    layer, x = make(), rng.normal(size=(5, 3))
    assert list(layer.state_dict()) == ["weight", "bias", "running_square", "nu", "num_batches_tracked"]
    with pytest.raises(TypeError, match="one floating dtype"):
        layer(x.astype(np.float32))
    assert layer(np.ones((0, 3))).shape == (0, 3)
    assert (layer.num_batches_tracked.item(), layer.running_square.tolist()) == (1, [1, 1, 1])
    other = copy.deepcopy(layer)
    layer(Tensor(x, requires_grad=True)).sum().backward()
    assert not other.nu.raw.any()
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other(x).raw, layer(x).raw)
    layer.reset_parameters()
    assert (layer.running_square.tolist(), layer.nu.tolist()) == ([1, 1, 1], [0, 0, 0])
