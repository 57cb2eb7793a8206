"""Ops beside the installed PyTorch: the golden cases on other numbers, with second gradients; dtypes; far out."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch

from tinygrad_norm import composed, ops

FOLDER = Path(__file__).parents[1] / "ops"
golden = run_path(str(FOLDER / "make_golden.py"))
cases, PYTORCH = golden["cases"], golden["PYTORCH"]
OURS = run_path(str(FOLDER / "conftest.py"))["OURS"]

every_case = pytest.mark.parametrize("name", list(cases["CASES"]))


def test_the_stored_cases_are_what_the_script_makes():
    with np.load(FOLDER / "golden" / "inputs.npz") as inputs, np.load(FOLDER / "golden" / "results.npz") as results:
        assert set(results) == set(cases["CASES"])
        for name in results:
            np.testing.assert_allclose(results[name], cases["run"](PYTORCH, name, dict(inputs)), rtol=1e-9, atol=1e-12)


@every_case
@pytest.mark.parametrize("seed", [1, 2])
def test_value_gradient_and_second_gradient(name, seed):
    inputs = cases["draw"](np.random.default_rng(seed))
    found, expected = (cases["run"](lib, name, inputs, order=2) for lib in (OURS, PYTORCH))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)  # PyTorch's softplus cuts off at 20


@pytest.mark.parametrize("name", ["exp", "sqrt", "sigmoid", "erf", "tanh", "sin", "log1p", "rsqrt", "expm1"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int64", "float32", "float64"])
def test_dtypes_of_functions(name, dtype):
    x = np.array([1, 1]).astype(dtype)
    found, expected = getattr(ops, name)(x).numpy(), getattr(torch, name)(torch.from_numpy(x)).numpy()
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("first", ["uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("second", ["uint8", "int32", "int64", "float32", "float64", int, float])
@pytest.mark.parametrize("name", ["add", "multiply", "divide", "maximum"])
def test_dtypes_of_arithmetic(name, first, second):
    x = np.array([1, 2]).astype(first)
    y = second(2) if isinstance(second, type) else np.array([2, 1]).astype(second)
    numbers = [torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in (x, y)]
    if name == "maximum":
        numbers = [torch.as_tensor(v) for v in numbers]
    assert getattr(ops, name)(x, y).dtype == getattr(torch, name)(*numbers).numpy().dtype


FAR = torch.tensor([-1e30, -1e4, -100, -20, 0, 20, 100, 1e4, 1e30])


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "silu", "softplus", "mish", "elu", "leaky_relu"])
def test_far_out(name):
    x = FAR.clone().requires_grad_()
    expected = getattr(PYTORCH, name)(x)
    (slope,) = torch.autograd.grad(expected.sum(), [x])
    ours = OURS.leaf(FAR.double().numpy())
    found = getattr(ops, name)(ours)
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-6, atol=1e-8)
    (ours_slope,) = OURS.grad(found.sum(), [ours])
    np.testing.assert_allclose(ours_slope.numpy(), slope.numpy(), rtol=1e-6, atol=1e-8)


def test_softmax_and_cross_entropy_of_large_logits():
    logits = np.array([[1e4, 1e4 + 1, 1e4 - 2], [-1e4, 0, 1e4]], np.float32)
    theirs, labels = torch.from_numpy(logits), np.array([0, 1])
    for axis in (0, 1):
        for name in ("softmax", "log_softmax"):
            expected = getattr(PYTORCH, name)(theirs, axis).numpy()
            np.testing.assert_allclose(getattr(ops, name)(logits, axis).numpy(), expected, rtol=1e-6)
    expected = PYTORCH.cross_entropy(theirs, torch.from_numpy(labels), reduction="none").numpy()
    with composed():
        np.testing.assert_allclose(ops.cross_entropy(logits, labels, reduction="none").numpy(), expected, rtol=1e-6)
