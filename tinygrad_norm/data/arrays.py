"""A data set of one's own, from NumPy files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_norm.data.checks import check_choice, check_labels, describe
from tinygrad_norm.data.datasets import ArrayDataset
from tinygrad_norm.data.images import scale


def from_arrays(
    folder: str | os.PathLike[str], split: Literal["train", "test"] = "train", dtype: DTypeLike = np.float32
) -> ArrayDataset:
    """Load a data set of one's own from `train_images.npy`, `train_labels.npy`, `test_images.npy`, `test_labels.npy`.

    Images are (N, H, W), which get a channel axis, (N, C, H, W) or (N, F). Those of uint8 are scaled from 0..255 to
    [0, 1]; floating-point ones are taken as they are. Labels are integers (N,), from 0; those of the test images go no
    higher than those of the training images, where these are there.

    Raises:
        FileNotFoundError: a file is missing; says what to put where.
        ValueError: a file is malformed (nothing is unpickled), or the two do not fit together.
    """
    check_choice("split", split, ("train", "test"))
    images_path, labels_path = Path(folder) / f"{split}_images.npy", Path(folder) / f"{split}_labels.npy"
    for path in (images_path, labels_path):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: put {images_path.name} and {labels_path.name} into {folder}")
    images, labels = _read_npy(images_path), _read_npy(labels_path)
    if images.ndim not in (2, 3, 4) or (images.dtype != np.uint8 and images.dtype.kind != "f"):
        allowed = "(N, H, W), (N, C, H, W) or (N, F) of uint8 or floating point"
        raise ValueError(f"{images_path}: images must be {allowed}, found {describe(images)}")
    check_labels(labels_path, labels, len(images), _trained_classes(Path(folder)) if split == "test" else None)
    if images.ndim == 3:
        images = images[:, None]
    return ArrayDataset(scale(images, 255 if images.dtype == np.uint8 else 1, dtype), labels.astype(np.int64))


def _trained_classes(folder: Path) -> int | None:
    """A test label that no training image has would only be noticed at the end of the first epoch."""
    path = folder / "train_labels.npy"
    if not path.is_file():
        return None
    labels = _read_npy(path)
    check_labels(path, labels, labels.size)
    return int(labels.max(initial=-1)) + 1


def _read_npy(path: Path) -> NDArray[Any]:
    """Map an .npy file; too large a shape and pickled objects are refused before anything is allocated."""
    try:
        with np.errstate(over="raise"):
            array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # a damaged header meets NumPy's parser in ways that it does not list
        raise ValueError(f"{path}: not a well-formed .npy file: {error}") from error
    if (size := path.stat().st_size) != array.offset + array.nbytes:
        raise ValueError(f"{path}: {describe(array)} ends at byte {array.offset + array.nbytes}, the file at {size}")
    return np.asarray(array)
