"""The data sets by name: the one door that the command line uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tinygrad_norm.checks import check_choice, check_integer, did_you_mean
from tinygrad_norm.data.arrays import from_arrays
from tinygrad_norm.data.checks import in_words
from tinygrad_norm.data.cifar import cifar10, cifar100
from tinygrad_norm.data.datasets import ArrayDataset, Split
from tinygrad_norm.data.digits import digits
from tinygrad_norm.data.download import fetch
from tinygrad_norm.data.folder import image_folder
from tinygrad_norm.data.images import resize
from tinygrad_norm.data.mnist import mnist
from tinygrad_norm.data.published import published
from tinygrad_norm.dtypes import StrPath

READERS: dict[str, Callable[..., ArrayDataset]] = {
    "digits": lambda folder, split: digits(split),
    "mnist": mnist,
    "fashion-mnist": partial(mnist, name="fashion-mnist"),
    "cifar10": cifar10,
    "cifar100": cifar100,
}
names = tuple(READERS)


def load(
    name_or_folder: StrPath,
    split: Split = "train",
    *,
    folder: StrPath = "datasets",
    image_size: int | None = None,
    download: bool = False,
) -> ArrayDataset:
    """Load a data set of images by its name, or one's own from a folder.

    Args:
        name_or_folder: "digits", "mnist", "fashion-mnist", "cifar10" or "cifar100"; or a folder, with
            `train_images.npy` and so on as `from_arrays` takes them, or with images as `image_folder` takes them.
        split: "train" or "test".
        folder: holds a folder of each named data set: `datasets/mnist/train-images-idx3-ubyte.gz`.
        image_size: make the images square, this many pixels a side, by bilinear interpolation; None keeps their size.
        download: fetch the files of a named data set if they are missing.

    Returns:
        Images (N, C, H, W) of float32, in [0, 1] unless an array of one's own says otherwise, and labels (N,) of int64.

    Raises:
        DownloadError: the files could not be fetched; says what to put where.
        FileNotFoundError: a file is missing; says what to put where.
        ValueError: the name is unknown, or a file is not what it should be.

    Example:
        >>> data.load("digits", "test").inputs.shape
        (355, 1, 8, 8)
    """
    check_choice("load: split", split, ("train", "test"))
    if image_size is not None:
        image_size = check_integer("load: image_size", image_size, 1)
    if name_or_folder in READERS:
        dataset = _load_named(str(name_or_folder), split, Path(folder), download)
    else:
        dataset = _load_folder(name_or_folder, split, image_size)
    if image_size is None:
        return dataset
    if dataset.inputs.ndim != 4:
        raise ValueError(f"image_size is for images (N, C, H, W), but {name_or_folder} has {in_words(dataset.inputs)}")
    return dataclasses.replace(dataset, inputs=resize(dataset.inputs, image_size))


def _load_named(name: str, split: Split, folder: Path, download: bool) -> ArrayDataset:
    try:
        return READERS[name](folder / name, split)
    except FileNotFoundError:
        if not download:
            raise
    for file in published(name).files:
        fetch(file, folder / name)
    return READERS[name](folder / name, split)


def _load_folder(given: StrPath, split: Split, image_size: int | None) -> ArrayDataset:
    folder = Path(given)
    if not folder.is_dir():
        known = f"the known ones are {', '.join(names)}"
        raise ValueError(f"no data set and no folder is named {str(given)!r}; {known}{did_you_mean(str(given), names)}")
    if any(folder.glob("*_images.npy")):
        return from_arrays(folder, split)
    if (folder / "train").is_dir():
        return image_folder(folder, split, image_size)
    raise FileNotFoundError(
        f"{folder} holds no data set: put train_images.npy, train_labels.npy, test_images.npy and test_labels.npy "
        f"there, or images as {folder / 'train' / 'CLASS' / '1.png'} and {folder / 'test' / 'CLASS' / '1.png'}"
    )
