"""CIFAR-10 and CIFAR-100, from their binary archives; the Python ones are pickled, and never read."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_norm.checks import check_choice
from tinygrad_norm.data.checks import check_labels
from tinygrad_norm.data.datasets import ArrayDataset, Split
from tinygrad_norm.data.download import RemoteFile, check_md5, what_to_put
from tinygrad_norm.data.images import rescale
from tinygrad_norm.data.published import published
from tinygrad_norm.dtypes import Array, StrPath

IMAGE_SHAPE = (3, 32, 32)
IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True)
class Release:
    """A binary archive: files of records, each some bytes of labels, then the red, green and blue plane of an image."""

    archive: RemoteFile
    labels: dict[str, tuple[str, ...]]  # what each byte of labels counts, and the names of its classes
    folder: str  # in the archive
    files: dict[str, tuple[str, ...]]
    records: dict[str, int]  # in each file
    pickled: tuple[str, ...]  # what somebody may have in its place


CIFAR10 = Release(
    archive=published("cifar10").files[0],
    labels=published("cifar10").classes,
    folder="cifar-10-batches-bin",
    files={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    records={"train": 10_000, "test": 10_000},
    pickled=("cifar-10-python.tar.gz", "cifar-10-batches-py"),
)
CIFAR100 = Release(
    archive=published("cifar100").files[0],
    labels=published("cifar100").classes,
    folder="cifar-100-binary",
    files={"train": ("train.bin",), "test": ("test.bin",)},
    records={"train": 50_000, "test": 10_000},
    pickled=("cifar-100-python.tar.gz", "cifar-100-python"),
)


def cifar10(folder: StrPath, split: Split = "train", dtype: DTypeLike = np.float32) -> ArrayDataset:
    """Load CIFAR-10 from a folder that holds `cifar-10-binary.tar.gz`, or the .bin files that were in it.

    Returns:
        Images (N, 3, 32, 32) in [0, 1], 50,000 to train and 10,000 to test, and labels (N,) of int64.

    Raises:
        FileNotFoundError: a file is missing; says what to put where.
        ValueError: the archive is not the published one, or a file has a wrong length or label.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009;
        https://www.cs.toronto.edu/~kriz/cifar.html tells the format.
    """
    return _load(CIFAR10, Path(folder), split, "class", dtype)


def cifar100(
    folder: StrPath,
    split: Split = "train",
    labels: Literal["fine", "coarse"] = "fine",
    dtype: DTypeLike = np.float32,
) -> ArrayDataset:
    """Load CIFAR-100 from a folder that holds `cifar-100-binary.tar.gz`, or the .bin files that were in it.

    Args:
        labels: the 100 "fine" classes, or the 20 "coarse" ones.

    Returns:
        Images (N, 3, 32, 32) in [0, 1], 50,000 to train and 10,000 to test, and labels (N,) of int64.

    Raises:
        FileNotFoundError: a file is missing; says what to put where.
        ValueError: the archive is not the published one, or a file has a wrong length or label.

    Source: as for `cifar10`.
    """
    return _load(CIFAR100, Path(folder), split, labels, dtype)


def _load(release: Release, folder: Path, split: str, labels: str, dtype: DTypeLike) -> ArrayDataset:
    check_choice("cifar: split", split, tuple(release.files))
    check_choice("cifar: labels", labels, tuple(release.labels))
    parts = _read(release, folder, split)
    pixels = np.concatenate([records[:, len(release.labels) :] for records in parts])
    targets = np.concatenate([records[:, list(release.labels).index(labels)] for records in parts])
    images = rescale(pixels.reshape(-1, *IMAGE_SHAPE), 255, dtype)
    return ArrayDataset(images, targets.astype(np.int64), release.labels[labels])


def _read(release: Release, folder: Path, split: str) -> list[Array]:
    names, archive = release.files[split], folder / release.archive.name
    places = folder, folder / release.folder
    missing = {place: [name for name in names if not (place / name).is_file()] for place in places}
    place = min(places, key=lambda place: len(missing[place]))
    if not missing[place]:
        return [_records(release, split, place / name) for name in names]
    if archive.is_file():
        check_md5(archive, release.archive)
        with tarfile.open(archive, "r:gz") as tar:  # read where it lies: nothing is unpacked to anywhere
            return [_records(release, split, archive / release.folder / name, tar) for name in names]
    advice = f"put into {folder} {what_to_put([release.archive])}"
    if len(missing[place]) < len(names):
        lacks = ", ".join(missing[place])
        raise FileNotFoundError(f"{place} lacks {lacks}, beside others of its archive: put it there, or {advice}")
    pickled = next((folder / name for name in release.pickled if (folder / name).exists()), None)
    hint = f" ({pickled} is pickled, and could run any code: the binary archive is needed)" if pickled else ""
    raise FileNotFoundError(f"{folder} has no {archive.name} and no {names[0]}{hint}: {advice}")


def _records(release: Release, split: str, path: Path, tar: tarfile.TarFile | None = None) -> Array:
    """Read a file, on the disk or in the archive, as one record a row, after a look at its length and its labels."""
    member = tar and tar.getmember(f"{release.folder}/{path.name}")
    size = member.size if member else path.stat().st_size
    length, count = len(release.labels) + IMAGE_BYTES, release.records[split]
    if size != count * length:
        expected = f"{count:,} records of {length:,} bytes are {count * length:,}"
        raise ValueError(f"{path}: {expected}, but the file has {size:,}")
    stream = tar.extractfile(member) if tar and member else path.open("rb")
    assert stream is not None, f"{path} is no file, in an archive whose MD5 is right"
    with stream:
        records = np.frombuffer(stream.read(), np.uint8).reshape(count, length)
    for column, classes in enumerate(release.labels.values()):
        check_labels(path, records[:, column], count, len(classes))
    return records
