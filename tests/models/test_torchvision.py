"""The ImageNet forms beside torchvision: keys, shapes, logits and gradients, from stored numbers."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, tape
from tinygrad_norm.models import create_model

HERE = Path(__file__).parent
cases = run_path(str(HERE / "zoo_cases.py"))


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(nn.init, "_source", lambda generator: cases["Still"]())


def model(case):
    return create_model(case.ours, cases["CLASSES"], small_images=False, **case.options).astype(case.dtype)


def load(model, values):
    model.load_state_dict(values)


def set_mode(model, training):
    for module in model.modules():
        module.training = training and isinstance(module, nn.BatchNorm2D)


def step(model, images, cotangent):
    x = Tensor(images, requires_grad=True)
    logits = model(x)
    gradients = tape.grad(logits, [*model.parameters(), x], cotangent)
    return logits.raw, [gradient.raw for gradient in gradients]


OURS = SimpleNamespace(model=model, state=lambda model: model.state_dict(), load=load, set_mode=set_mode, step=step)


@pytest.mark.parametrize("name", cases["CASES"])
def test_goes_where_torchvision_goes(name, undrawn):
    case = cases["CASES"][name]
    with np.load(HERE / "golden" / "zoo.npz") as golden:
        expected = {key.partition(": ")[2]: golden[key] for key in golden if key.partition(": ")[0] == name}
    found = cases["run"](OURS, case)
    off = cases["differences"](found, expected)
    assert max(off.values()) < (2e-5 if case.dtype == "float32" else 1e-9), off
