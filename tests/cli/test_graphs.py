"""`tinygrad-norm graph`."""

from __future__ import annotations

import webbrowser

import pytest

from tinygrad_norm.cli import main


def test_a_net_as_a_text(tmp_path, capsys):
    path = tmp_path / "net.dot"
    assert main(["graph", "mlp", "-o", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mlp, 1 × 3 × 32 × 32: ")
    assert out.endswith(f"the drawing: {path}\n")
    assert "<B>layers.1: Linear</B>" in path.read_text()


def test_the_way_back_down_to_each_op(tmp_path):
    path = tmp_path / "net.dot"
    options = ["--backward", "--all", "--batch-size", "3", "--image-size", "8", "--show", "gradient", "saved"]
    assert main(["graph", "mlp", "-o", str(path), *options]) == 0
    text = path.read_text()
    assert "‖gradient‖" in text
    assert "class=backward" in text
    assert "class=forward" not in text
    assert "<B>BatchNorm</B>" in text


@pytest.mark.parametrize("composed", [False, True])
def test_composed(composed, tmp_path):
    path = tmp_path / "net.dot"
    options = ["--composed"] if composed else []
    assert main(["graph", "mlp", "-o", str(path), "--all", "--norm", "layer", *options]) == 0
    assert ("LayerNorm</B>" in path.read_text()) == (not composed)


def test_blocks_by_themselves(tmp_path):
    texts = []
    for options in ([], ["--no-fold"]):
        path = tmp_path / "net.mmd"
        assert main(["graph", "resnet18", "-o", str(path), "--depth", "2", *options]) == 0
        texts.append(path.read_text())
    assert [text.count("BasicBlock × 2") for text in texts] == [1, 0]
    assert [text.count("BasicBlock") for text in texts] == [7, 8]


def test_the_default_is_a_picture_here_and_opens_on_demand(tmp_path, monkeypatch):
    opened = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert main(["graph", "mlp", "--open"]) == 0
    assert opened == [(tmp_path / "mlp.svg").as_uri()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["resnet"], "did you mean resnet18?"),
        (["mlp", "-o", "g.gif"], "saved as .svg, .png, .pdf, .dot, .mmd, .html, not as '.gif'"),
        (["mlp", "--show", "shapes"], "not 'shapes'; did you mean shape?"),
        (["mlp", "--depth", "-1"], "depth should be 0 or more"),
        (["mlp", "--all", "--depth", "1"], "--all and --depth exclude each other"),
        (["mlp", "--batch-size", "0"], "--batch-size should be 1 or more, not 0"),
    ],
)
def test_bad_input_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["graph", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
