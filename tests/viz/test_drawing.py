"""Drawings: texts compared exactly, pictures parsed, bad input refused, nothing half written."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.viz.nets import normed
from tinygrad_norm import Tensor, nn, no_grad, ops
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.models import create_model, list_models
from tinygrad_norm.output import printable
from tinygrad_norm.viz import compare_graphs, draw_graph, render
from tinygrad_norm.viz import drawing as drawing_module
from tinygrad_norm.viz.drawing import MOST
from tinygrad_norm.viz.formats import LONGEST

HOSTILE = """<script>alert(1)</script> "it's" & \\n \\ </TABLE>> {a|b} \x07 --> ]]>"""


@pytest.fixture
def net():
    return normed()


def svg_of(drawing, tmp_path):
    return ET.parse(drawing.save(tmp_path / "g.svg")).getroot()


def texts(svg):
    return ["".join(element.itertext()) for element in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_a_picture_holds_what_it_should(net, tmp_path):
    svg = svg_of(draw_graph(net, (5, 6), show=("shape", "parameters", "flops", "settings")), tmp_path)
    found = texts(svg)
    for wanted in ("Sequential", "Linear", "BatchNorm1D", "BatchNorm", "weight", "5 × 4", "260 FLOP", "fused op"):
        assert any(wanted in text for text in found), wanted
    titles = [title.text for title in svg.iter("{http://www.w3.org/2000/svg}title")]
    assert "input0->op0" in titles
    assert "op0->op1" in titles


def test_a_picture_is_dark_where_its_reader_prefers_that(net, tmp_path):
    text = draw_graph(net, (5, 6)).save(tmp_path / "g.svg").read_text()
    assert text.count("@media (prefers-color-scheme: dark)") == 1
    assert 'class="node fused"' in text
    assert 'class="edge forward"' in text


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("html", b"<!")]
)
def test_each_suffix_is_a_file_of_its_kind(suffix, start, net, tmp_path):
    path = draw_graph(net, (5, 6)).save(tmp_path / "new" / f"g.{suffix.upper()}")
    assert path.read_bytes().lower().startswith(start.lower())
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("model", list_models())
def test_every_net_of_the_zoo(model, tmp_path):
    net = create_model(model, 10)
    svg = svg_of(draw_graph(net.eval(), (1, 3, 32, 32), depth=2), tmp_path)
    found = "\n".join(texts(svg))
    assert type(net).__name__ in found
    assert f"{sum(p.size for p in net.parameters()):,}" in draw_graph(net, (1, 3, 32, 32), depth=0).summary()


def test_resnet_fits_a_screen_and_reads_top_to_bottom(tmp_path):
    svg = svg_of(draw_graph(create_model("resnet18", 10), (2, 3, 32, 32), depth=2), tmp_path)
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    assert width < 1200
    assert height < 1600


@pytest.mark.parametrize("composed", [False, True])
def test_a_fused_op_is_drawn_as_its_definition(composed, net):
    text = draw_graph(net, (5, 6), composed=composed).dot
    assert ("<B>BatchNorm</B>" in text) == (not composed)
    assert ("<B>Maximum</B>" in text or "<B>Relu</B>" in text or "<B>Where</B>" in text) == composed


def test_a_tensor_draws_itself(rng, tmp_path):
    x = Tensor(rng.normal(size=(2, 3)), requires_grad=True)
    drawing = ops.exp(x).sum().graph(title="two ops")
    assert drawing.summary().startswith("two ops: 2 ops (1 Exp, 1 Sum)")
    assert "Exp" in drawing.dot


def test_the_way_back_tells_what_is_kept_and_the_gradients(net):
    drawing = draw_graph(net, (5, 6), direction="backward", depth=1)
    for text in (drawing.dot, drawing.mermaid):
        assert "keeps 144 B" in text
        assert "gradient" in text.replace("gradient; wider", "")
        assert "input0" not in text


def test_what_an_op_keeps_is_told_once():
    """By a node of its own on the way back, else by the op."""
    layer = nn.Linear(6, 4)
    for direction, count in (("forward", 0), ("backward", 1), ("both", 1)):
        drawing = draw_graph(layer, (5, 6), direction=direction, show=("shape", "saved"))
        for text in (drawing.dot, drawing.mermaid):
            assert text.count("120 B of its own") == count
            assert text.count("keeps 120 B") == 1 - count


def test_what_no_gradient_reaches_does_not_float_about(net):
    net[0].requires_grad_(False)
    text = draw_graph(net, (5, 6), direction="backward", depth=1).dot
    assert "BatchNorm1D" in text
    assert "Linear" not in text


def test_results_are_drawn():
    class Heads(nn.Module):
        def forward(self, x):
            return {"one": ops.exp(x), "two": ops.tanh(x)}

    for text in (draw_graph(Heads(), (2, 3)).dot, draw_graph(Heads(), (2, 3)).mermaid):
        assert "op0 -> output0" in text or "op0 --> output0" in text
        assert "op1 -> output1" in text or "op1 --> output1" in text


def test_a_notebook_gets_picture_mermaid_and_text(net):
    shown = draw_graph(net, (5, 6))._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/vnd.mermaid", "image/svg+xml"}
    ET.fromstring(shown["image/svg+xml"])
    assert shown["text/vnd.mermaid"].startswith("flowchart TD\n")


def test_labels_are_text_whatever_they_hold(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2))
    drawing = draw_graph(net, (3, 2), title=HOSTILE)
    svg = svg_of(drawing, tmp_path)
    shown = HOSTILE.replace("\x07", "\\x07")
    assert any(shown in text.replace("\xa0", " ") for text in texts(svg))
    assert not list(svg.iter("{http://www.w3.org/2000/svg}script"))
    assert "<script" not in drawing.mermaid
    assert '"it' not in drawing.mermaid


NAMES = {
    "markup": "<b>x</b>",
    "backslash": "ends in \\",
    "escapes": "\\N\\G\\E",
    "terminal": "\x1b[31m\x9b\ud800",
    "lines": "a\nb",
    "space": " ",
    "record": "{a|b} %%{init}%% $x$",
    "long": "n" * 20_000,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_of_modules_inputs_and_outputs_are_text_too(name, tmp_path):
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, name, nn.Parameter(np.ones(2, np.float32)))

        def forward(self, x):
            return {name: x[name] * getattr(self, name)}

    if "\ud800" not in name:  # which no class may have in its name
        Heads.__name__ = name
    drawing, outside = (
        draw_graph(nn.Sequential(Heads()), {name: Tensor([[1.0, 2.0]])}, depth=depth) for depth in (None, 1)
    )
    found = [text.replace("\xa0", " ") for text in texts(svg_of(drawing, tmp_path))]
    shown = printable(name, LONGEST - len("output "))
    for kind in ("input", "output"):
        assert any(text.startswith(f"{kind} {shown[:50]}".rstrip()) for text in found)
    assert outside.save(tmp_path / "g.png").stat().st_size < 500_000
    assert max(map(len, drawing.mermaid.splitlines())) < 10 * LONGEST
    assert all(line.isprintable() for line in drawing.summary().splitlines())
    drawing.html.encode()


@pytest.mark.parametrize(
    ("modes", "words"),
    [
        ((True, True), "training"),
        ((False, False), "inference"),
        ((True, False), "training, 1 of 3 modules in inference"),
    ],
)
def test_the_title_says_in_which_mode_a_model_is_drawn(modes, words, net):
    net.train(modes[0])
    net[1].train(modes[1])
    drawing = draw_graph(net, (5, 6), title="net")
    assert drawing.graph.title == f"net, {words}"
    assert any(node.name == "InferenceNorm" for node in drawing.graph.ops) == (not modes[1])
    assert compare_graphs(net[1], (5, 4)).graph.title.startswith(
        f"BatchNorm1D, {'training' if modes[1] else 'inference'}\n"
    )


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"


def test_a_page_has_no_more_scripts_for_a_hostile_title():
    net = nn.Sequential(nn.Linear(2, 2))
    plain, hostile = (Page(draw_graph(net, (3, 2), title=title).html).scripts for title in ("", HOSTILE))
    assert plain == hostile


# What is refused


def test_an_unknown_suffix(net, tmp_path):
    with pytest.raises(
        ValueError, match=r"suffix of a drawing is \.svg, \.png, \.pdf, \.dot, \.mmd, \.html, got '\.gif'"
    ):
        draw_graph(net, (5, 6)).save(tmp_path / "g.gif")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"direction": "backwards"},
            "direction is 'forward' or 'backward' or 'both', got 'backwards'; did you mean backward",
        ),
        ({"show": ["flop"]}, "show is 'shape' or .*, got 'flop'; did you mean flops"),
        ({"x": None}, "x is the model's input, or the shape of one, got none"),
        ({"x": (-5, 6)}, r"a shape is whole numbers, none below 0, got \(-5, 6\)"),
        ({"x": ((2, 3), (2, 3))}, r"several inputs stand in a list, \[\(2, 3\), \(2, 3\)\]"),
        ({"depth": -1}, r"depth \(None for all levels\) is an integer of at least 0, got -1"),
        ({"show": ("shape", 5)}, "show is 'shape' or .*, got 5"),
    ],
)
def test_what_cannot_be_drawn(how, message, net):
    with pytest.raises(ValueError, match=message):
        draw_graph(net, **{"x": (5, 6), **how})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"depth": 1.5}, "depth .* is an integer of at least 0, got 1.5"),
        ({"depth": "1"}, "depth .* is an integer of at least 0, got '1'"),
        ({"depth": True}, "depth .* is an integer of at least 0, got True"),
        ({"show": 5}, "show is names out of shape, .*, got 5"),
    ],
)
def test_what_is_of_another_type(how, message, net):
    with pytest.raises(TypeError, match=message):
        draw_graph(net, (5, 6), **how)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"direction": "x"}, ValueError, "compare_graphs: direction is 'forward' or 'backward' or 'both', got 'x'"),
        ({"show": ("bogus",)}, ValueError, "compare_graphs: show is 'shape' or .*, got 'bogus'"),
        ({"x": (-5, 4)}, ValueError, "a shape is whole numbers, none below 0"),
    ],
)
def test_what_cannot_be_compared(how, error, message):
    with pytest.raises(error, match=message):
        compare_graphs(nn.BatchNorm1D(4), **{"x": (5, 4), **how})


def test_one_fact_may_be_a_name():
    assert "FLOP<" in compare_graphs(nn.Linear(4, 4), (5, 4), show="flops").dot


@pytest.mark.parametrize("how", [{"x": (2, 3)}, {"composed": True}])
def test_a_tensor_takes_nothing_that_is_for_a_model(how, rng):
    y = ops.exp(Tensor(rng.normal(size=(2, 3)), requires_grad=True))
    with pytest.raises(
        ValueError, match=f"{next(iter(how))} is for a model, got a tensor, which is drawn as it was made"
    ):
        draw_graph(y, **how)


@pytest.mark.parametrize("how", [{"direction": "backward"}, {"direction": "both"}, {"show": "gradient"}])
def test_no_way_back_under_no_grad(how, net):
    with no_grad(), pytest.raises(ValueError, match=r"there is no way back: this runs under no_grad"):
        draw_graph(net, (5, 6), **how)


def test_neither_a_model_nor_a_tensor():
    with pytest.raises(TypeError, match="what is drawn is a model, a tensor or a plan, got a list"):
        draw_graph([1, 2])
    with no_grad(), pytest.raises(ValueError, match="has no tape"):
        draw_graph(Tensor([1.0]) * 2)


def test_without_a_renderer_the_text_is_saved(net, tmp_path, monkeypatch):
    monkeypatch.setattr(render, "_commands", lambda kind: [])
    with pytest.raises(render.NoRendererError, match=r"pip install .*viz.*apt install graphviz.*saved as DOT in"):
        draw_graph(net, (5, 6)).save(tmp_path / "g.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["g.svg.dot"]
    assert set(draw_graph(net, (5, 6))._repr_mimebundle_()) == {"text/plain", "text/vnd.mermaid"}


def test_a_rendering_that_takes_too_long(net, tmp_path, monkeypatch):
    slow = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(render, "_commands", lambda kind: [slow])
    monkeypatch.setattr(render, "SECONDS", 0.2)
    with pytest.raises(TimeoutError, match=r"longer than 0\.2 s; draw less of it .*saved as DOT"):
        draw_graph(net, (5, 6)).save(tmp_path / "g.png")
    assert [path.name for path in tmp_path.iterdir()] == ["g.png.dot"]


def test_what_graphviz_refuses():
    with pytest.raises(OSError, match="Graphviz could not draw it"):
        render.render("digraph {", "svg")


def test_where_one_renderer_is_broken_the_next_is_taken(net, tmp_path, monkeypatch):
    broken = [sys.executable, "-c", "raise ImportError('libcgraph.so.6: no such file')"]
    works = [sys.executable, "-c", "print('<svg></svg>')"]
    for first in (broken, [str(tmp_path / "no such program")]):
        monkeypatch.setattr(render, "_commands", lambda kind, first=first: [first, works])
        assert draw_graph(net, (5, 6)).save(tmp_path / "g.png").read_bytes() == b"<svg></svg>\n"
    monkeypatch.setattr(render, "_commands", lambda kind: [broken, broken])
    with pytest.raises(OSError, match=r"could not draw it: ImportError: libcgraph.*saved as DOT in .*g\.svg\.dot"):
        draw_graph(net, (5, 6)).save(tmp_path / "g.svg")
    assert (tmp_path / "g.svg.dot").read_text().startswith("digraph")
    assert set(draw_graph(net, (5, 6))._repr_mimebundle_()) == {"text/plain", "text/vnd.mermaid"}


def test_a_picture_that_fails_leaves_other_files_alone(net, tmp_path, monkeypatch):
    (tmp_path / "g.dot").write_text("mine")
    monkeypatch.setattr(render, "_commands", lambda kind: [])
    with pytest.raises(render.NoRendererError):
        draw_graph(net, (5, 6)).save(tmp_path / "g.png")
    assert (tmp_path / "g.dot").read_text() == "mine"


def test_dot_on_the_path_does_it_too(monkeypatch, tmp_path):
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\n[ "$1" = -Tsvg ] && cat\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(render, "find_spec", lambda name: None)
    assert render.render("digraph {}", "svg") == b"digraph {}"


def test_a_graph_of_many_ops_is_refused_as_a_picture_and_written_as_text(tmp_path):
    y = x = Tensor([1.0, 2.0], requires_grad=True)
    for _ in range(20_000):
        y = y * x
    drawing = y.graph()
    with pytest.raises(ValueError, match=rf"a picture holds at most {MOST:,} items, got 20,002; .*depth=1"):
        drawing.save(tmp_path / "g.png")
    assert not os.listdir(tmp_path)
    assert drawing.save(tmp_path / "g.dot").read_text().count(" -> ") == 40_000


def test_the_totals_of_many_ops_take_no_layout(monkeypatch):
    monkeypatch.setattr(drawing_module, "outline", None)
    drawing = (Tensor([1.0, 2.0], requires_grad=True) * 2).graph()
    assert "1 ops (1 Multiply)" in drawing.summary()
    assert drawing.html.startswith("<!doctype html>")


def test_a_folder_that_cannot_be_written(net, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing_module, "outline", None)  # it is refused before any work
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file, not a folder"):
        draw_graph(net, (5, 6)).save(tmp_path / "file" / "g.dot")
    (tmp_path / "g.svg").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        draw_graph(net, (5, 6)).save(tmp_path / "g.svg")


NORMS = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "graphs" / "draw.py"))["NORMS"]


def test_the_documents_draw_every_norm():
    drawn = [type(norm).__name__ for norm, _ in NORMS.values()]
    assert sorted(drawn) == [
        name for name, kind in norm_layers().items() if kind.__module__ == nn.normalization.__name__
    ]


@pytest.mark.parametrize("name", NORMS)
def test_both_sides_of_a_norm_have_all_its_parameters(name):
    norm, shape = NORMS[name]
    text = compare_graphs(norm, shape).dot
    for parameter, _ in norm.named_parameters():
        assert text.count(f"<B>{parameter}</B>") == 2


def test_importing_the_package_does_not_import_what_draws():
    code = (
        "import sys, tinygrad_norm; sys.exit(any(m.startswith(('graphviz', 'tinygrad_norm.viz')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
