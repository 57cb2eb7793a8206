from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, random


def test_training_zeroes_a_share_and_scales_the_rest():
    y = nn.Dropout(0.25)(Tensor(np.full((100, 100), 3.0))).numpy()
    assert set(np.unique(y)) == {0.0, 4.0}
    assert np.mean(y == 0) == pytest.approx(0.25, abs=0.02)


def test_the_gradient_goes_where_the_value_went(rng):
    x, cotangent = Tensor(np.ones((7, 5)), requires_grad=True), rng.normal(size=(7, 5))
    y = nn.Dropout(0.5)(x)
    y.backward(cotangent)
    assert 0 < np.count_nonzero(y.numpy()) < 35
    np.testing.assert_allclose(x.grad.numpy(), y.numpy() * cotangent, rtol=1e-12)


def test_inference_changes_nothing_and_draws_nothing():
    state, x = random.state_dict(), Tensor([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(nn.Dropout(0.9).eval()(x).numpy(), x.numpy())
    assert random.state_dict() == state


def test_the_global_generator_decides():
    x, layer = Tensor(np.ones(50)), nn.Dropout()
    random.manual_seed(3)
    first = layer(x).numpy()
    assert not np.array_equal(layer(x).numpy(), first)
    random.manual_seed(3)
    np.testing.assert_array_equal(layer(x).numpy(), first)


def test_the_ends_of_the_range():
    x = Tensor([1.0, 2.0])
    assert nn.Dropout(1.0)(x).numpy().tolist() == [0, 0]
    assert nn.Dropout(0.0)(x).numpy().tolist() == [1, 2]


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_is_a_probability(p):
    with pytest.raises(ValueError, match="Dropout: p is a number from 0 to 1"):
        nn.Dropout(p)


def test_repr():
    assert repr(nn.Dropout(0.3)) == "Dropout(p=0.3)"


BRANCHES = {  # id: the layer with a probability, and what is decided together in an input of shape (60, 50, 2, 3)
    "channels": (nn.Dropout2D, (60, 50, 1, 1)),
    "rows": (nn.StochasticDepth, (60, 1, 1, 1)),
    "the batch": (lambda p: nn.StochasticDepth(p, "batch"), (1, 1, 1, 1)),
}
branches = pytest.mark.parametrize(("make", "shape"), BRANCHES.values(), ids=BRANCHES)


@branches
def test_channels_and_branches_go_together(make, shape):
    x, layer = Tensor(np.ones((60, 50, 2, 3))), make(0.25)
    y = layer(x).numpy()
    np.testing.assert_array_equal(y, np.broadcast_to(y[tuple(slice(n) for n in shape)], y.shape))
    assert {round(value, 6) for value in np.unique(y)} <= {0.0, round(4 / 3, 6)}
    dropped = [(layer(x).numpy()[0, 0, 0, 0] == 0) for _ in range(400)]
    assert np.mean(dropped) == pytest.approx(0.25, abs=0.08)


@branches
def test_inference_leaves_branches_alone(make, shape):
    state, x = random.state_dict(), Tensor(np.ones(shape))
    assert make(0.9).eval()(x) is x
    assert random.state_dict() == state


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("layer", [nn.Dropout2D, nn.StochasticDepth])
def test_p_of_branches_is_a_probability(layer, p):
    with pytest.raises(ValueError, match=rf"{layer.__name__}: p is a number from 0 to 1, got {p}"):
        layer(p)


@pytest.mark.parametrize("p", ["0.5", None])
@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2D, nn.StochasticDepth])
def test_p_is_a_number(layer, p):
    with pytest.raises(TypeError, match=f"{layer.__name__}: p is a number from 0 to 1, got {p!r}"):
        layer(p)


def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="StochasticDepth: mode is 'row' or 'batch', got 'rows'"):
        nn.StochasticDepth(0.1, "rows")


def test_repr_of_branches():
    assert repr(nn.Dropout2D(0.3)) == "Dropout2D(p=0.3)"
    assert repr(nn.StochasticDepth(0.1)) == "StochasticDepth(p=0.1, mode='row')"
