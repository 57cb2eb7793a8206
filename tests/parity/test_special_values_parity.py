"""NaN, infinity and what is far out, beside the installed PyTorch; where we differ, it is said why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it

from tinygrad_norm import Tensor, grad, nn, ops

INF, NAN = np.inf, np.nan
VALUES = [0.0, 1.0, -2.5, 1e-30, -1e-30, 1e30, -1e30, 1e200, -1e200, INF, -INF, NAN]

# The op's name, ours and PyTorch's, and where they differ: the value or the slope at a number, as ours, and why.
UNARY: dict[str, tuple[Any, Any, dict[tuple[str, float], float]]] = {
    name: (getattr(ops, name), getattr(torch, name), {})
    for name in (
        *("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "sin", "cos", "tanh", "sigmoid", "erf"),
        *("negative", "floor", "ceil", "round", "isnan", "isfinite", "relu"),
    )
}
LIMITS = {("value", -INF): 0.0, ("slope", INF): 1.0, ("slope", -INF): 0.0}
"""Ours, where PyTorch multiplies 0 and infinity."""
UNARY |= {
    "abs": (ops.abs, torch.abs, {("slope", NAN): NAN}),  # a NaN is not hidden
    "sign": (ops.sign, torch.sign, {("value", NAN): NAN}),  # the same
    "clip": (lambda x: ops.clip(x, -1, 2), lambda x: x.clamp(-1, 2), {("slope", NAN): 1.0}),  # it goes through
    "softmax": (lambda x: ops.softmax(x, 0), lambda x: torch.softmax(x, 0), {}),
    "log_softmax": (lambda x: ops.log_softmax(x, 0), lambda x: torch.log_softmax(x, 0), {}),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.1), lambda x: F.leaky_relu(x, 0.1), {}),
    "elu": (ops.elu, F.elu, {("slope", NAN): NAN}),  # a NaN is not hidden
    "silu": (ops.silu, F.silu, LIMITS),
    "mish": (ops.mish, F.mish, LIMITS),
    "gelu": (ops.gelu, F.gelu, LIMITS),
    "gelu, tanh": (
        lambda x: ops.gelu(x, "tanh"),
        lambda x: F.gelu(x, approximate="tanh"),
        LIMITS | {("slope", 1e200): 1.0, ("slope", -1e200): 0.0},
    ),
    "softplus": (ops.softplus, F.softplus, {}),
    "hardswish": (ops.hardswish, F.hardswish, {("value", -INF): 0.0, ("slope", NAN): NAN}),  # a limit; NaN
}


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name):
    ours, theirs, differences = UNARY[name]
    for value in VALUES:
        x, y = Tensor(np.array([value]), requires_grad=True), torch.tensor([value], dtype=torch.float64)
        found, expected = ours(x), theirs(y.requires_grad_())
        sides = {"value": (found.numpy(), expected.detach().numpy())}
        if expected.requires_grad:
            (slope,) = torch.autograd.grad(expected.sum(), [y])
            sides["slope"] = grad(found.sum(), [x])[0].numpy(), slope.numpy()
        for what, (one, other) in sides.items():
            known = [v for (kind, place), v in differences.items() if kind == what and str(place) == str(value)]
            wanted = np.array(known) if known else other
            assert not known or not np.array_equal(one, other, equal_nan=True), f"{what} at {value} differs no more"
            np.testing.assert_allclose(one, wanted, rtol=1e-6, atol=1e-8, err_msg=f"{what} at {value}")


ROWS = [
    [0.0, 1.0, 2.0],
    [-INF, 1.0, 2.0],
    [-INF, -INF, -INF],
    [INF, 1.0, 2.0],
    [INF, INF, 1.0],
    [NAN, 1.0, 2.0],
    [1e200, 1e200, 0.0],
    [-1e200, 1.0, 2.0],
]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"weight": [1.0, 2.0, 0.5]},
        {"label_smoothing": 0.2},
        {"label_smoothing": 0.2, "weight": [1.0, 2.0, 0.5]},
        {"ignore_index": 0},
    ],
)
@pytest.mark.parametrize("label", [1, 2])
def test_cross_entropy(row, how, label):
    x, y = Tensor(np.array([row]), requires_grad=True), torch.tensor([row], dtype=torch.float64, requires_grad=True)
    theirs = {key: torch.tensor(v, dtype=torch.float64) if key == "weight" else v for key, v in how.items()}
    found, expected = ops.cross_entropy(x, [label], **how), F.cross_entropy(y, torch.tensor([label]), **theirs)
    np.testing.assert_allclose(found.item(), expected.item(), rtol=1e-10)
    (slope,) = torch.autograd.grad(expected, [y])
    np.testing.assert_allclose(grad(found, [x])[0].numpy(), slope.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("row", ROWS[:3])
def test_a_class_of_weight_0_and_logit_minus_infinity_does_not_count_for_us(row):
    """For PyTorch its share of the smoothing does, as 0 times infinity."""
    x, weight = [[-INF, *row[1:]]], [0.0, 2.0, 1.0]
    theirs = F.cross_entropy(torch.tensor(x), torch.tensor([1]), torch.tensor(weight), label_smoothing=0.2)
    assert torch.isnan(theirs)
    found = ops.cross_entropy(x, [1], weight, label_smoothing=0.2).item()
    assert np.isfinite(found) == bool(np.isfinite(row[1:]).all())


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (lambda: nn.BatchNorm1D(3), lambda: torch.nn.BatchNorm1d(3), (0, 3)),
        (lambda: nn.BatchNorm1D(3), lambda: torch.nn.BatchNorm1d(3), (2, 3, 0)),
        (lambda: nn.BatchNorm2D(3), lambda: torch.nn.BatchNorm2d(3), (0, 3, 2, 2)),
        (lambda: nn.LayerNorm(3), lambda: torch.nn.LayerNorm(3), (0, 3)),
        (lambda: nn.GroupNorm(1, 3), lambda: torch.nn.GroupNorm(1, 3), (0, 3, 2)),
        (lambda: nn.InstanceNorm1D(3), lambda: torch.nn.InstanceNorm1d(3), (0, 3, 4)),
        (lambda: nn.RMSNorm(3), lambda: torch.nn.RMSNorm(3), (0, 3)),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch(ours, theirs, shape, training):
    one, other = ours().train(training), theirs().train(training)
    x, y = Tensor(np.ones(shape, np.float32), requires_grad=True), torch.ones(shape, requires_grad=True)
    found, expected = one(x), other(y)
    assert found.shape == tuple(expected.shape)
    found.sum().backward()
    expected.sum().backward()
    for parameter, reference in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(parameter.grad.numpy(), reference.grad.numpy())
    for name, buffer in one.named_buffers():
        np.testing.assert_array_equal(buffer.numpy(), dict(other.named_buffers())[name].numpy())
