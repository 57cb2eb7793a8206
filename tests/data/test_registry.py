from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.data import DownloadError, digits, load, mnist, registry, write_idx

pixels = np.random.default_rng(0).integers(256, size=(3, 28, 28), dtype=np.uint8)


def write_mnist(folder: Path, split: str = "train") -> None:
    folder.mkdir(parents=True)
    write_idx(folder / f"{split}-images-idx3-ubyte.gz", pixels)
    write_idx(folder / f"{split}-labels-idx1-ubyte.gz", np.array([3, 1, 4], np.uint8))


@pytest.mark.parametrize("split", ["train", "test"])
def test_digits_need_no_files(split):
    dataset = load("digits", split, folder="nowhere", download=True)
    np.testing.assert_array_equal(dataset.inputs, digits(split).inputs, strict=True)
    assert dataset.class_names == tuple("0123456789")


@pytest.mark.parametrize("size", [4, 8, 32])
def test_image_size_resizes(size):
    dataset = load("digits", "test", image_size=size)
    assert dataset.inputs.shape == (355, 1, size, size)
    assert dataset.inputs.dtype == np.float32
    np.testing.assert_array_equal(dataset.targets, digits("test").targets)
    if size >= 8:
        np.testing.assert_array_equal(dataset.inputs, digits("test", image_size=size).inputs)


def test_named_data_sets_lie_in_folders_of_their_names(tmp_path):
    write_mnist(tmp_path / "mnist")
    write_mnist(tmp_path / "fashion-mnist", "t10k")
    assert load("mnist", folder=tmp_path).class_names[3] == "3"
    fashion = load("fashion-mnist", "test", folder=str(tmp_path), image_size=32)
    assert fashion.class_names[3] == "Dress"
    assert fashion.inputs.shape == (3, 1, 32, 32)
    np.testing.assert_array_equal(load("mnist", folder=tmp_path).inputs, mnist(tmp_path / "mnist").inputs, strict=True)


@pytest.mark.parametrize(
    ("name", "files"),
    [("mnist", 4), ("fashion-mnist", 4), ("cifar10", 1), ("cifar100", 1)],
)
def test_missing_files_are_named_with_sizes_source_and_place(tmp_path, name, files):
    with pytest.raises(FileNotFoundError) as error:
        load(name, folder=tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / name} has no ")
    assert len(re.findall(r"[\w-]+\.gz \([\d,]+ bytes, MD5 [0-9a-f]{32}\)|\.tar\.gz \(", message)) == files
    assert "https://" in message
    assert "--download" in message


def test_download_fetches_what_is_missing_and_then_loads(tmp_path, monkeypatch):
    fetched = []

    def fetch(file, folder):
        fetched.append((file.name, folder))
        if len(fetched) == 4:
            write_mnist(folder)

    monkeypatch.setattr(registry, "fetch", fetch)
    for _ in range(2):
        assert len(load("mnist", folder=tmp_path, download=True)) == 3
    names = [f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    assert fetched == [(name, tmp_path / "mnist") for name in names]


def test_nothing_is_fetched_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "fetch", lambda *arguments: pytest.fail("fetched"))
    with pytest.raises(FileNotFoundError, match=r"has no cifar-10-binary.tar.gz"):
        load("cifar10", folder=tmp_path)


def test_a_failed_download_is_told(tmp_path, monkeypatch):
    def fetch(file, folder):
        raise DownloadError("no network")

    monkeypatch.setattr(registry, "fetch", fetch)
    with pytest.raises(DownloadError, match="no network"):
        load("cifar100", folder=tmp_path, download=True)


def test_arrays_of_ones_own(tmp_path):
    np.save(tmp_path / "train_images.npy", pixels)
    np.save(tmp_path / "train_labels.npy", np.arange(3))
    dataset = load(tmp_path, image_size=14)
    assert dataset.inputs.shape == (3, 1, 14, 14)
    assert dataset.targets.tolist() == [0, 1, 2]
    with pytest.raises(FileNotFoundError, match=r"test_images.npy is missing"):
        load(tmp_path, "test")


def test_vectors_have_no_image_size(tmp_path):
    np.save(tmp_path / "train_images.npy", np.zeros((3, 5)))
    np.save(tmp_path / "train_labels.npy", np.arange(3))
    assert load(tmp_path).inputs.shape == (3, 5)
    with pytest.raises(ValueError, match=r"image_size is for images \(N, C, H, W\), but .* has float32\(3, 5\)"):
        load(tmp_path, image_size=8)


def test_a_path_is_a_folder_even_where_its_name_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    with pytest.raises(FileNotFoundError, match=r"mnist holds no data set: put train_images.npy, .*CLASS"):
        load(Path("mnist"))


@pytest.mark.parametrize(
    ("given", "hint"), [("minst", "; did you mean mnist?"), ("CIFAR10", "; did you mean cifar10?"), ("qqq", "cifar100")]
)
def test_an_unknown_name_gets_the_nearest_and_all(given, hint):
    with pytest.raises(ValueError, match=f"no data set and no folder is named '{given}'; the known ones are ") as error:
        load(given)
    assert str(error.value).endswith(hint)
    assert all(name in str(error.value) for name in registry.names)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "all"}, ValueError, "split is 'train' or 'test', got 'all'"),
        ({"image_size": 0}, ValueError, "image_size is an integer of at least 1, got 0"),
        ({"image_size": "32"}, TypeError, "image_size is an integer"),
    ],
)
def test_impossible_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        load("digits", **options)
