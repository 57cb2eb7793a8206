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
    with pytest.raises(ValueError, match=r"p should be in \[0, 1\]"):
        nn.Dropout(p)


def test_repr():
    assert repr(nn.Dropout(0.3)) == "Dropout(p=0.3)"
