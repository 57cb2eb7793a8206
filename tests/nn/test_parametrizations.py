from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_norm import Tensor, manual_seed, nn
from tinygrad_norm.certificate import certify
from tinygrad_norm.nn.parametrizations import orthogonal, spectral_norm, weight_norm, weight_standardization
from tinygrad_norm.testing import gradcheck

LAYERS = {
    "linear": lambda: nn.Linear(5, 3, dtype="float64"),
    "convolution": lambda: nn.Conv2D(4, 6, (3, 2), dtype="float64"),
    "grouped": lambda: nn.Conv2D(4, 6, 3, groups=2, dtype="float64"),
    "depthwise": lambda: nn.Conv2D(4, 4, 3, groups=4, dtype="float64"),
    "norm": lambda: nn.LayerNorm((3, 4), dtype="float64"),
}
KINDS = {
    "weight_norm": weight_norm,
    "weight_norm, whole": lambda layer: weight_norm(layer, dim=None),
    "weight_norm, inputs": lambda layer: weight_norm(layer, dim=1),
    "spectral_norm": spectral_norm,
    "spectral_norm, inputs": lambda layer: spectral_norm(layer, dim=1),
    "weight_standardization": weight_standardization,
    "weight_standardization, scaled": lambda layer: weight_standardization(layer, scaled=True),
    "orthogonal": orthogonal,
    "orthogonal, cayley": lambda layer: orthogonal(layer, orthogonal_map="cayley", use_trivialization=False),
}


def random(layer, rng):
    """The layer with a weight of its own."""
    layer.weight.raw[...] = rng.normal(size=layer.weight.shape) + 0.3
    return layer


def rows(weight, dim=0):
    """As a matrix, by NumPy alone."""
    return np.moveaxis(weight, dim, 0).reshape(weight.shape[dim], -1)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_to_the_second_order(kind, layer, rng):
    module = KINDS[kind](random(LAYERS[layer](), rng)).eval()
    computing = module.parametrizations.weight
    originals = [Tensor(rng.normal(size=each.shape) + 0.3, requires_grad=True) for each in computing.originals()]
    gradcheck(computing[0], originals, order=2)


@pytest.mark.parametrize("layer", LAYERS)
def test_weight_norm_begins_as_the_weight_and_keeps_the_lengths(layer, rng):
    module = random(LAYERS[layer](), rng)
    before = module.weight.numpy().copy()
    weight_norm(module)
    g, v = module.parametrizations.weight.originals()
    assert g.shape == (before.shape[0], *[1] * (before.ndim - 1))
    np.testing.assert_allclose(module.weight.numpy(), before, rtol=1e-14)
    v.raw *= 7.0
    g.raw *= -2.0
    np.testing.assert_allclose(module.weight.numpy(), -2 * before, rtol=1e-14)


def test_assigning_to_a_weight_of_weight_norm_gives_it(rng):
    module = weight_norm(nn.Conv2D(2, 3, 2, dtype="float64"), dim=1)
    wanted = rng.normal(size=(3, 2, 2, 2))
    module.weight = Tensor(wanted)
    np.testing.assert_allclose(module.weight.numpy(), wanted, rtol=1e-14)
    lengths = np.sqrt((wanted**2).sum(axis=(0, 2, 3)))
    np.testing.assert_allclose(module.parametrizations.weight.original0.numpy().ravel(), lengths, rtol=1e-14)


def test_state_of_old_pytorch_is_loaded(rng):
    net = nn.Sequential(nn.ReLU(), weight_norm(nn.Linear(3, 2, dtype="float64")))
    old = {
        "1.bias": np.zeros(2),
        "1.weight_g": np.array([[3.0], [5.0]]),
        "1.weight_v": np.array([[2.0, 0, 0], [0, 4, 0]]),
    }
    net.load_state_dict(old)
    np.testing.assert_allclose(net[1].weight.numpy(), [[3, 0, 0], [0, 5, 0]], rtol=1e-15)
    assert len(old) == 3


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_spectral_norm_is_the_largest_singular_value(layer, dim, rng):
    module = spectral_norm(random(LAYERS[layer](), rng), n_power_iterations=200, dim=dim)
    original = module.parametrizations.weight.original.numpy()
    largest = np.linalg.svd(rows(original, dim), compute_uv=False)[0]
    np.testing.assert_allclose(module.weight.numpy(), original / largest, rtol=1e-9)


def test_power_iterations_are_taken_in_training_alone(rng):
    module = spectral_norm(random(nn.Linear(8, 7), rng))
    u, v = (getattr(module.parametrizations.weight[0], name) for name in ("_u", "_v"))
    assert {"parametrizations.weight.0._u", "parametrizations.weight.0._v"} <= module.state_dict().keys()
    before = u.numpy().copy(), v.numpy().copy()
    module.eval().weight  # noqa: B018 - what an access does
    np.testing.assert_array_equal(u.numpy(), before[0])
    module.train().weight  # noqa: B018
    weight = module.parametrizations.weight.original.numpy()
    expected = weight @ before[1]
    np.testing.assert_allclose(u.numpy(), expected / np.linalg.norm(expected), rtol=1e-5)
    assert abs(np.linalg.norm(v.numpy()) - 1) < 1e-6


def test_two_forward_passes_before_one_backward(rng):
    module = spectral_norm(nn.Linear(4, 3))
    x = rng.normal(size=(2, 4)).astype("float32")
    (module(x).sum() - module(2 * x).square().sum()).backward()
    assert np.isfinite(module.parametrizations.weight.original.grad.numpy()).all()


def test_a_vector_is_divided_by_its_norm():
    norm = nn.BatchNorm1D(4)
    norm.weight.raw[...] = [3, 0, 0, 4]
    spectral_norm(norm)
    np.testing.assert_allclose(norm.weight.numpy(), [0.6, 0, 0, 0.8], rtol=1e-6)
    assert list(norm.parametrizations.weight.state_dict()) == ["original"]
    norm.parametrizations.weight.original.raw[...] = 0
    norm(np.ones((3, 4), "float32")).sum().backward()
    np.testing.assert_array_equal(norm.weight.numpy(), np.zeros(4))
    assert np.isfinite(norm.parametrizations.weight.original.grad.numpy()).all()


def test_the_start_is_the_seeds():
    states = []
    for _ in range(2):
        manual_seed(3)
        states.append(spectral_norm(nn.Linear(4, 3)).state_dict())
    for key, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][key])


@pytest.mark.parametrize("layer", ["linear", "convolution", "grouped", "depthwise"])
def test_standardized_weights_have_mean_0_and_variance_1(layer, rng):
    module = weight_standardization(random(LAYERS[layer](), rng), eps=0.0)
    found = rows(module.weight.numpy())
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(found.var(axis=1), 1, rtol=1e-13)
    module.weight = module.weight
    np.testing.assert_allclose(rows(module.weight.numpy()), found, rtol=1e-12)


def test_standardization_adds_eps_to_the_variance(rng):
    module = weight_standardization(random(nn.Linear(5, 3, dtype="float64"), rng), eps=0.5)
    original = module.parametrizations.weight.original.numpy()
    centred = original - original.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(module.weight.numpy(), centred / np.sqrt(original.var(axis=1, keepdims=True) + 0.5))


@pytest.mark.parametrize("layer", ["linear", "convolution", "grouped", "depthwise"])
def test_scaled_weights_keep_the_variance_of_their_input(layer, rng):
    module = weight_standardization(random(LAYERS[layer](), rng), scaled=True)
    found = rows(module.weight.numpy())
    gain, v = module.parametrizations.weight.originals()
    assert gain.shape == (v.shape[0], *[1] * (v.ndim - 1))
    np.testing.assert_array_equal(gain.numpy(), np.ones(gain.shape))
    np.testing.assert_allclose((found**2).sum(axis=1), 1, rtol=1e-9)
    gain.raw *= 3.0
    np.testing.assert_allclose(rows(module.weight.numpy()), 3 * found, rtol=1e-14)
    wanted = module.weight.numpy()
    module.weight = Tensor(wanted)
    np.testing.assert_allclose(module.weight.numpy(), wanted, rtol=1e-12)


def test_in_float32_the_statistics_are_taken_in_float64(rng):
    module = nn.Linear(64, 4)
    module.weight.raw[...] = 3000 + rng.normal(size=(4, 64))
    exact = module.weight.numpy().astype("float64")
    weight_standardization(module)
    exact = (exact - exact.mean(axis=1, keepdims=True)) / np.sqrt(exact.var(axis=1, keepdims=True) + 1e-10)
    np.testing.assert_allclose(module.weight.numpy(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: weight_norm(nn.Linear(3, 2), dim=2), "weight_norm: dim is an integer of at most 1"),
        (lambda: weight_norm(nn.Linear(3, 2), dim=0.5), "weight_norm: dim is an integer of at least -2, got 0.5"),
        (lambda: weight_norm(nn.Linear(3, 2), "wieght"), "one of its parameters, weight, bias; did you mean weight"),
        (lambda: spectral_norm(nn.ReLU()), "ReLU: a parametrization takes one of its parameters, none, got 'weight'"),
        (
            lambda: spectral_norm(nn.Linear(3, 2), n_power_iterations=0),
            "n_power_iterations is an integer of at least 1",
        ),
        (
            lambda: weight_norm(nn.Linear(3, 2), dim=np.ones(2)),
            "weight_norm: dim is an integer of at least -2, got arr",
        ),
        (lambda: weight_norm(nn.Linear(3, 2), dim=True), "weight_norm: dim is an integer of at least -2, got True"),
        (lambda: spectral_norm(nn.Linear(3, 2), eps=-1), "spectral_norm: eps is a number of at least 0 and below 1"),
        (lambda: spectral_norm(nn.Linear(3, 2), eps=1.0), "spectral_norm: eps is a number of at least 0 and below 1"),
        (lambda: spectral_norm(nn.Linear(3, 2), eps=10**400), "got an integer of about 401 digits, beyond all floats"),
        (
            lambda: orthogonal(nn.Linear(3, 2), orthogonal_map="caley"),
            "orthogonal_map is 'matrix_exp' or 'cayley' or 'householder', got 'caley'; did you mean cayley",
        ),
        (lambda: orthogonal(nn.Linear(3, 2), orthogonal_map=np.ones(2)), "orthogonal_map is 'matrix_exp' or "),
        (lambda: orthogonal(nn.Linear(3, 2), use_trivialization=1), "use_trivialization is True or False, got 1"),
        (lambda: orthogonal(nn.BatchNorm2D(3)), r"orthogonal: the weight is a matrix, or several, got .* \(3,\)"),
        (lambda: weight_standardization(nn.Linear(3, 2), eps="1"), "weight_standardization: eps is a finite number"),
        (lambda: weight_standardization(nn.Linear(3, 2), scaled=1), "weight_standardization: scaled is True or False"),
        (
            lambda: weight_standardization(nn.BatchNorm2D(3)),
            r"several values make each output, got a weight of shape \(3,\)",
        ),
        (lambda: weight_standardization(nn.Conv2D(3, 3, 1, groups=3)), "several values make each output"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


def test_batches_of_nothing():
    for kind in KINDS.values():
        layer = kind(nn.Conv2D(2, 3, 3))
        y = layer(np.zeros((0, 2, 5, 5), "float32"))
        assert y.shape == (0, 3, 3, 3)
        y.sum().backward()
        for parameter in layer.parameters():
            assert math.isclose(np.abs(parameter.grad.numpy()).max(), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_parametrized_layer_is_certified(kind):
    certificate = certify(KINDS[kind](nn.Conv2D(2, 3, 2)), (2, 2, 3, 3))
    failed = {check.name for check in certificate.checks if not check.ok}
    assert failed <= ({"against finite differences: first derivative"} if "spectral" in kind else set()), str(
        certificate
    )


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "weight_standardization", "orthogonal"])
def test_a_weight_of_one_number_is_refused(kind):
    words = "(dim is an axis of the weight, which has none, got 0|got a weight of shape \\(\\))"
    with pytest.raises(ValueError, match=f"^{kind}: .*{words}"):
        getattr(nn.parametrizations, kind)(nn.ScaleNorm(4))
    if kind == "weight_norm":
        np.testing.assert_allclose(weight_norm(nn.ScaleNorm(4), dim=None).weight.numpy(), 2)
