"""`tinygrad-norm graph`."""

from __future__ import annotations

import re
import webbrowser

import pytest

from tinygrad_norm.cli import graphs, main


def test_a_net_as_a_text(tmp_path, capsys):
    path = tmp_path / "net.dot"
    assert main(["graph", "mlp", "-o", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mlp, 2 × 3 × 32 × 32, training: 6 ops (3 Linear, 2 BatchNorm, 1 Reshape)")
    assert out.endswith(f"the drawing: {path}\n")
    assert "<B>layers.1: Linear</B>" in path.read_text()


def test_a_graph_is_that_of_training_unless_inference_is_asked_for(tmp_path, capsys):
    for options, mode, norm in (([], "training", "BatchNorm"), (["--eval"], "inference", "InferenceNorm")):
        path = tmp_path / "net.dot"
        assert main(["graph", "resnet18", "-o", str(path), "--all", "--image-size", "16", *options]) == 0
        assert f"<B>resnet18, 2 × 3 × 16 × 16, {mode}</B>" in path.read_text(encoding="utf-8")
        assert re.search(rf"\(20 \w+, 20 {norm}|\(20 {norm}, 20 ", capsys.readouterr().out)


def test_one_image_alone_is_for_inference(tmp_path, capsys):
    path = tmp_path / "net.dot"
    assert main(["graph", "mlp", "-o", str(path), "--batch-size", "1"]) == 2
    assert re.search(r"one value per channel has no variance.*--eval", capsys.readouterr().err)
    assert main(["graph", "mlp", "-o", str(path), "--batch-size", "1", "--eval"]) == 0


def test_the_way_back_down_to_each_op(tmp_path):
    path = tmp_path / "net.dot"
    options = ["--backward", "--all", "--batch-size", "3", "--image-size", "8", "--show", "gradient", "saved"]
    assert main(["graph", "mlp", "-o", str(path), *options]) == 0
    text = path.read_text()
    assert "|gradient|" in text
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


def test_a_page_starts_as_asked_and_has_gradients(tmp_path):
    path = tmp_path / "net.html"
    assert main(["graph", "mlp", "-o", str(path), "--backward", "--depth", "1", "--no-fold"]) == 0
    text = path.read_text()
    assert '"start":{"direction":"backward","fold":false}' in text
    assert '"open":true' not in text
    assert main(["graph", "mlp", "-o", str(path)]) == 0
    text = path.read_text()
    assert '"start":{"direction":"forward","fold":true}' in text
    assert text.count('"open":true') == 1
    assert len(re.findall(r'"facts":{"kind":"Fused op"[^}]*"gradient":"[0-9.e-]+"', text)) == 5


def test_a_file_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(graphs, "create_model", None)
    (tmp_path / "file").write_text("")
    for name, message in (("file/g.svg", "file is a file, not a folder"), ("g.gif", "got '.gif'")):
        assert main(["graph", "mlp", "-o", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_the_default_is_a_picture_here_and_opens_on_demand(tmp_path, monkeypatch, capsys):
    opened: list[str] = []

    def show(uri):
        opened.append(uri)
        return len(opened) < 2

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webbrowser, "open", show)
    for said in ("", "no browser could be started\n"):
        assert main(["graph", "mlp", "--open"]) == 0
        assert capsys.readouterr().err == said
    assert opened == [(tmp_path / "mlp.svg").as_uri()] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["resnet"], "did you mean resnet18?"),
        (["mlp", "-o", "g.gif"], "the suffix of a drawing is .svg, .png, .pdf, .dot, .mmd, .html, got '.gif'"),
        (["mlp", "--show", "shapes"], "got 'shapes'; did you mean shape?"),
        (["mlp", "--depth", "-1"], "depth (None for all levels) is an integer of at least 0, got -1"),
        (["mlp", "--all", "--depth", "1"], "--all and --depth exclude each other"),
        (["mlp", "--batch-size", "0"], "--batch-size is an integer of at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["graph", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
