from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import nn, ops


def test_it_calls_the_op_with_its_arguments(rng):
    x = rng.normal(size=(2, 5, 3, 3))
    layer = nn.LocalResponseNorm(3, 0.3, beta=0.5, k=2)
    np.testing.assert_array_equal(layer(x).raw, ops.local_response_norm(x, 3, 0.3, 0.5, 2).raw)
    assert repr(layer) == "LocalResponseNorm(size=3, alpha=0.3, beta=0.5, k=2)"
    assert not layer.state_dict()
    np.testing.assert_array_equal(nn.LocalResponseNorm(5)(x).raw, ops.local_response_norm(x, 5).raw)


def test_arguments_are_checked_when_it_is_made():
    with pytest.raises(ValueError, match="LocalResponseNorm: size is an integer of at least 1, got 0"):
        nn.LocalResponseNorm(0)
    with pytest.raises(TypeError, match="LocalResponseNorm: beta is a finite number, got 'x'"):
        nn.LocalResponseNorm(2, beta="x")
