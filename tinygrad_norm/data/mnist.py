"""MNIST and Fashion-MNIST, from their IDX files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_norm.checks import check_choice
from tinygrad_norm.data.checks import check_labels, in_words
from tinygrad_norm.data.datasets import ArrayDataset, Split
from tinygrad_norm.data.download import what_to_put
from tinygrad_norm.data.idx import read_idx
from tinygrad_norm.data.images import rescale
from tinygrad_norm.data.published import published
from tinygrad_norm.dtypes import StrPath

PREFIXES = {"train": "train", "test": "t10k"}
NAMES = "mnist", "fashion-mnist"


def mnist(
    folder: StrPath,
    split: Split = "train",
    name: Literal["mnist", "fashion-mnist"] = "mnist",
    dtype: DTypeLike = np.float32,
) -> ArrayDataset:
    """Load MNIST or Fashion-MNIST from its IDX files in a folder, plain or gzip-compressed.

    The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`; `train-images.idx3-ubyte` and the like are as good, each with or without `.gz`.

    Args:
        folder: where the files lie.
        split: "train" or "test" (the files that begin with t10k).
        name: "mnist" or "fashion-mnist", whichever the folder holds (the file names are the same): it decides the class
            names.
        dtype: of the images, float32 or float64.

    Returns:
        Images (N, 1, H, W) in [0, 1], and labels (N,) of int64.

    Raises:
        FileNotFoundError: a file is missing; says what to put where.
        ValueError: a file is malformed, or the two do not fit together.
    """
    check_choice("mnist: split", split, PREFIXES)
    check_choice("mnist: name", name, NAMES)
    files, classes = published(name)
    images_path, labels_path = [
        _find(Path(folder), f"{PREFIXES[split]}-{stem}-ubyte", f"the four {name} files there, {what_to_put(files)}")
        for stem in ("images-idx3", "labels-idx1")
    ]
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(f"{images_path}: images are uint8(N, H, W), found {in_words(images)}")
    check_labels(labels_path, labels, len(images), len(classes["class"]))
    return ArrayDataset(rescale(images[:, None], 255, dtype), labels.astype(np.int64), classes["class"])


def _find(folder: Path, stem: str, advice: str) -> Path:
    spellings = (stem, stem.replace("-idx", ".idx"))
    for path in (folder / f"{spelling}{suffix}" for suffix in ("", ".gz") for spelling in spellings):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder} has no {stem} or {stem}.gz: put {advice}")
