"""MNIST and Fashion-MNIST, from their IDX files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_norm.checks import check_choice
from tinygrad_norm.data.checks import check_labels, describe
from tinygrad_norm.data.datasets import ArrayDataset
from tinygrad_norm.data.download import RemoteFile, what_to_put
from tinygrad_norm.data.idx import read_idx
from tinygrad_norm.data.images import scale

MNIST_FILES = {"train": "train", "test": "t10k"}
MNIST_CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}
_SOURCES = {
    "mnist": ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    "fashion-mnist": (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
}
_PUBLISHED = {
    "mnist": (
        ("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    "fashion-mnist": (
        ("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
}
MNIST_REMOTE = {
    name: tuple(
        RemoteFile(file, size, md5, tuple(source + file for source in _SOURCES[name])) for file, size, md5 in files
    )
    for name, files in _PUBLISHED.items()
}


def mnist(
    folder: str | os.PathLike[str],
    split: Literal["train", "test"] = "train",
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
    check_choice("split", split, tuple(MNIST_FILES))
    check_choice("name", name, tuple(MNIST_CLASSES))
    images_path = _find(Path(folder), f"{MNIST_FILES[split]}-images-idx3-ubyte", name)
    labels_path = _find(Path(folder), f"{MNIST_FILES[split]}-labels-idx1-ubyte", name)
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(f"{images_path}: images are uint8(N, H, W), found {describe(images)}")
    classes = MNIST_CLASSES[name]
    check_labels(labels_path, labels, len(images), len(classes))
    return ArrayDataset(scale(images[:, None], 255, dtype), labels.astype(np.int64), classes)


def _find(folder: Path, stem: str, name: str) -> Path:
    spellings = (stem, stem.replace("-idx", ".idx"))
    for path in (folder / f"{spelling}{suffix}" for suffix in ("", ".gz") for spelling in spellings):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{folder} has no {stem} or {stem}.gz: put the four {name} files there, {what_to_put(MNIST_REMOTE[name])}"
    )
