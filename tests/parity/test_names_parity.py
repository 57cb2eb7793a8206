"""The tables of docs/guides/from-pytorch.md beside the installed PyTorch: names, arguments, defaults and answers."""

from __future__ import annotations

import sys
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
CODE = ROOT / "docs" / "_code"


@pytest.fixture(scope="module")
def asked() -> Any:
    """What `docs/_code/ask_pytorch.py` defines."""
    before = list(sys.path)
    try:
        return run_path(str(CODE / "ask_pytorch.py"))
    finally:
        sys.path[:] = before


@pytest.fixture(scope="module")
def tables(asked: Any) -> Any:
    return asked["pytorch"]


def test_the_stored_answers_are_those_of_the_installed_pytorch(asked, tables):
    stored, found = tables.stored(), asked["ask"]()
    assert set(found) == set(stored)
    for part in found:
        assert found[part] == stored[part], "python docs/_code/ask_pytorch.py writes it anew"


def test_every_name_of_the_table_is_there(asked, tables):
    pairs = [pair for pair in tables.pairs() if pair.theirs]
    assert len(pairs) > 200
    for pair in pairs:
        assert tables.ours(pair) is not None or pair.group == "Tensor"
        if not pair.theirs.startswith("torchvision."):
            assert asked["found_at"](pair.theirs) is not None, pair


def test_every_name_of_torchvision_is_there(asked, tables):
    run_path(str(ROOT / "tests" / "models" / "make_golden.py"))["torchvision_models"]()
    theirs = [pair.theirs for pair in tables.pairs() if pair.theirs.startswith("torchvision.")]
    assert len(theirs) > 10
    assert [path for path in theirs if asked["found_at"](path) is None] == []


def test_what_is_said_to_be_alike_is_and_what_is_said_to_differ_does(asked, tables):
    for row in tables.ALIKE:
        assert tables.answer(row.here, tables.NAMES)[0] == tables.answer(row.there, asked["NAMES"])[0], row.about
    for row in tables.DIFFERENT:
        assert tables.answer(row.here, tables.NAMES)[0] != tables.answer(row.there, asked["NAMES"])[0], row.about


def test_defaults_that_the_table_says_differ_do_and_all_others_are_equal(asked, tables):
    compared = 0
    for pair in tables.pairs():
        told = tables.arguments_differ(pair)
        if told is None:
            continue
        mine, theirs = (
            {tables.SPELLINGS.get(name, name): default for name, default in reversed(each.items())}
            for each in (tables.arguments(tables.ours(pair)), tables.arguments(asked["found_at"](pair.theirs)))
        )
        differ = {name for name, _, _ in told.defaults}
        for name in mine.keys() & theirs.keys():
            assert (mine[name] != theirs[name]) == (name in differ), f"{pair.ours}: {name}"
            compared += 1
    assert compared > 200


def test_a_state_goes_there_and_back(rng):
    from tinygrad_norm import nn

    ours = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Flatten(), nn.Linear(16, 2))
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(16, 2)
    )
    theirs.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in ours.state_dict().items()})
    images = rng.normal(size=(5, 3, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(
        ours(images).numpy(), theirs(torch.from_numpy(images)).detach().numpy(), rtol=1e-4, atol=1e-5
    )
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    ours.eval(), theirs.eval()
    np.testing.assert_allclose(
        ours(images).numpy(), theirs(torch.from_numpy(images)).detach().numpy(), rtol=1e-4, atol=1e-5
    )
