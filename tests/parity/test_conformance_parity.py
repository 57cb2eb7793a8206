"""PyTorch's norms by the measure of `certify --from`: what is known of them is found."""

from __future__ import annotations

import pytest
import torch

from tinygrad_norm.conformance import measure, measurement
from tinygrad_norm.conformance.frameworks import PyTorch
from tinygrad_norm.conformance.norm import find_norm
from tinygrad_norm.conformance.trials import trials

QUICK = (
    "value, randn",
    "value, 2000 + randn",
    "first derivative, 1e30 randn",
    *(f"{order} derivative, float64" for order in ("first", "second", "third")),
)
OWN = """
import torch

class MyTorchNorm(torch.nn.Module):
    def __init__(self, channels, eps):
        super().__init__()
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x * torch.rsqrt(x.double().square().mean(-1, keepdim=True) + self.eps).to(x.dtype) * self.weight

def standardize(x, dim):
    return (x - x.mean(dim, keepdim=True)) / torch.sqrt(x.var(dim, correction=0, keepdim=True) + 1e-5)
"""


@pytest.fixture
def quick(monkeypatch):
    every = trials()
    monkeypatch.setattr(measurement, "trials", lambda: {name: every[name] for name in QUICK})


def deviations(*arguments):
    return {outcome.check: outcome.words for outcome in measure(*arguments).deviations}


@pytest.mark.parametrize("name", ["torch.nn.LayerNorm", "torch.nn.functional.layer_norm"])
def test_layer_norm_is_coarse_overflows_and_has_a_wrong_third_derivative(name, quick):
    found = deviations(name, "torch")
    assert list(found) == [QUICK[1], QUICK[2], QUICK[5]]
    assert "NaN where " in found[QUICK[2]]


@pytest.mark.parametrize("name", ["torch.nn.BatchNorm2d", "torch.nn.InstanceNorm1d", "torch.nn.functional.batch_norm"])
def test_so_have_batch_and_instance_norm(name, quick):
    assert QUICK[5] in deviations(name, "torch")


@pytest.mark.parametrize("name", ["torch.nn.RMSNorm", "torch.nn.GroupNorm", "torch.nn.functional.rms_norm"])
def test_the_others_have_right_derivatives(name, quick):
    assert not {*QUICK[3:]} & deviations(name, "torch").keys()


def test_somebody_s_module_and_function_are_judged(quick, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    assert deviations(f"{tmp_path}/own.py:MyTorchNorm", "torch") == {}
    found = measure(f"{tmp_path}/own.py:standardize", "torch")
    assert found.kind == "layer"
    assert found.deviations[0].check == QUICK[1]


@pytest.mark.parametrize("kind", PyTorch.norms)
def test_all_norms_of_the_table_are_found(kind):
    framework = PyTorch()
    for name in PyTorch.norms[kind]:
        assert find_norm(framework, name, None, 1e-5).kind.name == kind


def test_threads_are_set_and_put_back():
    before = torch.get_num_threads()
    with PyTorch().threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
