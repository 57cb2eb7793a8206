from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, ops
from tinygrad_norm.nn.op_module import OpModule


def scaled_sum(x, y, scale=1.0, offset=None):
    return x + y * scale + (0 if offset is None else offset)


class ScaledSum(OpModule, op=scaled_sum):
    scale: float = 1.0
    offset: Any = None


class Louder(ScaledSum):
    """No op of its own."""


def test_inputs_and_arguments_reach_the_op():
    module = ScaledSum(3.0, offset=Tensor([100.0]))
    assert module(Tensor([1.0]), Tensor([2.0])).numpy().tolist() == [107]


def test_an_argument_changed_later_counts():
    module = ScaledSum(3.0)
    module.scale = 5.0
    assert module(1, 2) == 11


def test_a_tensor_is_a_buffer_and_follows_the_module():
    module = ScaledSum(offset=Tensor([1.0]))
    assert list(module.state_dict()) == ["offset"]
    assert module.astype(np.float64).offset.dtype == np.float64
    assert list(ScaledSum().state_dict()) == []


def test_a_subclass_keeps_the_op():
    assert Louder(2.0)(1, 1) == 3


def test_repr_shows_what_is_no_tensor():
    assert repr(ScaledSum(2.0, Tensor([1.0]))) == "ScaledSum(scale=2.0)"
    assert repr(nn.Sigmoid()) == "Sigmoid()"


@pytest.mark.parametrize("layer", [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Hardswish, nn.Mish, nn.Dropout])
def test_layers_take_inplace_and_refuse_to_do_it(layer):
    assert repr(layer(inplace=False)) == repr(layer())
    with pytest.raises(ValueError, match=f"^{layer.__name__}: a tensor on the tape is not written in place"):
        layer(inplace=True)


def test_a_class_with_its_own_constructor_gives_its_annotated_attributes_too():
    class Softmax(OpModule, op=ops.softmax):
        axis: int = -1

        def __init__(self, axis):
            super().__init__()
            self.axis = axis

    x = np.zeros((2, 4), np.float32)
    assert Softmax(0)(x).raw.tolist() == [[0.5] * 4] * 2
    assert repr(Softmax(0)) == "Softmax(axis=0)"


def test_a_docstring_says_which_op_tells_of_arguments():
    assert "\n\nShapes and arguments are those of `ops.max_pool2d`.\n\nRaises:" in nn.MaxPool2D.__doc__
    assert "Shapes and arguments" not in nn.CrossEntropyLoss.__doc__  # which tells of them itself
    assert ScaledSum.__doc__ is None or "ops." not in ScaledSum.__doc__  # whose op is none of ours
