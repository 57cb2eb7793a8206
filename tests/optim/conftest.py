"""Golden cases, stored by make_golden.py, and the two implementations of the kernels."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_norm import kernels, optim
from tinygrad_norm.tensor import Tensor

HERE = Path(__file__).parent
CASES = json.loads((HERE / "golden" / "cases.json").read_text())
OURS = SimpleNamespace(tensor=Tensor, optim=optim, schedules=optim)

trajectories = run_path(str(HERE / "trajectories.py"))


def pytest_generate_tests(metafunc):
    """Give test_sgd.py the golden cases of SGD, test_adam.py those of Adam and AdamW, and so on."""
    subject = metafunc.module.__name__.rpartition("test_")[2]
    if "golden_optimizer" in metafunc.fixturenames:
        metafunc.parametrize("golden_optimizer", [name for name in CASES["optimizers"] if name.startswith(subject)])
    if "golden_schedule" in metafunc.fixturenames:
        metafunc.parametrize("golden_schedule", list(CASES["schedules"]))


@pytest.fixture(params=["reference", *(["cpu"] if find_spec("numba") else [])])
def implementation(request, monkeypatch):
    """Each implementation of the kernels that can run here, in use."""
    monkeypatch.setattr(kernels, "_use_cpu", request.param == "cpu")
    return request.param


@pytest.fixture
def trajectory():
    """Our own parameters and PyTorch's, after the steps that are stored."""

    def run(name, dtype):
        with np.load(HERE / "golden" / "optimizers.npz") as golden:
            start = [golden[f"start{i}"].astype(dtype) for i in range(2)]
            first, second = (golden[f"gradient{i}"].astype(dtype) for i in range(2))
            steps = [[a, None if skip else b] for a, b, skip in zip(first, second, golden["missing"], strict=True)]
            found = trajectories["optimizer_trajectory"](OURS, CASES["optimizers"][name], start, steps)
            return found[golden["kept"]], golden[name]

    return run


@pytest.fixture
def rates():
    """Our own learning rates and momenta, and PyTorch's, at each step."""

    def run(name):
        with np.load(HERE / "golden" / "schedules.npz") as golden:
            return np.array(trajectories["schedule_trajectory"](OURS, CASES["schedules"][name])), golden[name]

    return run


@pytest.fixture
def weight(rng):
    return Tensor(rng.normal(size=(3, 2)), requires_grad=True)


@pytest.fixture
def bias(rng):
    return Tensor(rng.normal(size=5), requires_grad=True)
