"""Data sets in memory: the digits that ship with the package, MNIST and its kin, and a person's own arrays."""

from __future__ import annotations

import dataclasses
import os
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_norm.data.checks import whole_number
from tinygrad_norm.data.idx import read_idx

Index = int | slice | list[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]


class Dataset(Protocol):
    """What a loader needs: a length, and the arrays of the examples that an array of indices names."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: NDArray[np.intp], /) -> tuple[NDArray[Any], ...]: ...


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ArrayDataset:
    """Inputs and their targets, one example per entry of the first axis.

    `dataset[index]` indexes both arrays as NumPy does and returns the pair.

    Args:
        class_names: the name of each class, where the targets are labels.

    Raises:
        TypeError: one of them is not a NumPy array.
        ValueError: they differ in length, or have no first axis.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, array in (("inputs", self.inputs), ("targets", self.targets)):
            if not isinstance(array, np.ndarray):
                raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}; np.asarray makes one")
            if array.ndim == 0:
                raise ValueError(f"{name} must have a first axis that counts the examples, got shape ()")
        if len(self.inputs) != len(self.targets):
            raise ValueError(f"inputs and targets must be as many, got {len(self.inputs)} and {len(self.targets)}")

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: Index) -> tuple[NDArray[Any], NDArray[Any]]:
        return self.inputs[index], self.targets[index]

    def __repr__(self) -> str:
        return f"ArrayDataset(inputs={_describe(self.inputs)}, targets={_describe(self.targets)})"

    @property
    def num_classes(self) -> int:
        """The number of classes: of the names, or else the largest label plus one.

        Raises:
            TypeError: the targets are not labels.
        """
        if not self._has_labels:
            raise TypeError(
                f"classes are counted from integer labels (N,), but the targets are {_describe(self.targets)}"
            )
        if self.class_names or len(self) == 0:
            return len(self.class_names)
        return int(self.targets.max()) + 1

    def split(self, every: int = 5) -> tuple[ArrayDataset, ArrayDataset]:
        """Hold out every `every`-th example of each class; the rest is the first part, the held out is the second.

        Nothing is drawn by chance: the examples keep their order, and the same data are always split alike. Targets
        that are not labels count as one class.
        """
        every = whole_number("every", every, 2)
        labels = self.targets if self._has_labels else np.zeros(len(self), np.int64)
        held_out = np.zeros(len(self), np.bool_)
        for label in np.unique(labels):
            held_out[np.flatnonzero(labels == label)[every - 1 :: every]] = True
        return self._take(~held_out), self._take(held_out)

    @property
    def _has_labels(self) -> bool:
        return self.targets.ndim == 1 and self.targets.dtype.kind in "iu"

    def _take(self, index: Index) -> ArrayDataset:
        return dataclasses.replace(self, inputs=self.inputs[index], targets=self.targets[index])


def digits(
    split: Literal["train", "test", "all"] = "train", image_size: int = 8, dtype: DTypeLike = np.float32
) -> ArrayDataset:
    """Load the 1,797 handwritten digits that ship with the package.

    Of each class every fifth image is a test image: 1,442 to train, 355 to test, always the same. (The writers are not
    told apart, so the test images are by the writers of the training images.)

    Args:
        split: "train", "test", or "all" for the 1,797 in their own order.
        image_size: 8 or more; above 8, the images are enlarged by bilinear interpolation.
        dtype: of the images, float32 or float64.

    Returns:
        Images (N, 1, image_size, image_size) in [0, 1], and labels (N,) of int64.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
        1998, CC BY 4.0; digits.md tells more.
    """
    _check_choice("split", split, ("train", "test", "all"))
    image_size = whole_number("image_size", image_size, 8)
    with (
        resources.files(__package__).joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        images = _scale(arrays["images"][:, None], 16, dtype)
        labels = arrays["labels"].astype(np.int64)
    whole = ArrayDataset(_enlarge(images, image_size), labels, tuple("0123456789"))
    if split == "all":
        return whole
    train, test = whole.split(every=5)
    return train if split == "train" else test


MNIST_FILES = {"train": "train", "test": "t10k"}
MNIST_SOURCES = {
    "mnist": "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "fashion-mnist": "https://github.com/zalandoresearch/fashion-mnist",
}
MNIST_CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
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
    _check_choice("split", split, tuple(MNIST_FILES))
    _check_choice("name", name, tuple(MNIST_SOURCES))
    images_path = _find_mnist(Path(folder), f"{MNIST_FILES[split]}-images-idx3-ubyte", name)
    labels_path = _find_mnist(Path(folder), f"{MNIST_FILES[split]}-labels-idx1-ubyte", name)
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(f"{images_path}: images must be uint8(N, H, W), found {_describe(images)}")
    classes = MNIST_CLASSES[name]
    _check_labels(labels_path, labels, len(images), len(classes))
    return ArrayDataset(_scale(images[:, None], 255, dtype), labels.astype(np.int64), classes)


def from_arrays(
    folder: str | os.PathLike[str], split: Literal["train", "test"] = "train", dtype: DTypeLike = np.float32
) -> ArrayDataset:
    """Load a data set of one's own from `train_images.npy`, `train_labels.npy`, `test_images.npy`, `test_labels.npy`.

    Images are (N, H, W), which get a channel axis, (N, C, H, W) or (N, F). Those of uint8 are scaled from 0..255 to
    [0, 1]; floating-point ones are taken as they are. Labels are integers (N,), from 0.

    Raises:
        FileNotFoundError: a file is missing; says what to put where.
        ValueError: a file is malformed (nothing is unpickled), or the two do not fit together.
    """
    _check_choice("split", split, ("train", "test"))
    images_path, labels_path = Path(folder) / f"{split}_images.npy", Path(folder) / f"{split}_labels.npy"
    for path in (images_path, labels_path):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: put {images_path.name} and {labels_path.name} into {folder}")
    images, labels = _read_npy(images_path), _read_npy(labels_path)
    if images.ndim not in (2, 3, 4) or (images.dtype != np.uint8 and images.dtype.kind != "f"):
        allowed = "(N, H, W), (N, C, H, W) or (N, F) of uint8 or floating point"
        raise ValueError(f"{images_path}: images must be {allowed}, found {_describe(images)}")
    _check_labels(labels_path, labels, len(images))
    if images.ndim == 3:
        images = images[:, None]
    return ArrayDataset(_scale(images, 255 if images.dtype == np.uint8 else 1, dtype), labels.astype(np.int64))


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype}{array.shape}"


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {value!r}")


def _check_labels(path: Path, labels: NDArray[Any], count: int, num_classes: int | None = None) -> None:
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise ValueError(f"{path}: labels must be integers ({count},), one per image, found {_describe(labels)}")
    highest = np.iinfo(np.int64).max if num_classes is None else num_classes - 1
    outside = labels[(labels < 0) | (labels > highest)]
    if outside.size:
        allowed = "0 or more" if num_classes is None else f"0 to {highest}"
        raise ValueError(f"{path}: labels must be {allowed}, found {outside[0]}")


def _scale(images: NDArray[Any], highest: int, dtype: DTypeLike) -> NDArray[Any]:
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    scaled: NDArray[Any] = np.divide(images, highest, dtype=dtype, order="C")
    return scaled


def _enlarge(images: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize square images (..., n, n) to (..., size, size), each axis by one matrix of interpolation weights."""
    n = images.shape[-1]
    centre = ((np.arange(size) + 0.5) * n / size - 0.5).clip(0, n - 1)
    weights = (1 - np.abs(centre[:, None] - np.arange(n))).clip(0).astype(images.dtype)
    enlarged: NDArray[Any] = weights @ images @ weights.T
    return enlarged


def _find_mnist(folder: Path, stem: str, name: str) -> Path:
    spellings = (stem, stem.replace("-idx", ".idx"))
    for path in (folder / f"{spelling}{suffix}" for suffix in ("", ".gz") for spelling in spellings):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{folder} has no {stem} or {stem}.gz: put the four {name} files there, as they come from {MNIST_SOURCES[name]}"
    )


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
        raise ValueError(f"{path}: {_describe(array)} ends at byte {array.offset + array.nbytes}, the file at {size}")
    return np.asarray(array)
