"""The picture of a confusion matrix; what it counts is in test_confusion.py."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tinygrad_norm.figures import as_text
from tinygrad_norm.output import printable
from tinygrad_norm.training.confusion import plot_confusion


def test_what_was_found_is_blue_and_what_was_not_orange(tmp_path):
    from matplotlib.image import imread

    plot_confusion([[5, 0], [5, 0]], tmp_path / "confusion.png", dpi=100)
    pixels = imread(tmp_path / "confusion.png")[..., :3]
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels - np.array(colour) / 255).max(axis=-1) < 0.02).sum() > 1000


def test_svg_names_classes_and_counts(tmp_path):
    plot_confusion([[41, 2], [0, 37]], tmp_path / "confusion.svg", ("left", "right"), "title here")
    words = re.findall(r"<!-- (.*?) -->", (tmp_path / "confusion.svg").read_text())
    assert {"left", "right", "41", "2", "37", "title here", "predicted", "true"} <= set(words)
    assert "0" not in words


@pytest.mark.parametrize(
    "name", ["$\\frac{1$ and $", "<b>x</b> --> &", "ends in \\", "\x1b[31m\n\ud800", "n" * 20_000], ids=str.split
)
def test_names_are_drawn_letter_by_letter(name, tmp_path):
    plot_confusion([[41, 2], [0, 37]], tmp_path / "confusion.svg", (name, "_plain"), f"on {printable(name)}")
    root = ET.parse(tmp_path / "confusion.svg", ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))).getroot()
    words = [html.unescape(element.text).strip() for element in root.iter(ET.Comment)]
    shown = as_text(name).replace("\\$", "$").replace("--", "- -")
    assert words.count(shown) == 2
    assert any(word.startswith(f"on {shown[:10]}") for word in words)
    assert float(root.attrib["width"].removesuffix("pt")) < 720
    plot_confusion([[41, 2], [0, 37]], tmp_path / "confusion.png", (name, "_plain"), f"on {name}")


def test_many_classes_are_drawn_without_counts(tmp_path):
    plot_confusion(np.full((100, 100), 77), tmp_path / "confusion.svg")
    words = re.findall(r"<!-- (.*?) -->", (tmp_path / "confusion.svg").read_text())
    assert "77" not in words
    assert {"predicted", "true"} <= set(words)


def test_an_unknown_format_is_refused_before_drawing(tmp_path):
    with pytest.raises(ValueError, match=r"plot_confusion: the suffix of .*, got '.bmp'"):
        plot_confusion([[1]], tmp_path / "confusion.bmp")
    assert not list(tmp_path.iterdir())
