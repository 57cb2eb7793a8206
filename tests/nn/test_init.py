from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, random
from tinygrad_norm.nn import init

SHAPE = (40, 30, 5, 7)
FAN_IN, FAN_OUT = 30 * 35, 40 * 35


def empty(*shape, dtype=np.float64):
    return Tensor(np.full(shape or SHAPE, np.nan, dtype))


RANDOM = [
    init.uniform_,
    init.normal_,
    init.trunc_normal_,
    init.xavier_uniform_,
    init.xavier_normal_,
    init.kaiming_uniform_,
    init.kaiming_normal_,
    init.orthogonal_,
]


@pytest.mark.parametrize("fill", RANDOM)
def test_draws_come_from_the_global_generator_or_the_one_given(fill):
    first = fill(empty(5, 3)).numpy().copy()
    assert not np.array_equal(fill(empty(5, 3)).numpy(), first)
    random.manual_seed(0)
    np.testing.assert_array_equal(fill(empty(5, 3)).numpy(), first)
    state = random.state_dict()
    np.testing.assert_array_equal(fill(empty(5, 3), generator=np.random.default_rng(0)).numpy(), first)
    assert random.state_dict() == state


@pytest.mark.parametrize("fill", [*RANDOM, init.zeros_, init.ones_, lambda tensor: init.constant_(tensor, 3)])
def test_filling_is_in_place_returns_the_tensor_and_keeps_the_dtype(fill):
    tensor = empty(4, 6, dtype=np.float32)
    array = tensor.raw
    assert fill(tensor) is tensor
    assert tensor.raw is array
    assert array.dtype == np.float32
    assert np.isfinite(array).all()


@pytest.mark.parametrize("fill", [*RANDOM, init.zeros_])
def test_only_floating_tensors_are_filled(fill):
    with pytest.raises(TypeError, match="one of floating type"):
        fill(Tensor(np.zeros((3, 3), int)))


def test_an_array_is_no_tensor():
    array: Any = np.zeros(3)
    with pytest.raises(TypeError, match="one of floating type"):
        init.zeros_(array)


def test_a_backward_through_old_weights_is_refused():
    weight = nn.Parameter([2.0])
    y = weight * weight
    init.zeros_(weight)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_constants():
    assert init.constant_(empty(2), 0.25).numpy().tolist() == [0.25, 0.25]
    assert init.zeros_(empty(2)).numpy().tolist() == [0, 0]
    assert init.ones_(empty(2)).numpy().tolist() == [1, 1]


def test_uniform():
    values = init.uniform_(empty(), -1, 3).numpy()
    assert values.min() == pytest.approx(-1, abs=0.01)
    assert values.max() == pytest.approx(3, abs=0.01)
    assert values.mean() == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="a is at most b, got a=2, b=1"):
        init.uniform_(empty(), 2, 1)


def test_normal():
    values = init.normal_(empty(), 2, 0.5).numpy()
    assert values.mean() == pytest.approx(2, abs=0.02)
    assert values.std() == pytest.approx(0.5, rel=0.02)
    with pytest.raises(ValueError, match="std is a finite number of at least 0, got -1"):
        init.normal_(empty(), std=-1)


def test_truncated_normal_stays_inside_and_has_the_moments_of_the_formula():
    mean, std, a, b = 0.5, 2.0, -1.0, 4.0
    values = init.trunc_normal_(empty(), mean, std, a, b).numpy()
    assert a <= values.min() < a + 0.01
    assert b - 0.01 < values.max() <= b
    alpha, beta = (a - mean) / std, (b - mean) / std
    density = [math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) for x in (alpha, beta)]
    mass = (math.erf(beta / math.sqrt(2)) - math.erf(alpha / math.sqrt(2))) / 2
    shift = (density[0] - density[1]) / mass
    assert values.mean() == pytest.approx(mean + std * shift, abs=0.03)
    variance = std**2 * (1 + (alpha * density[0] - beta * density[1]) / mass - shift**2)
    assert values.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("interval", [(5, 6), (2, 1), (0, 1e-3), (float("nan"), 1)])
def test_truncated_normal_refuses_an_interval_with_next_to_nothing_in_it(interval):
    with pytest.raises(ValueError, match="at least 1 % of the normal distribution"):
        init.trunc_normal_(empty(), 0, 1, *interval)


def test_truncated_normal_needs_some_width():
    with pytest.raises(ValueError, match="std is a finite number above 0, got 0"):
        init.trunc_normal_(empty(), std=0)


GAIN = math.sqrt(2 / (1 + 0.3**2))


@pytest.mark.parametrize(
    ("fill", "arguments", "std"),
    [
        (init.xavier_uniform_, {}, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.xavier_normal_, {"gain": 3}, 3 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.kaiming_uniform_, {}, math.sqrt(2 / FAN_IN)),
        (init.kaiming_uniform_, {"a": 0.3, "mode": "fan_out"}, GAIN / math.sqrt(FAN_OUT)),
        (init.kaiming_normal_, {"a": 0.3}, GAIN / math.sqrt(FAN_IN)),
        (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "tanh"}, 5 / 3 / math.sqrt(FAN_OUT)),
    ],
)
def test_variances_by_fan_and_gain(fill, arguments, std):
    values = fill(empty(), **arguments).numpy()
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(values.mean()) < std / 50
    if "uniform" in fill.__name__:
        assert np.abs(values).max() == pytest.approx(std * math.sqrt(3), rel=1e-3)
    else:
        assert np.abs(values).max() > 3 * std


@pytest.mark.parametrize("fill", RANDOM[3:])
@pytest.mark.parametrize("shape", [(), (3,), (0, 3)])
def test_a_fan_needs_two_axes_that_are_not_empty(fill, shape):
    with pytest.raises(ValueError, match=r"shape is \(out, in, ...\)"):
        fill(Tensor(np.zeros(shape)))


def test_a_wrong_mode_is_answered():
    mode: Any = "fanin"
    with pytest.raises(ValueError, match=r"got 'fanin'; did you mean fan_in\?"):
        init.kaiming_normal_(empty(), mode=mode)


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 2, 4)])
def test_orthogonal(shape):
    matrix = init.orthogonal_(empty(*shape), gain=2).numpy().reshape(shape[0], -1)
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(min(rows, columns)), atol=1e-12)


def test_orthogonal_matrices_are_not_biased_to_a_sign():
    diagonal = [np.diagonal(init.orthogonal_(empty(3, 3)).numpy()) for _ in range(300)]
    assert np.abs(np.mean(diagonal, axis=0)).max() < 0.15


def test_gains():
    assert init.calculate_gain("linear") == init.calculate_gain("conv2d") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 0.01**2))
    assert init.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / (1 + 0.2**2))
    assert init.calculate_gain("relu", 0.2) == math.sqrt(2)
    with pytest.raises(ValueError, match=r"got 'leakyrelu'; did you mean leaky_relu\?"):
        init.calculate_gain("leakyrelu")


@pytest.mark.parametrize(
    ("fill", "defaults"),
    [
        (init.uniform_, {"a": 0, "b": 1}),
        (init.normal_, {"mean": 0, "std": 1}),
        (init.trunc_normal_, {"mean": 0, "std": 1, "a": -2, "b": 2}),
        (init.xavier_uniform_, {"gain": 1}),
        (init.xavier_normal_, {"gain": 1}),
        (init.kaiming_uniform_, {"a": 0, "mode": "fan_in", "nonlinearity": "leaky_relu"}),
        (init.kaiming_normal_, {"a": 0, "mode": "fan_in", "nonlinearity": "leaky_relu"}),
        (init.orthogonal_, {"gain": 1}),
    ],
)
def test_what_is_not_said_is_as_in_pytorch(fill, defaults):
    silent = fill(empty(5, 3), generator=np.random.default_rng(1)).numpy()
    np.testing.assert_array_equal(silent, fill(empty(5, 3), **defaults, generator=np.random.default_rng(1)).numpy())


def test_a_spread_of_nothing_is_one_value():
    assert init.uniform_(empty(2), 3, 3).numpy().tolist() == [3, 3]
    assert init.normal_(empty(2), 3, 0).numpy().tolist() == [3, 3]


@pytest.mark.parametrize("fill", [init.xavier_uniform_, init.xavier_normal_, init.orthogonal_])
def test_the_gain_is_a_factor(fill):
    one, three = (fill(empty(6, 4), gain=gain, generator=np.random.default_rng(1)).numpy() for gain in (1, 3))
    np.testing.assert_allclose(three, 3 * one, rtol=1e-12)


def test_truncated_normal_draws_the_line_at_a_hundredth():
    distribution = NormalDist(0.7, 2.5)
    for start in (0.05, 0.4, 0.93):
        a, enough, less = (distribution.inv_cdf(start + mass) for mass in (0, 0.0101, 0.0099))
        values = init.trunc_normal_(empty(3), 0.7, 2.5, a, enough).numpy()
        assert ((a <= values) & (values <= enough)).all()
        with pytest.raises(ValueError, match="at least 1 %"):
            init.trunc_normal_(empty(3), 0.7, 2.5, a, less)


def test_gains_of_every_layer_and_of_selu():
    layers = [f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)]
    assert [init.calculate_gain(layer) for layer in layers] == [1] * 6
    assert init.calculate_gain("selu") == 0.75
