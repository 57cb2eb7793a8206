"""Convolution beside PyTorch's: values, gradients, initialization, words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, nn, ops


@st.composite
def convolutions(draw):
    """Shapes of x and of the weight, and arguments that fit them, in any of their forms."""
    groups, depth, out_depth = [draw(st.integers(1, 3)) for _ in range(3)]
    kernel, stride, dilation, padding, spare = [draw(st.tuples(*[st.integers(low, 4)] * 2)) for low in (1, 1, 1, 0, 0)]
    how = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    if draw(st.booleans()):
        word = draw(st.sampled_from(["same", "valid"]))
        how |= {"padding": word} | ({"stride": 1} if word == "same" else {})
        padding = (0, 0)
    size = [max(1, d * (k - 1) + 1 - 2 * p) + n for k, d, p, n in zip(kernel, dilation, padding, spare, strict=True)]
    images = draw(st.sampled_from([(), (1,), (3,)]))
    return (*images, groups * depth, *size), (groups * out_depth, depth, *kernel), how


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(convolutions(), st.sampled_from([(np.float32, 1e-5), (np.float64, 1e-12)]), st.booleans())
def test_values_and_gradients(case, dtype, bias):
    (shape, weight, how), rng = case, np.random.default_rng(0)
    shapes = (shape, weight, weight[:1]) if bias else (shape, weight)
    arrays = [rng.normal(size=size).astype(dtype[0]) for size in shapes]
    ours = [Tensor(array, requires_grad=True) for array in arrays]
    theirs = [torch.tensor(array, requires_grad=True) for array in arrays]
    y, expected = ops.conv2d(*ours, **how), torch.nn.functional.conv2d(*theirs, **how)
    assert y.shape == tuple(expected.shape)
    dy = rng.normal(size=y.shape).astype(dtype[0])
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    pairs = [(y.numpy(), expected.detach().numpy())]
    pairs += [(one.grad.numpy(), other.grad.numpy()) for one, other in zip(ours, theirs, strict=True)]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=0, atol=dtype[1] * max(1, np.abs(other).max()))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [2, (1, 2), "same"])
def test_the_layer(mode, padding, rng):
    arguments = {"padding": padding, "dilation": (1, 2), "groups": 2, "padding_mode": mode}
    ours, theirs = nn.Conv2D(4, 6, (2, 3), **arguments), torch.nn.Conv2d(4, 6, (2, 3), **arguments)
    theirs.load_state_dict({key: torch.tensor(array) for key, array in ours.state_dict().items()})
    x = rng.normal(size=(2, 4, 6, 7)).astype(np.float32)
    expected = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(x).numpy(), expected, rtol=1e-5, atol=1e-5)
    assert repr(ours).replace("D(", "d(") == repr(theirs)


def test_weights_start_with_the_same_spread():
    ours, theirs = nn.Conv2D(16, 400, 3, groups=2), torch.nn.Conv2d(16, 400, 3, groups=2)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        one, other = one.numpy(), other.detach().numpy()
        assert one.shape == other.shape
        assert one.std() == pytest.approx(other.std(), rel=0.1)
        assert np.abs(one).max() == pytest.approx(np.abs(other).max(), rel=0.02)
