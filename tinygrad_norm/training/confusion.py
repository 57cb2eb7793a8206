"""Which class was taken for which: the confusion matrix, as numbers, as text and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_norm.checks import check_integer
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.figures import COLOURS, GREY, INK, Axes, add_title, as_text, check_format, new_figure, save_figure
from tinygrad_norm.output import printable
from tinygrad_norm.tables import format_table

Integers = NDArray[np.int64]

MOST_CLASSES = 20  # classes: beyond them a table does not fit a terminal, nor counts a picture
RIGHT, WRONG = COLOURS[0], COLOURS[1]


def confusion_matrix(predictions: ArrayLike, targets: ArrayLike, classes: int) -> Integers:
    """Count how often each class (the rows) was predicted as each class (the columns).

    Args:
        predictions: class numbers (N,).
        targets: the true class numbers (N,).
        classes: how many classes there are.

    Raises:
        TypeError: they are no integers.
        ValueError: they are not as many, or one is no class.

    Example:
        >>> training.confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2], classes=3)
        array([[1, 0, 0],
               [0, 1, 0],
               [0, 1, 1]])
    """
    classes = check_integer("classes", classes, 1)
    found, true = (_labels(*given, classes) for given in (("predictions", predictions), ("targets", targets)))
    if found.shape != true.shape:
        raise ValueError(f"predictions and targets are as many, got {len(found)} and {len(true)}")
    return np.bincount(true * classes + found, minlength=classes**2).reshape(classes, classes)


def confusion_table(matrix: ArrayLike, class_names: Sequence[str] = ()) -> str:
    """Write the matrix as text: a row for each true class, with the share of it that was found; dots are zeros.

    Of more than 20 classes, only the ten commonest confusions.

    Example:
        >>> matrix = training.confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2], classes=3)
        >>> print(training.confusion_table(matrix, ("a", "b", "c")))
        predicted  a  b  c   found
                a  1  ·  ·  100.0%
                b  ·  1  ·  100.0%
                c  ·  1  1   50.0%
    """
    counts, names = _checked(matrix, class_names)
    if len(counts) > MOST_CLASSES:
        return _commonest(counts, names)
    longest = max(map(len, names))
    cut = next((cut for cut in range(8, longest) if len({name[:cut] for name in names}) == len(names)), longest)
    rows = [["predicted", *(name[:cut] for name in names), "found"]]
    for number, (name, row) in enumerate(zip(names, counts, strict=True)):
        found = f"{row[number] / row.sum():.1%}" if row.any() else "-"
        rows.append([name, *(str(count) if count else "·" for count in row), found])
    return format_table(rows, ">")


def plot_confusion(
    matrix: ArrayLike,
    path: StrPath,
    class_names: Sequence[str] = (),
    title: str = "",
    *,
    dpi: float = 150,
) -> None:
    """Draw the matrix as PNG, SVG or PDF: blue what was found, orange what was taken for something else.

    A cell's colour is its share of the true class; that of a confusion is drawn stronger than it is, to be seen.

    Raises:
        ValueError: `matrix` is no square, the names do not fit it, or the suffix is unknown.
        ImportError: matplotlib is not installed.

    Example:
        >>> import os
        >>> matrix = training.confusion_matrix([0, 1, 1], [0, 1, 0], classes=2)
        >>> training.plot_confusion(matrix, "confusion.svg", ("cat", "dog"))
        >>> os.path.exists("confusion.svg")
        True
    """
    check_format("plot_confusion", path)
    counts, names = _checked(matrix, class_names)
    names = [as_text(name) for name in names]
    size = min(2.0 + 0.42 * len(counts) + 0.06 * max(map(len, names)), 10.0)
    figure = new_figure(size, size)
    _draw(figure.subplots(), counts, names)
    add_title(figure, title)
    save_figure(figure, path, dpi)


def _draw(axes: Axes, counts: Integers, names: Sequence[str]) -> None:
    from matplotlib.colors import to_rgb

    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    on_diagonal = np.eye(len(counts), dtype=bool)
    strength = np.where(on_diagonal, share, np.sqrt(share))[..., None]
    colour = np.where(on_diagonal[..., None], to_rgb(RIGHT), to_rgb(WRONG))
    axes.imshow(1 - strength * (1 - colour))
    if len(counts) <= MOST_CLASSES:
        for row, column in np.argwhere(counts):
            ink = "white" if strength[row, column, 0] > 0.6 else INK
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=8)
        places, turned = range(len(names)), max(map(len, names)) > 3
        axes.set_xticks(places, names, rotation=45 if turned else 0, ha="right" if turned else "center")
        axes.set_yticks(places, names)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    axes.tick_params(colors=INK, length=0, labelsize=8)
    axes.spines[:].set_color(GREY)


def _commonest(counts: Integers, names: Sequence[str]) -> str:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:10]
    pairs = [divmod(int(place), len(counts)) for place in order if wrong.flat[place]]
    lines = [f"{wrong[true, found]:>6} × {names[true]} taken for {names[found]}" for true, found in pairs]
    return "\n".join(["the commonest confusions:", *lines] if lines else ["no confusions"])


def _labels(name: str, given: ArrayLike, classes: int) -> Integers:
    labels: NDArray[Any] = np.asarray(given)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name} are integers, class numbers, got {labels.dtype}{labels.shape}")
    if labels.ndim != 1:
        raise ValueError(f"{name} are one class number for each example (N,), got shape {labels.shape}")
    if outside := [int(label) for label in (labels.min(initial=0), labels.max(initial=0)) if not 0 <= label < classes]:
        raise ValueError(f"{name} are classes from 0 to {classes - 1}, got {outside[0]}")
    return labels.astype(np.int64)


def _checked(matrix: ArrayLike, class_names: Sequence[str]) -> tuple[Integers, list[str]]:
    counts: NDArray[Any] = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"a confusion matrix is a square, got shape {counts.shape}")
    names = [printable(name, 40) for name in class_names] or [str(number) for number in range(len(counts))]
    if len(names) != len(counts):
        raise ValueError(f"a confusion matrix of {len(counts)} classes got {len(names)} class names")
    return counts, names
