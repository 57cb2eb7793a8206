from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest

from tinygrad_norm import nn
from tinygrad_norm.nn.summary import output_shapes

cases = run_path(str(Path(__file__).parent / "zoo_cases.py"))


@pytest.fixture
def undrawn(monkeypatch):
    """Nets without weights, which cost no time."""
    monkeypatch.setattr(nn.init, "_fill", lambda tensor, values: tensor)
    monkeypatch.setattr(nn.init, "_source", lambda generator: cases["Still"]())


@pytest.fixture
def count():
    """The number of a net's parameters."""
    return lambda model: sum(parameter.size for parameter in model.parameters())


@pytest.fixture
def shapes():
    """What the modules at some paths make of one image, as the docstring of a net tells it."""

    def found(model, *paths):
        for parameter in model.parameters():
            parameter.raw[...] = 0.01
        by_module = output_shapes(model, [(1, model.in_channels, model.image_size, model.image_size)])
        return [by_module[model.get_submodule(path)] for path in paths]

    return found
