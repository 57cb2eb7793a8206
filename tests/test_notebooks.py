"""The notebooks of the book, run as their pages run them: what their text claims holds, and pages hold outputs."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.py"))


def load(path: Path) -> Any:
    """A module of the site's own code."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules.setdefault(path.stem, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


code = load(DOCS / "_code" / "notebook.py")
pages = load(DOCS / "_extensions" / "notebook_pages.py")


def run(name: str) -> Any:
    path = DOCS / "notebooks" / f"{name}.py"
    return code.Notebook(path.read_text(encoding="utf-8"), str(path))


def test_there_are_six_and_each_is_listed():
    listed = re.search(r"```\{toctree\}\n:maxdepth: 1\n\n(.*?)```", (DOCS / "notebooks" / "index.md").read_text(), re.S)
    assert sorted(listed[1].split()) == [path.stem for path in NOTEBOOKS]
    assert len(NOTEBOOKS) == 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_a_title_inputs_a_picture_and_what_to_look_for(path):
    cells = list(code.cells_of(path.read_text(encoding="utf-8")))
    texts = [cell.text for cell in cells if cell.text]
    assert cells[0].is_setup
    assert texts[0].startswith("# ")
    assert re.match("## What to (look for|try)", texts[-1])
    assert any("mo.ui." in cell.lines for cell in cells)
    assert any("figure.set_label(" in cell.lines for cell in cells)


def test_one_batch():
    notebook = run("one_batch")
    for name in ("mean", "scale", "batch_size"):
        for value in notebook.widgets[name].values:
            first = notebook.widgets[name].value
            notebook.set(name, value)
            before, after = notebook.values["before"], notebook.values["after"]
            assert abs(after.mean()) < 1e-9
            np.testing.assert_allclose(after.std(), before.std() / np.sqrt(before.var() + 1e-5), rtol=1e-9)
            np.testing.assert_allclose(after.std(), notebook.values["spread"], rtol=1e-9)
            notebook.set(name, first)
    notebook.set("scale", 0.001)
    assert notebook.values["after"].std() < 0.5
    notebook.set("scale", 3)
    notebook.set("batch_size", 2)
    np.testing.assert_allclose(np.sort(notebook.values["after"][:, 0]), [-1, 1], atol=1e-3)


def test_three_paths():
    notebook = run("three_paths")
    right = notebook.values["total"]
    for name in ("shift", "stretch"):
        for value in (-3, 0, 3):
            notebook.set(name, value)
            assert notebook.values["difference"] < 1e-12
            np.testing.assert_allclose(notebook.values["total"], right, atol=1e-4)
    notebook.set("noise", 0)
    assert abs(notebook.values["total"]).max() < 1e-4 < 1 < abs(notebook.values["g"]).max()


def test_running_statistics():
    notebook = run("running_statistics")
    assert abs(notebook.values["steps_behind"] - np.log(0.1) / np.log(0.9)) < 6
    notebook.set("momentum", 0.01)
    assert notebook.values["steps_behind"] is None
    notebook.set("momentum", 0.5)
    off = notebook.values["running_mean"][-60:] + 1
    np.testing.assert_allclose(np.sqrt(np.mean(off**2)), notebook.values["noise"], rtol=0.3)
    notebook.set("momentum", 1)
    assert notebook.values["steps_behind"] <= 2


LENGTHS = np.logspace(-3, 1, 17)


def test_loss_landscape():
    landscape = run("loss_landscape").values["landscape"]
    figures = {(norm, scale): landscape(norm, scale, 0) for norm in (False, True) for scale in (1, 6, 8)}
    losses = [figures[True, scale][0] for scale in (1, 6, 8)]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-2)
    assert figures[True, 8][1] < figures[True, 6][1] < figures[True, 1][1]
    for scale in (6, 8):  # a cliff without the norm alone
        turns = {norm: np.interp(0.01, LENGTHS, figures[norm, scale][3]) for norm in (False, True)}
        assert turns[False] > 0.9
        assert turns[True] < 0.05
    assert figures[False, 1][3][8] < figures[True, 1][3][8]  # flat
    assert landscape(True, 1, 30)[0] < 0.5 < 2 < landscape(False, 1, 30)[0]
    assert landscape(True, 6, 30)[0] > landscape(False, 6, 30)[0]


def test_broken_gradient():
    notebook = run("broken_gradient")
    killed = notebook.values["killed"]
    assert killed.pop("nothing") == (False, False, False, False)
    assert len(killed) == 9
    for check in (0, 1):
        assert [name for name, found in killed.items() if found[check]] == [
            "dx without the mean term",
            "mean term not divided by the count",
        ]
    assert [name for name, found in killed.items() if not found[2]] == ["eps outside of the root"]
    assert all(found[3] for found in killed.values())
    notebook.set("eps", 1e-3)
    assert all(found[2] for name, found in notebook.values["killed"].items() if name != "nothing")
    assert notebook.values["message"].startswith("derivative 1, input 0")
    notebook.set("broken", "nothing")
    assert notebook.values["message"] == ""


def test_invent_a_norm():
    notebook = run("invent_a_norm")
    for idea in notebook.widgets["idea"].values:
        notebook.set("idea", idea)
        assert notebook.values["norm"].source.startswith('"""Kernels of my_norm')
        right = "mistake" not in idea
        assert notebook.values["verdict"].startswith("gradient and second gradient agree" if right else "refused: ")
    changed = notebook.set("text", "def mine(x, *, axes):\n    return x if x > 0 else -x")
    assert "line 2" in notebook.values["fault"]
    assert any("line 2" in output for output in changed.values())
    notebook.set("text", "1 +")
    assert notebook.values["fault"].startswith("SyntaxError")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with a notebook of its own."""
    path = tmp_path / "small.py"
    path.write_text(
        "import marimo\n\napp = marimo.App()\n\nwith app.setup:\n    import marimo as mo\n    import sys\n\n\n"
        '@app.cell\ndef _():\n    mo.md(r"""\n    # Small\n\n    A number.\n    """)\n    return\n\n\n'
        '@app.cell\ndef _():\n    number = mo.ui.slider(0, 20, 1, value=4, label="number")\n'
        "    number\n    return (number,)\n\n\n"
        "@app.cell\ndef _(number):\n    square = number.value**2\n"
        '    mo.md(f"The square is **{square}**, < & `it`.")\n    return (square,)\n'
    )
    return path


def test_frames_move_one_slider_and_leave_it_where_it_was(small):
    notebook = code.Notebook(small.read_text(), str(small))
    frames = notebook.frames()
    assert list(frames) == ["number=1", "number=7", "number=10", "number=13", "number=16", "number=19"]
    assert frames["number=7"] == {3: "<p>The square is <strong>49</strong>, &lt; &amp; <code>it</code>.</p>"}
    assert notebook.values["square"] == 16
    assert json.loads(notebook.answer("number", 6)) == {"3": frames["number=7"][3].replace("49", "36")}


def test_a_page_has_text_stored_outputs_frames_and_the_source(small):
    text = pages.page(small, pages.run(small))
    assert text.startswith("# Small\n\nA number.\n")
    assert '<div class="touch" data-cell="3"><p>The square is <strong>16</strong>' in text
    assert '<input type="range" min="0" max="6" value="1" name="number" disabled' in text
    assert "are stored: they were made when the site was built" in text
    data = json.loads(re.search(r'id="touch-data">(.*?)</script>', text)[1])
    assert data["source"] == small.read_text()
    assert data["frames"]["number=7"]["3"].count("49") == 1
    assert not re.search(r"(src|href)=.?https?:", text)


def test_a_notebook_that_fails_fails_the_build(small):
    small.write_text(small.read_text().replace("number.value**2", "number.value / 0"))
    with pytest.raises(RuntimeError, match=r"(?s)small.py fails.*ZeroDivisionError"):
        pages.run(small)


def test_pages_are_written_kept_and_removed(small, tmp_path):
    (tmp_path / "gone.md").write_text("")
    (tmp_path / "index.md").write_text("")
    pages.write(tmp_path, tmp_path / "kept", "digest")
    assert {path.name for path in tmp_path.glob("*.md")} == {"index.md", "small.md"}
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_text(kept.read_text().replace("<strong>16<", "<strong>kept<"))
    pages.write(tmp_path, tmp_path / "kept", "digest")
    assert "<strong>kept<" in (tmp_path / "small.md").read_text()
    pages.write(tmp_path, tmp_path / "kept", "another digest")
    assert "<strong>16<" in (tmp_path / "small.md").read_text()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("def _(number):", "def _(numbers):", "no cell above defines numbers"),
        ("    number\n", "    3\n", "a cell shows a figure, a text or widgets, got int"),
    ],
)
def test_what_a_page_cannot_show_is_refused(small, before, after, told):
    with pytest.raises((ValueError, TypeError), match=told):
        code.Notebook(small.read_text().replace(before, after), str(small))


def test_a_picture_says_what_is_to_be_seen_and_has_the_colours_of_the_page():
    from tinygrad_norm.figures import dress_axes, new_figure

    figure = new_figure(3, 2)
    dress_axes(figure.subplots(), "x", "y")
    with pytest.raises(ValueError, match="says what is to be seen"):
        code.shown(figure)
    figure.set_label("An empty one")
    svg = code.shown(figure)
    assert svg.startswith('<svg role="img" aria-label="An empty one"')
    assert "currentColor" in svg
    assert "var(--pale)" in svg
    assert "#333333" not in svg
    assert svg == code.shown(figure)


def test_the_package_travels_as_a_script(tmp_path):
    """What is unpacked runs a notebook, without Numba, threads or processes, as in a browser."""
    script = pages.package_script()
    archive = base64.b64decode(re.fullmatch(r'globalThis.tinygradNorm = "(.*)";\n', script)[1])
    zipfile.ZipFile(io.BytesIO(archive)).extractall(tmp_path)
    assert script == pages.package_script()
    program = (
        "import os, subprocess, sys, threading\n"
        "def refuse(*_, **__): raise RuntimeError('there is none in a browser')\n"
        "threading.Thread.start = os.fork = subprocess.Popen.__init__ = refuse\n"
        "for name in ('numba', 'scipy', 'graphviz', 'pygraphviz', 'safetensors', 'tqdm', 'threadpoolctl', 'marimo'):\n"
        "    sys.modules[name] = None\n"
        "sys.path.insert(0, '.')\n"
        "from notebook import Notebook\n"
        "import tinygrad_norm\n"
        "assert os.path.realpath(tinygrad_norm.__file__).startswith(os.getcwd())\n"
        "for path in sys.argv[1:]:\n"
        "    print(path, len(Notebook(open(path, encoding='utf-8').read(), path).outputs))\n"
    )
    command = [sys.executable, "-c", program, *map(str, NOTEBOOKS)]
    done = subprocess.run(command, cwd=tmp_path.resolve(), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
