from __future__ import annotations

import json

import pytest

from tinygrad_norm import nn
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.cli import main

pytestmark = pytest.mark.usefixtures("plain_numpy")

FRN = """FilterResponseNorm2D  --norm frn
    square = mean(x²)
    y = max(γ · x / √(square + ε) + β, threshold)
    over: H · W
    learns: weight, bias, threshold
    keeps: nothing
    cost: reads x twice forward, twice backward
    Singh and Krishnan, Filter response normalization layer: eliminating batch dependence in the training of deep \
neural networks, 2020
"""


@pytest.mark.parametrize("name", ["FilterResponseNorm2D", "frn"])
def test_a_norm_is_told_in_a_few_lines(name, capsys):
    assert main(["norms", name]) == 0
    assert capsys.readouterr().out == FRN


def test_all_norms_are_listed_once_and_those_of_other_ranks_together(capsys):
    assert main(["norms"]) == 0
    text = capsys.readouterr().out
    titles = [line.partition("  ")[0] for line in text.splitlines() if line and not line.startswith(" ")]
    assert sorted(layer for title in titles for layer in title.split(", ")) == sorted(norm_layers())
    assert "BatchNorm1D, BatchNorm2D, BatchNorm3D" in titles
    assert "    over: N, L (1D); N, H · W (2D); N, D · H · W (3D)" in text.splitlines()
    assert {"LayerNorm", "LayerNorm2D"} <= {*titles}  # whose papers differ, and what they are over
    assert "    Ba, Kiros and Hinton, Layer normalization, 2016" in text.split("LayerNorm2D")[0].splitlines()


def test_a_norm_that_is_not_derived_says_why(capsys):
    assert main(["norms", "IterNorm1D"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("    y = weight · Σ^(-1/2) (x - mean) + bias")
    assert f"    not derived: {nn.IterNorm1D.underivable}" in lines
    assert main(["derive", "IterNorm1D"]) == 2
    assert f"IterNorm1D is not derived from its definition, as {nn.IterNorm1D.underivable}" in capsys.readouterr().err


def test_json(capsys):
    assert main(["norms", "--json", "rms"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["layer"] for each in found] == ["RMSNorm", "RMSNorm2D"]
    assert found[0]["cost"] == "reads x twice forward, twice backward"


def test_an_unknown_norm_is_told_with_what_was_meant(capsys):
    assert main(["norms", "switchabel"]) == 2
    assert "norms: 'switchabel' is no norm; did you mean switchable?" in capsys.readouterr().err
    assert main(["norms", "zzz"]) == 2
    assert "norms: 'zzz' is no norm (they are AdaIN, BatchNorm1D, batch, BatchNorm2D, " in capsys.readouterr().err
