"""What the files of a data set hold: labels, and arrays in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinygrad_norm.dtypes import Array


def check_labels(path: Path, labels: Array, count: int, num_classes: int | None = None) -> None:
    """Refuse what are not `count` integer labels from 0, below `num_classes` where that is known."""
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise ValueError(f"{path}: labels are integers ({count},), one per image, found {in_words(labels)}")
    highest = np.iinfo(np.int64).max if num_classes is None else num_classes - 1
    outside = labels[(labels < 0) | (labels > highest)]
    if outside.size:
        allowed = "0 or more" if num_classes is None else f"0 to {highest}"
        raise ValueError(f"{path}: labels are {allowed}, found {outside[0]}")


def in_words(array: Array) -> str:
    """Return an array's type and shape, as error messages tell them."""
    return f"{array.dtype}{array.shape}"
