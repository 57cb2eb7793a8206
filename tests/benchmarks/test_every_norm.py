"""The timing of every norm, and the page that is written of it."""

from __future__ import annotations

import json
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from benchmarks.every_norm import SMALL, Measured, layers, make, step
from benchmarks.report import ratio
from benchmarks.timing import Timing
from tinygrad_norm import FusedOp, random
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.experiments.report import Measurements
from tinygrad_norm.modes import Hook, hooks

pytestmark = pytest.mark.usefixtures("plain_numpy")

DOCS = Path(__file__).parents[2] / "docs" / "norms"


def test_every_norm_is_timed_once():
    left_out = norm_layers().keys() - {*layers()}
    assert {name.replace("1D", "2D") for name in left_out} <= {*layers()}
    assert all(name.endswith("1D") for name in left_out)


class Fused(Hook):
    """Whether a fused op runs."""

    any = False

    def after_forward(self, op, inputs, output):
        self.any |= isinstance(op, FusedOp)


@pytest.mark.parametrize("layer", layers())
def test_a_norm_goes_both_ways_as_one_op_and_composed(layer):
    gradients = []
    for as_composed in (False, True):
        random.manual_seed(0)  # for layers whose weights are drawn
        with hooks(seen := Fused()):
            gradients.append(step(layer, as_composed, SMALL)())
        assert seen.any == (not as_composed and layer != "IterNorm2D")  # which is composed as it is
    names = ["x", *(name for name, _ in make(layer, SMALL).named_parameters())]
    for name, one, other in zip(names, *gradients, strict=True):
        assert one.dtype == np.float32
        if (layer, name) != ("PowerNorm", "x"):  # whose gradient differs by design
            np.testing.assert_allclose(one.raw, other.raw, atol=1e-4 * (np.abs(other.raw).max() + 0.01), err_msg=name)


def test_the_zoo_s_norms_are_timed_as_it_makes_them():
    assert make("BatchRenorm2D", SMALL).momentum == 0.1
    assert make("GroupNorm", SMALL | {"C": 64}).num_groups == 32
    assert make("SPADE", SMALL).hidden == 128  # as the paper has it, and not as in a small example
    assert make("AdaIN", SMALL).activation == "relu"


@pytest.fixture(scope="module")
def page():
    """The rows of a page, by the layer."""
    taken = Measured(Timing((2.0, 2.0)), *[ratio(Timing((2.0,)), Timing((each,))) for each in (1.0, 4.0)])
    result = Measurements(json.loads((DOCS / "every-norm.json").read_text(encoding="utf-8")))
    text = run_path(str(DOCS / "write.py"))["page"](dict.fromkeys(layers(), taken), result, SMALL, "it")
    rows: list[Any] = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {row[1]: row for row in rows}, text


def test_the_page_has_a_row_for_every_norm(page):
    rows, text = page
    assert rows.keys() == {"layer", "---", *layers()}
    assert len({len(row) for row in rows.values()}) == 1
    assert rows["BatchNorm2D"][:6] == ["`batch`", "BatchNorm2D", "1", "2.00", "2.00 (2.00–2.00)", "0.50 (0.50–0.50)"]
    assert "%" in rows["BatchNorm2D"][6]
    assert "`it` wrote it" in text
    assert "on 3×4×2×2 in float32" in text


def test_a_norm_without_an_accuracy_has_a_dash_with_the_reason(page):
    rows, _ = page
    reasons = {
        "AdaIN": "takes a condition beside x",
        "MaskedLayerNorm": "takes a mask beside x",
        "InstanceNorm3D": "is not of images",
        "LayerNorm": "is not of images",
        "GlobalResponseNorm": "stands beside a norm",
    }
    for layer, why in reasons.items():
        assert (rows[layer][0], rows[layer][6:]) == ("–", [f"– ({why})", "–"])
    assert sorted(row[0] for row in rows.values())[-1] == "–"


def test_what_the_papers_claim_is_said_of_norms_that_are_there(page):
    claims = [line.removeprefix("- ").split(" (")[0] for line in page[1].splitlines() if line.startswith("- ")]
    assert len(claims) == len({*claims}) > 15
    assert {*claims} <= {*layers()}
