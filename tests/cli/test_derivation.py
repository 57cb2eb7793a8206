from __future__ import annotations

import pytest

from tinygrad_norm import nn
from tinygrad_norm.cli import derivation, main
from tinygrad_norm.derived import derive
from tinygrad_norm.viz import render

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
    assert capsys.readouterr().out == f"{derive(nn.LayerNorm.definition).derivation}\n"
    assert main(["derive", "RMSNorm", "--latex"]) == 0
    assert capsys.readouterr().out == f"{derive(nn.RMSNorm.definition).derivation.latex}\n"


def test_a_norm_is_known_by_its_name_in_the_zoo_too(capsys):
    assert main(["derive", "renorm"]) == 0
    assert capsys.readouterr().out == f"{derive(nn.BatchRenorm2D.definition).derivation}\n"
    assert main(["derive", "iternorm"]) == 2
    assert "IterNorm2D is not derived from its definition" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["l2_norm", "derived"])
def test_so_is_that_of_one_s_own(name, own, capsys):
    assert main(["derive", f"{own}:{name}"]) == 0
    assert capsys.readouterr().out.startswith("size = sum(x²)\ny = x / √(size + ε)\n")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("LayerNrm", "derive: 'LayerNrm' is no norm layer; did you mean LayerNorm?; for one of your own"),
        ("renrm", "derive: 'renrm' is no norm layer; did you mean renorm?; for one of your own"),
        ("Linear", "derive: 'Linear' is no norm layer (they are AdaIN, "),
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


def test_kernels_are_printed(own, capsys):
    for what, norm in (("LayerNorm", derive(nn.LayerNorm.definition)), (f"{own}:l2_norm", None)):
        assert main(["derive", what, "--source"]) == 0
        out = capsys.readouterr().out
        assert out.startswith('"""Kernels of ')
        assert norm is None or out == norm.source


def test_what_is_printed_is_written_by_the_suffix_of_a_file(tmp_path, capsys):
    norm = derive(nn.RMSNorm.definition)
    for suffix, text in ((".txt", f"{norm.derivation}\n"), (".PY", norm.source)):
        path = tmp_path / f"norm{suffix}"
        assert main(["derive", "RMSNorm", "-o", str(path)]) == 0
        assert path.read_text(encoding="utf-8") == text
        assert capsys.readouterr().out == f"written: {path}\n"


def test_a_derivation_in_latex_is_a_part_of_a_document(own, tmp_path):
    path = tmp_path / "norm.tex"
    assert main(["derive", f"{own}:l2_norm", "-o", str(path)]) == 0
    y = r"\frac{x}{\sqrt{\mathrm{size} + \varepsilon}}"
    assert path.read_text(encoding="utf-8").splitlines()[:8] == [
        r"\[ \mathrm{size} = \operatorname{sum}\left(x^2\right) \]",
        rf"\[ y = {y} \]",
        "",
        "With g the gradient of y, what comes back to each statistic is",
        r"\[ A_{\mathrm{size}} = "
        + r"-\frac{0.5\,\operatorname{sum}\left(g\,x\right)}{\sqrt{\mathrm{size} + \varepsilon}^{3}} \]",
        "",
        "$x$ acts on $y$ by 2 paths:",
        rf"itself \[ {y.replace('{x}', '{g}')} \]",
    ]
    text = path.read_text(encoding="utf-8")
    assert "\nthrough $\\mathrm{size}$ \\[ 2" in text
    assert "\nso \\[ dx = " in text


def test_the_line_of_a_definition_that_fails_when_its_file_is_run_is_told(tmp_path, run):
    long = " + ".join(["x"] * 60)
    (tmp_path / "long.py").write_text(
        f"from tinygrad_norm import derive\n@derive\ndef long(x, *, axes):\n    return ({long}) if x > 0 else x\n"
    )
    status, _, err = run("derive", "long.py:long")
    assert status == 2
    assert "long.py cannot be imported: derive: long, line 4 (return (x + x" in err
    assert err.endswith("a definition does not branch on values; use where()\n")


@pytest.fixture
def pages(monkeypatch):
    """What pages are made of, in place of pages, for which Graphviz would be needed."""
    monkeypatch.setattr(derivation, "norm_page", lambda norm, *more: f"{(norm.__name__, *more)}")
    monkeypatch.setattr(derivation, "check_renderer", lambda kind: kind)
    monkeypatch.setattr(
        derivation, "certify", lambda what, **more: f"a certificate of {getattr(what, '__name__', what)}{more or ''}"
    )


def test_a_page_is_that_of_a_layer_or_of_one_s_own(pages, own, tmp_path):
    path = tmp_path / "norm.html"
    for options, text in (
        (["BatchNorm2D"], "('normalize', 'BatchNorm2D', '')\n"),
        ([f"{own}:l2_norm"], "('l2_norm', '', '')\n"),
        (["BatchNorm2D", "--certify"], "('normalize', 'BatchNorm2D', 'a certificate of BatchNorm2D')\n"),
        ([f"{own}:l2_norm", "--certify"], "('l2_norm', '', 'a certificate of l2_norm')\n"),
        (
            [f"{own}:l2_norm", "--certify", "--option", "eps=3"],
            "('l2_norm', '', \"a certificate of l2_norm{'eps': 3}\")\n",
        ),
    ):
        assert main(["derive", *options, "-o", str(path)]) == 0
        assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "norm.gif"], "derive: the suffix of a file is .html, .txt, .tex, .py, got '.gif'"),
        (["-o", "norm"], "derive: the suffix of a file is .html, .txt, .tex, .py, got ''"),
        (["-o", "own.py/norm.html"], "own.py"),
        (["-o", "folder.html"], "folder.html is a folder; name a file"),
        (["--option", "eps=3"], "derive: --option is for --certify, got no --certify"),
        (["--certify"], "derive: --certify takes -o FILE.html, got none"),
        (["--certify", "-o", "norm.txt"], "derive: --certify takes -o FILE.html, got none"),
        (["--latex", "--source"], "argument --source: not allowed with argument --latex"),
        (["--latex", "-o", "norm.txt"], "argument -o/--output: not allowed with argument --latex"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(options, words, own, run, monkeypatch):
    monkeypatch.setattr(derivation, "derive", None)
    own.with_name("folder.html").mkdir()
    status, out, err = run("derive", "LayerNorm", *options)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_a_page_without_graphviz_is_refused_before_any_work(run, monkeypatch):
    monkeypatch.setattr(derivation, "derive", None)
    monkeypatch.setattr(render, "find_spec", lambda name: None)
    monkeypatch.setattr(render, "search_path", lambda: "")
    status, out, err = run("derive", "LayerNorm", "-o", "norm.html")
    assert (status, out) == (2, "")
    assert "install Graphviz's libraries with" in err
    assert err.count("\n") == 1


def test_a_definition_that_does_not_derive_leaves_no_page(own, run, tmp_path):
    status, out, err = run("derive", "own.py:wrong", "-o", "norm.html", "--certify")
    assert (status, out) == (2, "")
    assert "a definition does not branch on values" in err
    assert not (tmp_path / "norm.html").exists()


def test_a_norm_without_kernels_has_no_source(run, tmp_path):
    (tmp_path / "two.py").write_text(
        "def two_ways(x, *, a, b):\n"
        "    xp = x.__array_namespace__()\n"
        "    return x - xp.mean(x, axis=a, keepdims=True) - xp.max(x, axis=b, keepdims=True)\n"
    )
    status, _, err = run("derive", "two.py:two_ways", "--source")
    assert status == 2
    assert err == "tinygrad-norm: derive: two_ways has no kernels: it is computed in NumPy, in float64\n"
