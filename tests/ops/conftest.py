"""What the tests of ops share: the golden cases of their family, and the list of what is public."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_norm import Tensor, composed, grad, kernels, ops

HERE = Path(__file__).parent
OURS = SimpleNamespace(
    **vars(ops)
    | {
        "tensor": Tensor,
        "leaf": lambda array: Tensor(array, requires_grad=array.dtype == np.float64),
        "numpy": lambda tensor: tensor.numpy(),
        "grad": grad,
    }
)

cases = run_path(str(HERE / "cases.py"))


def pytest_generate_tests(metafunc):
    """Give test_loss.py the cases named loss-..., and so on."""
    if "golden" in metafunc.fixturenames:
        family = metafunc.module.__name__.rpartition("test_")[2]
        metafunc.parametrize(
            "golden", [name for name in cases["CASES"] if name.startswith(f"{family}-")], indirect=True
        )
        metafunc.parametrize("way", ["kernel", "reference", "composed"], indirect=True)


@pytest.fixture
def way(request, monkeypatch):
    """How ops run: by the kernels of this machine, or by the definition, on arrays or on tensors."""
    if request.param == "reference":
        monkeypatch.setattr(kernels, "_use_cpu", False)
    with composed(request.param == "composed"):
        yield


@pytest.fixture
def golden(request, way):
    """Our own result of a case, and PyTorch's."""
    with np.load(HERE / "golden" / "inputs.npz") as inputs, np.load(HERE / "golden" / "results.npz") as results:
        return cases["run"](OURS, request.param, dict(inputs)), results[request.param]


@pytest.fixture
def exported():
    """The names that `ops` exports from the file of one family."""

    def names(family):
        home = f"tinygrad_norm.ops.{family}"
        return {name for name, value in vars(ops).items() if getattr(value, "__module__", "") == home}

    return names


@pytest.fixture(params=["reference", "composed", *(["cpu"] if kernels._use_cpu else [])])
def _way(request, monkeypatch):
    """Each way in which a norm is computed."""
    monkeypatch.setattr(kernels, "_use_cpu", request.param == "cpu")
    with composed(request.param == "composed"):
        yield
