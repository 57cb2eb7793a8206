from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.nn.checks import input_shape


def test_tensors_and_arrays_have_a_shape_and_lists_have_none():
    assert input_shape(nn.Linear(1, 1), Tensor([[1.0, 2.0]])) == input_shape(nn.Linear(1, 1), np.ones((1, 2))) == (1, 2)
    with pytest.raises(TypeError, match=r"^Linear: the input is a Tensor or a NumPy array, got list$"):
        input_shape(nn.Linear(1, 1), [[1.0]])
    words = r"^Linear: the input is a Tensor or a NumPy array, got the class ndarray; did you mean ndarray\(\.\.\.\)\?$"
    with pytest.raises(TypeError, match=words):
        input_shape(nn.Linear(1, 1), np.ndarray)


@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.BatchNorm1D(3), nn.LayerNorm(3)])
def test_layers_say_that_a_list_is_no_input(layer):
    with pytest.raises(TypeError, match=f"^{type(layer).__name__}: the input is a Tensor or a NumPy array"):
        layer([[1.0, 2.0, 3.0]])
