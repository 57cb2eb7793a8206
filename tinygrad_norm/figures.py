"""Matplotlib figures: the palette, text as it is drawn, and writing one whole or not at all."""

from __future__ import annotations

import io
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.files import write_atomically
from tinygrad_norm.output import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
else:  # matplotlib is optional
    Axes = Figure = Any

# Okabe and Ito, Color Universal Design, 2002: a palette told apart by colour-blind eyes too.
# In place of its yellow, which is pale on white, Tol's wine: one for each of eight nets.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
INK, GREY, PALE = "#333333", "#999999", "#E6E6E6"
FORMATS = (".pdf", ".png", ".svg")


def check_format(caller: str, path: StrPath, *besides: str) -> None:
    """Raise a ValueError if the suffix of `path` is of no format that pictures are written in, and none besides."""
    if (suffix := Path(path).suffix.lower()) not in (allowed := (*besides, *FORMATS)):
        raise ValueError(f"{caller}: the suffix of {os.fspath(path)!r} is {', '.join(allowed)}, got {suffix!r}")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # and never pyplot, whose figures and backend belong to the user
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "tinygrad-norm[viz]"') from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def save_figure(figure: Figure, path: StrPath, dpi: float = 150) -> None:
    """Write a figure in the format that the suffix of `path` says, whole or not at all."""
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix.lower()[1:], dpi=dpi)
    write_atomically(path, picture.getvalue())


def dress_axes(axes: Axes, x: str, y: str) -> None:
    """Add labels, a pale grid, and no more frame than is needed."""
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)


def legend(axes: Axes, **options: Any) -> None:
    """Say what the lines are, without a frame."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, **options)


def as_text(text: str, longest: int = 24) -> str:
    """Return a name as matplotlib shall draw it: short, and letter by letter.

    Its dollars begin no formula, and its underscore does not keep it out of a legend.
    """
    shown = printable(text, longest).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def add_title(figure: Figure, title: str) -> None:
    """Write a title above all panels, each of its lines in as many as it takes, but of three lines' length at most."""
    if title:
        width = int(8 * figure.get_figwidth())  # letters
        lines = [textwrap.fill(printable(line, 3 * width), width) for line in title.split("\n")]
        figure.suptitle("\n".join(lines).replace("$", r"\$"), color=INK, fontsize=12, fontweight="bold")
