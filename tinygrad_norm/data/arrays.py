"""A data set of one's own, from NumPy files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_norm.checks import check_choice
from tinygrad_norm.data.checks import check_labels, in_words
from tinygrad_norm.data.datasets import ArrayDataset, Split
from tinygrad_norm.data.images import rescale
from tinygrad_norm.dtypes import Array, StrPath, beyond

CHANNELS = (1, 3, 4)
"""How many an image has: grey, or red, green and blue, perhaps with how opaque it is."""


def from_arrays(folder: StrPath, split: Split = "train", dtype: DTypeLike = np.float32) -> ArrayDataset:
    """Load a data set of one's own from `train_images.npy`, `train_labels.npy`, `test_images.npy`, `test_labels.npy`.

    Images are (N, H, W), which get a channel axis, (N, C, H, W) or (N, F). Those of uint8 are scaled from 0..255 to
    [0, 1]; floating-point ones are taken as they are. Labels are integers (N,), from 0; those of the test images go no
    higher than those of the training images, where these are there.

    Warns:
        UserWarning: no training image is of some class below the highest.

    Raises:
        FileNotFoundError: a file is missing; says what to put where.
        ValueError: a file is malformed (nothing is unpickled), the two do not fit together, images are not finite,
            hold values beyond the dtype or have their channels last, or there are more classes than training images.

    Example:
        >>> np.save("train_images.npy", np.zeros((6, 8, 8), "uint8"))
        >>> np.save("train_labels.npy", np.arange(6) % 3)
        >>> data.from_arrays(".").inputs.shape
        (6, 1, 8, 8)
    """
    check_choice("from_arrays: split", split, ("train", "test"))
    images_path, labels_path = Path(folder) / f"{split}_images.npy", Path(folder) / f"{split}_labels.npy"
    for path in (images_path, labels_path):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: put {images_path.name} and {labels_path.name} into {folder}")
    images, labels = _read_npy(images_path), _read_npy(labels_path)
    if images.ndim not in (2, 3, 4) or (images.dtype != np.uint8 and images.dtype.kind != "f"):
        allowed = "(N, H, W), (N, C, H, W) or (N, F) of uint8 or floating point"
        raise ValueError(f"{images_path}: images are {allowed}, found {in_words(images)}")
    check_labels(labels_path, labels, len(images), _trained_classes(Path(folder)) if split == "test" else None)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim == 4 and images.shape[3] in CHANNELS and images.shape[1] not in CHANNELS:
        raise ValueError(
            f"{images_path}: {in_words(images)} looks like (N, H, W, C); np.moveaxis(images, -1, 1) puts the channels "
            f"first"
        )
    if not (finite := np.isfinite(images)).all():
        raise ValueError(f"{images_path}: images are finite, found {images[~finite][0]} in some")
    if lost := beyond(images, dtype):
        raise ValueError(f"{images_path}: {in_words(images)} {lost}")
    if split == "train":
        _check_classes(labels_path, labels)
    return ArrayDataset(rescale(images, 255 if images.dtype == np.uint8 else 1, dtype), labels.astype(np.int64))


def _check_classes(path: Path, labels: Array) -> None:
    """Refuse labels that count no classes, and name classes without an image."""
    present, classes = np.unique(labels), _classes(labels)
    if classes == len(present):
        return
    advice = "np.unique(labels, return_inverse=True)[1] numbers the classes from 0 without gaps"
    if classes > len(labels):
        raise ValueError(f"{path}: {len(labels)} images cannot be of {classes:,} classes, 0 to {classes - 1}; {advice}")
    missing = np.setdiff1d(np.arange(classes), present)
    names = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
    warnings.warn(f"{path}: {len(missing)} of {classes} classes have no image: {names}; {advice}", stacklevel=3)


def _trained_classes(folder: Path) -> int | None:
    """Return the number of classes of the training images, where these are there.

    A test label that no training image has would only be noticed at the end of the first epoch.
    """
    path = folder / "train_labels.npy"
    if not path.is_file():
        return None
    labels = _read_npy(path)
    check_labels(path, labels, labels.size)
    return _classes(labels)


def _classes(labels: Array) -> int:
    return int(labels.max()) + 1 if labels.size else 0


def _read_npy(path: Path) -> Array:
    """Map an .npy file; too large a shape and pickled objects are refused before anything is allocated."""
    try:
        with np.errstate(over="raise"):
            array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # a damaged header meets NumPy's parser in ways that it does not list
        raise ValueError(f"{path}: not a well-formed .npy file: {error}") from error
    if (size := path.stat().st_size) != array.offset + array.nbytes:
        raise ValueError(f"{path}: {in_words(array)} ends at byte {array.offset + array.nbytes}, the file at {size}")
    return np.asarray(array)
