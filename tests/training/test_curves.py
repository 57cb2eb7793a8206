from __future__ import annotations

import re

import numpy as np
import pytest

from tinygrad_norm.training.curves import plot_curves
from tinygrad_norm.training.history import History


def a_history(epochs=4, validation=True):
    records = []
    for epoch in range(1, epochs + 1):
        record = {"epoch": epoch, "lr": 0.1, "train_loss": 2.0 / epoch**2, "train_accuracy": 1 - 0.5 / epoch}
        if validation:
            record |= {"val_loss": 2.2 / epoch, "val_accuracy": 1 - 0.6 / epoch}
        records.append(record)
    return History(records)


def texts(svg):
    """What an SVG says: matplotlib draws glyphs, and names each text in a comment."""
    return re.findall(r"<!-- (.*?) -->", svg)


def test_png_has_ink_in_both_curves_colours(tmp_path):
    from matplotlib.image import imread

    plot_curves({"plain": a_history(), "batch norm": a_history(9)}, tmp_path / "curves.png", "digits", dpi=100)
    pixels = imread(tmp_path / "curves.png")[..., :3]
    assert pixels.shape == (360, 920, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels - np.array(colour) / 255).max(axis=-1) < 0.02).sum() > 100


def test_svg_has_labelled_axes_and_legend(tmp_path):
    plot_curves({"plain": a_history(), "with BN": a_history()}, tmp_path / "curves.svg", "title here")
    words = texts((tmp_path / "curves.svg").read_text())
    assert words.count("epoch") == 2
    assert {"loss", "accuracy", "title here", "plain, training", "with BN, validation"} <= set(words)
    assert any(re.fullmatch(r"\d+%", word) for word in words)


def test_titles_and_names_are_drawn_letter_by_letter(tmp_path):
    names = ("$x^2$", "_hidden", "<b>", "\x1b[31m", "n" * 20_000)
    title = f"resnet18 on $\\frac{{1$ {'long ' * 9}\nsecond line {'x' * 20_000}"
    plot_curves(dict.fromkeys(names, a_history()), tmp_path / "curves.svg", title)
    words = texts((tmp_path / "curves.svg").read_text())
    for shown in ("$x^2$, training", " _hidden, training", "&lt;b&gt;, training", "\\x1b[31m, validation"):
        assert words.count(shown) == 2  # panels
    drawn = [word for word in words if word not in names]
    assert any(word.startswith("resnet18 on $\\frac{1$ long") for word in drawn)
    assert any(word.startswith("second line xxx") for word in drawn)
    assert max(map(len, words)) < 100


def test_what_was_not_measured_is_not_drawn(tmp_path):
    history = [{key: value for key, value in record.items() if "accuracy" not in key} for record in a_history(1, False)]
    plot_curves(history, tmp_path / "curves.svg")
    words = texts((tmp_path / "curves.svg").read_text())
    assert "training" in words
    assert not {"accuracy", "validation"} & set(words)


def test_nan_and_infinity_leave_a_gap(tmp_path):
    history = a_history()
    history[1]["train_loss"] = float("nan")
    history[2]["train_loss"] = float("inf")
    plot_curves(history, tmp_path / "curves.pdf")
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")


def test_bad_input_keeps_the_old_picture(tmp_path):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"the suffix of .* is \.pdf, \.png, \.svg, got '\.gif'"):
        plot_curves(a_history(), tmp_path / "curves.gif")
    with pytest.raises(ValueError, match="history is empty"):
        plot_curves(History(), path)
    assert path.read_bytes() == b"old"


def test_records_without_a_curve_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"plot_curves: records have a train_loss, .*, got \['epoch', 'loss'\]"):
        plot_curves([{"epoch": 1, "loss": 2.0}], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
