from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.nn.checks import refuse_inplace, shape_of


def test_tensors_and_arrays_have_a_shape_and_lists_have_none():
    assert shape_of(nn.Linear(1, 1), Tensor([[1.0, 2.0]])) == shape_of(nn.Linear(1, 1), np.ones((1, 2))) == (1, 2)
    with pytest.raises(TypeError, match=r"^Linear: the input is a Tensor or a NumPy array, got list$"):
        shape_of(nn.Linear(1, 1), [[1.0]])


@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.BatchNorm1D(3), nn.LayerNorm(3)])
def test_layers_say_that_a_list_is_no_input(layer):
    with pytest.raises(TypeError, match=f"^{type(layer).__name__}: the input is a Tensor or a NumPy array"):
        layer([[1.0, 2.0, 3.0]])


@pytest.mark.parametrize("layer", [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Hardswish, nn.Mish, nn.Dropout])
def test_layers_take_inplace_and_refuse_to_do_it(layer):
    assert repr(layer(inplace=False)) == repr(layer())
    with pytest.raises(ValueError, match=f"^{layer.__name__}: a tensor on the tape is not written in place"):
        layer(inplace=True)


def test_refuse_inplace_leaves_false_alone():
    refuse_inplace(nn.Identity(), False)
    with pytest.raises(ValueError, match="Identity"):
        refuse_inplace(nn.Identity(), True)
