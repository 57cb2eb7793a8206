from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.data import ArrayDataset, cifar, cifar10, cifar100
from tinygrad_norm.data.cifar import CIFAR10, CIFAR100, Release

loaders: dict[str, Callable[..., ArrayDataset]] = {"CIFAR10": cifar10, "CIFAR100": cifar100}


@pytest.fixture(params=["CIFAR10", "CIFAR100"])
def release(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Release:
    """The format of one of them, with five records a file."""
    return shrink(request.param, monkeypatch)


def shrink(name: str, monkeypatch: pytest.MonkeyPatch, **changes: object) -> Release:
    small: Release = dataclasses.replace(getattr(cifar, name), records={"train": 5, "test": 5}, **changes)
    monkeypatch.setattr(cifar, name, small)
    return small


def load(release: Release, folder: Path, split: str = "train", **options: object) -> ArrayDataset:
    return loaders["CIFAR10" if len(release.labels) == 1 else "CIFAR100"](folder, split, **options)


def records(release: Release, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = [rng.integers(len(names), size=(5, 1)) for names in release.labels.values()]
    return np.concatenate([*labels, rng.integers(256, size=(5, 3072))], axis=1).astype(np.uint8)


def write(release: Release, folder: Path, split: str = "train") -> list[np.ndarray]:
    folder.mkdir(exist_ok=True)
    contents = [records(release, seed) for seed in range(len(release.files[split]))]
    for name, content in zip(release.files[split], contents, strict=True):
        (folder / name).write_bytes(content.tobytes())
    return contents


def archive(release: Release) -> bytes:
    """A .tar.gz laid out as the published one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for names in release.files.values():
            for seed, name in enumerate(names):
                content = records(release, seed).tobytes()
                member = tarfile.TarInfo(f"{release.folder}/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


def publish(name: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> Release:
    """Make an archive the one whose size and MD5 are known."""
    remote = getattr(cifar, name).archive
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return shrink(name, monkeypatch, archive=dataclasses.replace(remote, size=len(content), md5=md5))


def test_a_record_is_its_labels_then_three_planes_row_by_row(tmp_path, monkeypatch):
    release = shrink("CIFAR10", monkeypatch)
    (content,) = write(release, tmp_path, "test")
    dataset = cifar10(tmp_path, "test")
    assert repr(dataset) == "ArrayDataset(inputs=float32(5, 3, 32, 32), targets=int64(5,))"
    for record, image, label in zip(content, dataset.inputs, dataset.targets, strict=True):
        assert label == record[0]
        for channel, row, column in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (2, 31, 31), (1, 7, 19)]:
            byte = record[1 + 1024 * channel + 32 * row + column]
            assert image[channel, row, column] == np.float32(byte / 255)
    assert dataset.inputs.flags.c_contiguous


@pytest.mark.parametrize(("labels", "byte", "classes"), [("coarse", 0, 20), ("fine", 1, 100)])
def test_cifar100_has_two_labels(tmp_path, monkeypatch, labels, byte, classes):
    release = shrink("CIFAR100", monkeypatch)
    (content,) = write(release, tmp_path)
    dataset = cifar100(tmp_path, labels=labels, dtype=np.float64)
    assert dataset.targets.tolist() == content[:, byte].tolist()
    assert dataset.num_classes == classes
    np.testing.assert_array_equal(dataset.inputs.reshape(5, -1), content[:, 2:] / 255, strict=True)


def test_the_training_files_follow_each_other(tmp_path, release):
    contents = write(release, tmp_path)
    images = load(release, tmp_path).inputs.reshape(-1, 3072)
    expected = np.concatenate(contents)[:, len(release.labels) :] / 255
    np.testing.assert_array_equal(images, expected.astype(np.float32), strict=True)


def test_files_may_lie_in_the_folder_that_the_archive_makes(tmp_path, release):
    (content,) = write(release, tmp_path / release.folder, "test")
    assert load(release, tmp_path, "test").targets.tolist() == content[:, len(release.labels) - 1].tolist()


def test_the_archive_is_read_where_it_lies(tmp_path, monkeypatch, release):
    name = "CIFAR10" if release.folder == CIFAR10.folder else "CIFAR100"
    release = publish(name, archive(release), monkeypatch)
    (tmp_path / release.archive.name).write_bytes(archive(release))
    write(release, tmp_path / "plain")
    for split in ("train", "test"):
        write(release, tmp_path / "plain", split)
        expected, found = load(release, tmp_path / "plain", split), load(release, tmp_path, split)
        np.testing.assert_array_equal(found.inputs, expected.inputs, strict=True)
        np.testing.assert_array_equal(found.targets, expected.targets, strict=True)
    assert {path.name for path in tmp_path.iterdir()} == {release.archive.name, "plain"}


def test_a_stray_file_does_not_hide_the_archive(tmp_path, monkeypatch):
    release = publish("CIFAR10", archive(shrink("CIFAR10", monkeypatch)), monkeypatch)
    (tmp_path / release.archive.name).write_bytes(archive(release))
    (tmp_path / "data_batch_1.bin").write_bytes(b"stray")
    assert len(cifar10(tmp_path)) == 25


@pytest.mark.parametrize("damage", ["bit", "short"])
def test_an_archive_that_is_not_the_published_one_is_refused(tmp_path, monkeypatch, damage):
    content = archive(shrink("CIFAR10", monkeypatch))
    release = publish("CIFAR10", content, monkeypatch)
    damaged = content[:-1] if damage == "short" else content[:-1] + bytes([content[-1] ^ 1])
    (tmp_path / release.archive.name).write_bytes(damaged)
    found = "has MD5" if damage == "bit" else f"has {len(damaged):,} bytes"
    with pytest.raises(ValueError, match=rf"cifar-10-binary.tar.gz: {found}.* delete it and fetch it again"):
        cifar10(tmp_path)


@pytest.mark.parametrize("change", [-1, 1, -3073])
def test_a_file_of_another_length_is_refused(tmp_path, release, change):
    write(release, tmp_path)
    path = tmp_path / release.files["train"][-1]
    whole = path.read_bytes()
    path.write_bytes(whole[:change] if change < 0 else whole + bytes(change))
    length = 3072 + len(release.labels)
    records = f"5 records of {length:,} bytes are {5 * length:,}"
    with pytest.raises(ValueError, match=rf"{path.name}: {records}, but the file has {len(whole) + change:,}"):
        load(release, tmp_path)


@pytest.mark.parametrize(("name", "byte", "classes"), [("CIFAR10", 0, 10), ("CIFAR100", 0, 20), ("CIFAR100", 1, 100)])
def test_a_label_out_of_range_is_refused_whichever_is_asked_for(tmp_path, monkeypatch, name, byte, classes):
    release = shrink(name, monkeypatch)
    (content,) = write(release, tmp_path, "test")
    content[3, byte] = classes
    path = tmp_path / release.files["test"][0]
    path.write_bytes(content.tobytes())
    with pytest.raises(ValueError, match=f"{path.name}: labels are 0 to {classes - 1}, found {classes}"):
        load(release, tmp_path, "test")


def test_a_missing_file_beside_others_is_named(tmp_path, monkeypatch):
    write(shrink("CIFAR10", monkeypatch), tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lacks data_batch_3.bin, beside others of its archive: put it there, or put into .*"
    ):
        cifar10(tmp_path)


@pytest.mark.parametrize(("load", "size"), [(cifar10, "170,052,171"), (cifar100, "168,513,733")])
def test_an_empty_folder_is_told_what_to_put_where(tmp_path, load, size):
    archive = r"cifar-10+-binary.tar.gz"
    with pytest.raises(
        FileNotFoundError,
        match=rf"has no {archive} and no t.*: put into .* {archive} \({size} bytes, MD5 \w{{32}}\), as they come from "
        r"https://www.cs.toronto.edu/~kriz/; .* --download",
    ) as error:
        load(tmp_path, "test")
    assert str(tmp_path) in str(error.value)


def test_the_pickled_archive_is_told_from_the_binary_one(tmp_path, release):
    for name in release.pickled:
        (tmp_path / name).mkdir()
        with pytest.raises(
            FileNotFoundError, match=f"{name} is pickled, and could run any code: the binary archive is needed"
        ):
            load(release, tmp_path)
        (tmp_path / name).rmdir()


def test_the_published_test_split_has_ten_thousand_records(tmp_path):
    content = np.zeros((10_000, 3073), np.uint8)
    content[:, 0] = np.arange(10_000) % 10
    (tmp_path / "test_batch.bin").write_bytes(content.tobytes())
    dataset = cifar10(tmp_path, "test")
    assert len(dataset) == 10_000
    np.testing.assert_array_equal(dataset.targets, content[:, 0])


def test_the_classes_are_those_of_the_data_sets_own_lists():
    assert CIFAR10.labels["class"][3] == "cat"
    assert [len(names) for names in CIFAR100.labels.values()] == [20, 100]
    for names in (*CIFAR10.labels.values(), *CIFAR100.labels.values()):
        assert len(set(names)) == len(names)
        assert sorted(names) == list(names)
    assert {release.records["train"] * len(release.files["train"]) for release in (CIFAR10, CIFAR100)} == {50_000}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split is 'train' or 'test', got 'all'"),
        ({"labels": "class"}, "labels is 'coarse' or 'fine', got 'class'"),
    ],
)
def test_unknown_choices_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        cifar100(tmp_path, **options)
