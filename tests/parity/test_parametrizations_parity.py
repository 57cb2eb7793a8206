"""Parametrized layers beside the installed PyTorch: keys, values, gradients and buffers over three steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrizations as theirs
from torch.nn.utils import parametrize

from tinygrad_norm import Tensor, nn
from tinygrad_norm.nn import parametrizations as ours

LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), lambda: torch.nn.Linear(5, 4), (3, 5)),
    "convolution": (lambda: nn.Conv2D(4, 6, (3, 2)), lambda: torch.nn.Conv2d(4, 6, (3, 2)), (2, 4, 5, 5)),
    "grouped": (lambda: nn.Conv2D(4, 6, 3, groups=2), lambda: torch.nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
    "depthwise": (lambda: nn.Conv2D(4, 4, 3, groups=4), lambda: torch.nn.Conv2d(4, 4, 3, groups=4), (2, 4, 5, 5)),
    "norm": (lambda: nn.BatchNorm2D(4), lambda: torch.nn.BatchNorm2d(4), (2, 4, 5, 5)),
}
CALLS = [
    *[("weight_norm", {"dim": dim}) for dim in (0, 1, None, -1)],
    *[("spectral_norm", options) for options in ({}, {"n_power_iterations": 3}, {"dim": 1}, {"eps": 1e-3})],
]

ORTHOGONAL = [
    ("orthogonal", {"orthogonal_map": name, "use_trivialization": trivialized})
    for name in (None, "matrix_exp", "cayley", "householder")
    for trivialized in (True, False)
]
CASES = [(name, *call) for name in LAYERS for call in CALLS if name != "norm" or call[1].get("dim") != 1]
CASES += [(name, *call) for name in LAYERS for call in ORTHOGONAL if name != "norm"]


def parametrized(name, call, options):
    """The same layer here and there, with PyTorch's state."""
    make, make_theirs, _ = LAYERS[name]
    torch.manual_seed(0)
    layer, other = make().astype("float64"), make_theirs().double()
    getattr(ours, call)(layer, **options)
    getattr(theirs, call)(other, **options)
    state = {key: tensor.numpy() for key, tensor in other.state_dict().items()}
    assert {key: array.shape for key, array in layer.state_dict().items()} == {k: a.shape for k, a in state.items()}
    layer.load_state_dict(state)
    return layer, other


@pytest.mark.parametrize(("name", "call", "options"), CASES)
def test_three_steps(name, call, options, rng):
    layer, other = parametrized(name, call, options)
    for step in range(4):
        x = rng.normal(size=LAYERS[name][2])
        if step == 3:
            layer.eval()
            other.eval()
        y, expected = layer(Tensor(x)), other(torch.tensor(x))
        np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=0, atol=1e-12)
        layer.zero_grad()
        other.zero_grad()
        cotangent = rng.normal(size=y.shape)
        (y * cotangent).sum().backward()
        (expected * torch.tensor(cotangent)).sum().backward()
        with torch.no_grad():
            for (key, parameter), (_, right) in zip(
                sorted(layer.named_parameters()), sorted(other.named_parameters()), strict=True
            ):
                np.testing.assert_allclose(parameter.grad.numpy(), right.grad.numpy(), atol=1e-11, err_msg=key)
                parameter.raw -= 0.1 * parameter.grad.raw
                right -= 0.1 * right.grad
        for key, tensor in other.state_dict().items():
            np.testing.assert_allclose(layer.state_dict()[key], tensor.numpy(), atol=1e-11, err_msg=key)


@pytest.mark.parametrize(
    ("name", "call"),
    [("convolution", "weight_norm"), ("convolution", "spectral_norm"), ("grouped", "orthogonal")],  # of square matrices
)
def test_assignment_and_removal(name, call, rng):
    layer, other = parametrized(name, call, {})
    wanted = rng.normal(size=layer.parametrizations.weight.shape)  # to look at the weight would be a power iteration
    layer.weight, other.weight = Tensor(wanted), torch.tensor(wanted)
    for key, tensor in other.eval().state_dict().items():
        np.testing.assert_allclose(layer.eval().state_dict()[key], tensor.numpy(), atol=1e-12, err_msg=key)
    nn.parametrize.remove_parametrizations(layer, "weight")
    parametrize.remove_parametrizations(other, "weight")
    np.testing.assert_allclose(layer.weight.numpy(), other.weight.detach().numpy(), atol=1e-12)
    assert list(layer.state_dict()) == list(other.state_dict())


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_state_that_older_pytorch_wrote(rng):
    other = torch.nn.utils.weight_norm(torch.nn.Conv2d(3, 4, 3))
    layer = ours.weight_norm(nn.Conv2D(3, 4, 3))
    layer.load_state_dict({key: tensor.numpy() for key, tensor in other.state_dict().items()})
    x = rng.normal(size=(2, 3, 5, 5)).astype("float32")
    np.testing.assert_allclose(layer(x).numpy(), other(torch.tensor(x)).detach().numpy(), atol=1e-5)
