"""What all matplotlib figures share: the palette, text drawn letter by letter, and files written whole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tinygrad_norm import figures
from tinygrad_norm.figures import COLOURS, INK
from tinygrad_norm.models import list_models


def test_each_net_of_the_zoo_has_a_colour_of_its_own():
    assert len(set(COLOURS)) >= len(list_models())


@pytest.mark.parametrize("name", ["a.png", "A.SVG", "folder.gif/a.pdf"])
def test_formats(name):
    figures.check_format("plot", name)
    with pytest.raises(ValueError, match=r"plot: the suffix of '.*\.gif' is \.pdf, \.png, \.svg, got '\.gif'"):
        figures.check_format("plot", f"{name}.gif")


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("plain", "plain"), ("$x^2$", r"\$x^2\$"), ("_hidden", " _hidden"), ("\x1b[31m", r"\x1b[31m")],
)
def test_a_name_is_drawn_letter_by_letter(name, drawn):
    assert figures.as_text(name) == drawn
    assert len(figures.as_text(name * 1000)) < 60


def test_a_title_is_broken_to_the_width_and_cut_after_three_lines_of_it():
    figure = figures.new_figure(5, 3)
    figures.add_title(figure, "")
    assert figure.get_suptitle() == ""
    figures.add_title(figure, f"costs $1 {'word ' * 100}\nsecond")
    lines = figure.get_suptitle().split("\n")
    assert lines[0].startswith(r"costs \$1 word")
    assert lines[-1] == "second"
    assert max(map(len, lines)) <= 41
    assert 3 <= len(lines) <= 5


def test_axes_are_dressed_and_lines_named():
    axes = figures.new_figure(2, 2).subplots()
    axes.plot([1, 2], label="a line")
    figures.dress_axes(axes, "across", "up")
    figures.legend(axes, loc="upper left")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("across", "up")
    assert axes.xaxis.label.get_color() == axes.yaxis.label.get_color() == INK
    assert [side for side, spine in axes.spines.items() if spine.get_visible()] == ["left", "bottom"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a line"]
    assert not axes.get_legend().get_frame_on()


def test_a_figure_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    figure, path = figures.new_figure(1, 1), tmp_path / "new" / "figure.PNG"
    figures.save_figure(figure, path, dpi=50)
    picture = path.read_bytes()
    assert picture.startswith(b"\x89PNG")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        figures.save_figure(figure, path)
    assert path.read_bytes() == picture
    assert os.listdir(path.parent) == ["figure.PNG"]


def test_missing_matplotlib_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad-norm\[viz\]"'):
        figures.new_figure(1, 1)


def test_pyplot_and_the_users_backend_are_left_alone(tmp_path):
    program = f"""
import sys
from tinygrad_norm.figures import new_figure, save_figure
from tinygrad_norm.training.curves import plot_curves
assert "matplotlib" not in sys.modules
save_figure(new_figure(1, 1), {str(tmp_path / "empty.png")!r})
plot_curves([{{"epoch": 1, "lr": 0.1, "train_loss": 1.0}}], {str(tmp_path / "curves.png")!r})
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
