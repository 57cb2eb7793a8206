"""Every layer in a captured function: on other data, a replay gives the bits of an eager call, of its state too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.plan import replays
from tests.plan.replays import IMPLEMENTATIONS, KINDS, TAME, check_replays, drawn, implementation
from tinygrad_norm import Tensor, capture, composed, nn, no_grad, random
from tinygrad_norm.certificate import catalog
from tinygrad_norm.certificate.norm_examples import NORMS, make_norm, norm_layers
from tinygrad_norm.nn.normalization import RunningMoments, RunningNorm

IMAGES, ROWS = (3, 2, 3, 1), (5, 2)
SIZES = {"N": 5, "C": 4, "L": 3, "D": 2, "H": 3, "W": 1, "K": 3}


class Case(NamedTuple):
    """How a layer is made, and what draws its inputs."""

    make: Callable[..., Any]
    draw: Callable[..., Any]


def of_norm(name, example, **options):
    return Case(lambda: make_norm(name, example, SIZES, **options), replays.of_norm(example, SIZES))


def case(name, inputs, *arguments, **options):
    return Case(lambda: getattr(nn, name)(*arguments, **options), drawn(inputs))


CASES = {f"{name} {i}": of_norm(name, each) for name, examples in NORMS.items() for i, each in enumerate(examples)}
CASES |= {
    f"{name} {i}": case(name, each.inputs, *each.arguments, **each.options)
    for name, examples in catalog.LAYERS.items()
    for i, each in enumerate(examples)
}
CASES |= {
    f"{name}, an average": of_norm(name, examples[0], momentum=None, **more)
    for name, examples in NORMS.items()
    if issubclass(kind := getattr(nn, name), RunningNorm)
    for more in ({"track_running_stats": True} if issubclass(kind, RunningMoments) else {},)
}
CASES |= {
    "BatchNorm2D without running statistics": case("BatchNorm2D", IMAGES, 2, track_running_stats=False),
    "BatchNorm2D with silu": case("BatchNorm2D", IMAGES, 2, activation="silu"),
    "LayerNorm with relu": case("LayerNorm", ROWS, 2, activation="relu"),
    "BatchRenorm2D on its ramp": case(
        "BatchRenorm2D", IMAGES, 2, r_max=nn.Ramp(1.0, 3.0, 2, 7), d_max=nn.Ramp(0.0, 5.0, 1, 5), momentum=0.3
    ),
    "BatchRenorm1D, by a function": case("BatchRenorm1D", ROWS, 2, r_max=lambda n: 1 + n / 4, momentum=None),
    "PowerNorm after its warm-up": case("PowerNorm", ROWS, 2, warmup=3, momentum=None, activation="relu"),
}
PACKED = "MaskedBatchNorm"
"""What a mask packs, in training, as as many rows as it counts."""


def made(name):
    """The layer of a case, with parameters that differ, and what draws its inputs."""
    random.manual_seed(5)
    layer, rng = CASES[name].make(), np.random.default_rng(6)
    for parameter in layer.parameters():
        parameter.raw = rng.normal(0.7, 0.6, parameter.shape).astype(parameter.dtype)
    return layer, CASES[name].draw


def check(name, train):
    layer, draw = made(name)
    layer.train(train)
    reads = train and name.startswith(("BatchRenorm", "PowerNorm"))  # running statistics, which have to be finite
    fast = check_replays(layer.__call__, draw, layer, TAME if reads else KINDS)
    if train and name.startswith(PACKED):
        assert "as many rows" in fast.why
    else:
        assert (len(fast.plans), fast.why) == (1, "")


def test_every_norm_and_layer_has_a_case():
    assert {name.split()[0] for name in CASES} >= {*NORMS, *catalog.LAYERS}
    assert {*norm_layers()} == {*NORMS}


@pytest.mark.parametrize("how", IMPLEMENTATIONS)
@pytest.mark.parametrize("train", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", CASES)
def test_a_replay_gives_the_bits_of_an_eager_call(name, train, how, monkeypatch):
    with implementation(how, monkeypatch):
        check(name, train)


@pytest.mark.parametrize("name", [name for name in CASES if "orm" in name and "PowerNorm" not in name])
def test_so_it_does_of_primitives(name):
    with composed():
        check(name, True)


def test_a_composed_power_norm_decides_on_its_count():
    layer, draw = made("PowerNorm after its warm-up")
    with composed():
        fast = check_replays(layer.__call__, draw, layer, TAME)
    assert "whether PowerNorm's warm-up is over reads elements" in fast.why


SWITCHES = {
    "frozen": {"frozen": True},
    "running statistics move, and others normalize": {"use_batch_statistics": False},
    "running statistics stay": {"update_running_statistics": False},
}


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
@pytest.mark.parametrize("name", ["BatchNorm2D, an average", "InstanceNorm2D, an average", "BatchRenorm2D on its ramp"])
def test_switches_of_running_statistics(name, switches):
    layer, draw = made(name)
    vars(layer).update(switches)
    fast = check_replays(layer.__call__, draw, layer, TAME)
    assert fast.why == ""


@pytest.mark.parametrize(
    "name", ["BatchNorm1D, an average", "BatchRenorm1D, by a function", "PowerNorm after its warm-up"]
)
def test_a_layer_that_is_called_twice_counts_twice(name):
    layer, draw = made(name)
    fast = check_replays(lambda x: layer(layer(x) + x), draw, layer, TAME)
    assert fast.why == ""


def test_infinite_running_statistics_are_refused_by_a_replay():
    layer = nn.BatchNorm1D(2).eval()
    fast, x = capture(layer), Tensor(np.ones(ROWS, np.float32))
    with no_grad():
        for _ in range(5):
            fast(x)
        assert fast.why == ""
        layer.running_var.raw = np.array([1, np.inf], np.float32)
        with pytest.raises(ValueError, match="running_var is infinite in 1 of 2 channels"):
            fast(x)


def test_an_infinite_mean_square_is_refused_by_a_replay_once_it_is_read():
    layer = nn.PowerNorm(2, warmup=6, momentum=0.0)
    fast, x = capture(layer), Tensor(np.ones(ROWS, np.float32))
    layer.running_square.raw = np.array([1, np.inf], np.float32)
    with no_grad():
        for _ in range(6):
            fast(x)
        assert fast.why == ""
        with pytest.raises(ValueError, match="PowerNorm: running_square is infinite in 1 of 2 channels"):
            fast(x)


def test_labels_that_are_none_are_refused_by_a_replay():
    layer, x = nn.FiLM(2, 4), Tensor(np.ones((3, 2), np.float32))
    fast = capture(layer)
    with no_grad():
        for number in range(5):
            labels = np.array([number % 4, 0, 3])
            np.testing.assert_array_equal(fast(x, labels).raw, layer(x, labels).raw)
        assert fast.why == ""
        with pytest.raises(ValueError, match="FiLM: labels are integers from 0 to 3, got 7"):
            fast(x, np.array([0, 7, 1]))


PARAMETRIZED = {
    "weight_norm": nn.parametrizations.weight_norm,
    "weight_norm of all": lambda layer: nn.parametrizations.weight_norm(layer, dim=None),
    "spectral_norm": nn.parametrizations.spectral_norm,
    "spectral_norm of two iterations": lambda layer: nn.parametrizations.spectral_norm(layer, n_power_iterations=2),
    "weight_standardization": nn.parametrizations.weight_standardization,
    "scaled standardization": lambda layer: nn.parametrizations.weight_standardization(layer, scaled=True),
    "cayley": lambda layer: nn.parametrizations.orthogonal(layer, orthogonal_map="cayley"),
    "householder": lambda layer: nn.parametrizations.orthogonal(layer, orthogonal_map="householder"),
    "householder alone": lambda layer: nn.parametrizations.orthogonal(
        layer, orthogonal_map="householder", use_trivialization=False
    ),
}


@pytest.mark.parametrize("train", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("parametrize", PARAMETRIZED.values(), ids=PARAMETRIZED)
def test_parametrized_weights(parametrize, train):
    random.manual_seed(2)
    layer = parametrize(nn.Linear(4, 3)).train(train)
    fast = check_replays(layer.__call__, drawn("x"), layer)
    assert fast.why == ""


def test_a_matrix_exponential_decides_on_its_size():
    random.manual_seed(2)
    layer = nn.parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map="matrix_exp")
    fast = check_replays(layer.__call__, drawn("x"), layer)
    assert "the exponential, which takes as many steps as a matrix is large, reads elements" in fast.why
