from __future__ import annotations

import pytest

from tinygrad_norm.cli import main
from tinygrad_norm.derivation.builtin import BUILT_IN
from tinygrad_norm.derived import derive

OWN = """
from tinygrad_norm import derive


def l2_norm(x, *, axes, eps=1e-5):
    xp = x.__array_namespace__()
    size = xp.sum(xp.square(x), axis=axes, keepdims=True)
    return x / xp.sqrt(size + eps)


derived = derive(l2_norm)


def wrong(x, *, axes):
    return x if x > 0 else -x
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_layer_s_derivation_is_printed(capsys):
    assert main(["derive", "LayerNorm"]) == 0
    assert capsys.readouterr().out == f"{derive(BUILT_IN['LayerNorm']).derivation}\n"
    assert main(["derive", "RMSNorm", "--latex"]) == 0
    assert capsys.readouterr().out == f"{derive(BUILT_IN['RMSNorm']).derivation.latex}\n"


@pytest.mark.parametrize("name", ["l2_norm", "derived"])
def test_so_is_that_of_one_s_own(name, own, capsys):
    assert main(["derive", f"{own}:{name}"]) == 0
    assert capsys.readouterr().out.startswith("size = sum(x²)\ny = x / √(size + ε)\n")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("LayerNrm", "derive: 'LayerNrm' is no norm layer; did you mean LayerNorm?; for one of your own"),
        ("Linear", "derive: 'Linear' is no norm layer (they are BatchNorm1D, "),
        ("{own}:nothing", "derive: {own} has no 'nothing'"),
        ("{own}:wrong", "derive: wrong, line 15 (return x if x > 0 else -x): a definition does not branch on values"),
        ("nowhere.py:norm", "derive: nowhere.py cannot be imported: FileNotFoundError: [Errno 2] No such file"),
    ],
)
def test_what_cannot_be_derived_is_told_in_one_line(what, words, own, capsys):
    assert main(["derive", what.format(own=own)]) == 2
    error = capsys.readouterr().err
    assert words.format(own=own) in error
    assert error.count("\n") == 1
