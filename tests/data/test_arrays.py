from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.data import from_arrays

pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4) * 11
labels = np.array([1, 0], np.uint8)


def write_arrays(folder: Path, images: np.ndarray, labels: np.ndarray, split: str = "train") -> None:
    np.save(folder / f"{split}_images.npy", images)
    np.save(folder / f"{split}_labels.npy", labels)


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_of_bytes_are_scaled_and_get_a_channel_axis(tmp_path, split):
    write_arrays(tmp_path, np.asfortranarray(pixels), np.array([1, 0], np.int16), split)
    dataset = from_arrays(tmp_path, split)
    np.testing.assert_array_equal(dataset.inputs, (pixels[:, None] / 255).astype(np.float32), strict=True)
    np.testing.assert_array_equal(dataset.targets, np.array([1, 0], np.int64), strict=True)
    assert type(dataset.inputs) is type(dataset.targets) is np.ndarray
    assert dataset.inputs.flags.c_contiguous
    assert dataset.num_classes == 2


def test_images_beyond_the_dtype_are_refused(tmp_path):
    images = np.ones((2, 5))
    images[1, 3] = -1e300
    write_arrays(tmp_path, images, labels)
    with pytest.raises(ValueError, match=r"train_images\.npy: float64\(2, 5\) holds -1e\+300, which is beyond float32"):
        from_arrays(tmp_path)
    np.testing.assert_array_equal(from_arrays(tmp_path, dtype="float64").inputs, images, strict=True)


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 4, 4)])
@pytest.mark.parametrize("stored", ["<f8", ">f4", "<f2"])
def test_floating_point_images_are_taken_as_they_are(tmp_path, shape, stored):
    images = np.random.default_rng(0).normal(scale=100, size=shape).astype(stored)
    write_arrays(tmp_path, images, labels)
    np.testing.assert_array_equal(from_arrays(tmp_path).inputs, images.astype(np.float32), strict=True)
    np.testing.assert_array_equal(from_arrays(tmp_path, dtype="float64").inputs, images.astype(np.float64), strict=True)


def test_a_missing_array_says_what_to_put_where(tmp_path):
    np.save(tmp_path / "test_images.npy", pixels)
    with pytest.raises(FileNotFoundError, match=r"test_labels.npy is missing: put test_images.npy and test_labels.npy"):
        from_arrays(tmp_path, "test")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (pixels.astype(np.int64), labels, r"train_images.npy: images are .* found int64\(2, 3, 4\)"),
        (np.zeros(2, np.float32), labels, r"found float32\(2,\)"),
        (pixels, np.zeros(2), r"train_labels.npy: labels are integers \(2,\), .* found float64\(2,\)"),
        (pixels, np.zeros((2, 1), np.int64), r"found int64\(2, 1\)"),
        (pixels, np.array([0, -7]), "labels are 0 or more, found -7"),
        (np.zeros((2, 16, 16, 3), np.uint8), labels, r"\(N, H, W, C\); np.moveaxis\(images, -1, 1\)"),
        (np.float32([[0, 1], [np.nan, 1]]), labels, "images are finite, found nan"),
        (np.float16([[0, 1], [-np.inf, 1]]), labels, "images are finite, found -inf"),
        (pixels, np.array([0, 10**9]), "2 images cannot be of 1,000,000,001 classes"),
        (pixels, np.array([1, 2]), "2 images cannot be of 3 classes, 0 to 2; np.unique"),
        (pixels, np.array([0, 1 << 63], np.uint64), "labels are 0 or more, found 9223372036854775808"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, images, labels, message):
    write_arrays(tmp_path, images, labels)
    with pytest.raises(ValueError, match=message):
        from_arrays(tmp_path)


def npy(shape: object, data: bytes, descr: str = "|u1") -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


malformed = {
    "empty": b"",
    "not .npy": b"something else altogether",
    "a zip archive": b"PK\x03\x04" + bytes(100),
    "cut in the header": npy((2, 3, 4), bytes(24))[:20],
    "header that is no Python": npy((2, 3, 4), bytes(24)).replace(b"{", b"("),
    "one byte short": npy((2, 3, 4), bytes(23)),
    "one byte long": npy((2, 3, 4), bytes(25)),
    "more than the file": npy((2, 300, 400), bytes(24)),
    "more than any memory": npy((1 << 62, 4), bytes(24)),
    "more than any integer": npy((10**30,), bytes(24)),
    "negative": npy((-2, -3, 4), bytes(24)),
    "pickled objects": npy((3,), bytes(24), "|O"),
}


@pytest.mark.parametrize("content", malformed.values(), ids=malformed.keys())
def test_a_malformed_array_is_refused_by_name(tmp_path, content):
    write_arrays(tmp_path, pixels, labels)
    (tmp_path / "train_images.npy").write_bytes(content)
    with (
        warnings.catch_warnings(record=True, action="always") as warned,
        pytest.raises(ValueError, match=r"train_images\.npy: (not a well-formed .npy file|uint8)"),
    ):
        from_arrays(tmp_path)
    assert warned == []


def test_the_same_array_well_formed_is_read(tmp_path):
    write_arrays(tmp_path, pixels, labels)
    (tmp_path / "train_images.npy").write_bytes(npy((2, 3, 4), pixels.tobytes()))
    np.testing.assert_array_equal(from_arrays(tmp_path).inputs[:, 0], pixels.astype(np.float32) / np.float32(255))


def test_classes_without_an_image_are_named(tmp_path):
    write_arrays(tmp_path, np.zeros((9, 2, 2), np.uint8), np.array([0, 8] + [4] * 7))
    with pytest.warns(UserWarning, match=r"6 of 9 classes have no image: 1, 2, 3, 5, 6, \.\.\.; np\.unique"):
        assert from_arrays(tmp_path).num_classes == 9


def test_a_test_label_that_no_training_image_has_is_refused(tmp_path):
    write_arrays(tmp_path, np.zeros((4, 3, 4), np.uint8), np.arange(4, dtype=np.uint8))
    write_arrays(tmp_path, pixels, np.array([3, 0]), "test")
    assert from_arrays(tmp_path, "test").targets.tolist() == [3, 0]
    write_arrays(tmp_path, pixels, np.array([0, 4]), "test")
    with pytest.raises(ValueError, match=r"test_labels.npy: labels are 0 to 3, found 4"):
        from_arrays(tmp_path, "test")
