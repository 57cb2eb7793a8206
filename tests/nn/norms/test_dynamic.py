"""DyT and Derf, beside their formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.nn.norms.layers import IMAGES, along, close, stirred
from tinygrad_norm import nn

pytestmark = pytest.mark.usefixtures("plain_numpy")


@pytest.mark.parametrize("training", [True, False])
def test_each_value_is_bounded_by_itself(training, rng):
    x = rng.normal(size=IMAGES)
    tanh, erf = (stirred(each(4, dtype="float64"), rng).train(training) for each in (nn.DynamicTanh, nn.DynamicErf))
    a = tanh.alpha.item()
    expected = (np.exp(2 * a * x) - 1) / (np.exp(2 * a * x) + 1)
    close(tanh(x), along(tanh.weight) * expected + along(tanh.bias))
    expected = np.vectorize(math.erf)(erf.alpha.item() * x + erf.shift.item())
    close(erf(x), along(erf.weight) * expected + along(erf.bias))


def test_what_they_begin_with(rng):
    x = rng.normal(size=(3, 4))
    close(nn.DynamicTanh(4, alpha=0.8, affine=False, dtype="float64")(x), np.tanh(0.8 * x))
    close(nn.DynamicErf(4, dtype="float64")(x), np.vectorize(math.erf)(0.5 * x))
    layer: Any = nn.DynamicErf(4, 0.8, bias=False)
    assert repr(layer) == "DynamicErf(4, alpha=0.8, affine=True, bias=False)"
    assert {name: array.shape for name, array in layer.state_dict().items()} == {
        "weight": (4,),
        "alpha": (),
        "shift": (),
    }
    layer.alpha.raw = np.float32(3)
    layer.reset_parameters()
    assert layer.alpha.item() == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("alpha", "error"),
    [
        (0, ValueError),
        (0.0, ValueError),
        (np.nan, ValueError),
        (np.inf, ValueError),
        (10**400, ValueError),
        ("a", TypeError),
        (True, TypeError),
    ],
)
def test_alpha_is_a_number_other_than_0(alpha, error):
    with pytest.raises(error, match=r"^DynamicErf: alpha is a finite number other than 0, got"):
        nn.DynamicErf(4, alpha=alpha)


def test_numbers_that_were_saved_as_vectors_of_one_are_taken():
    state = {"alpha": np.array([0.3], np.float32), "weight": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    layer = nn.DynamicTanh(4)
    layer.load_state_dict(state)
    np.testing.assert_allclose(layer.state_dict()["alpha"], 0.3, rtol=1e-6)
