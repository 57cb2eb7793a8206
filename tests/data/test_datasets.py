from __future__ import annotations

import dataclasses
import hashlib
import struct
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.data import ArrayDataset, digits, from_arrays, mnist, write_idx

class_counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
data_folder = resources.files("tinygrad_norm.data")


# ArrayDataset


def test_indexing_takes_the_same_examples_of_both_arrays():
    dataset = ArrayDataset(np.arange(10.0).reshape(5, 2), np.array([4, 3, 2, 1, 0]))
    assert len(dataset) == 5
    for index in (2, -1, slice(1, 4), [3, 0, 3], np.array([4, 1]), np.array([True, False, False, True, True])):
        inputs, targets = dataset[index]
        np.testing.assert_array_equal(inputs, dataset.inputs[index], strict=True)
        np.testing.assert_array_equal(4 - inputs[..., 0] / 2, targets)


def test_it_is_frozen_and_tells_its_shapes():
    dataset = ArrayDataset(np.zeros((3, 1, 8, 8), np.float32), np.zeros(3, np.int64))
    assert repr(dataset) == "ArrayDataset(inputs=float32(3, 1, 8, 8), targets=int64(3,))"
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.targets = np.ones(3)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("inputs", "targets", "error", "message"),
    [
        (np.zeros((3, 2)), np.zeros(4), ValueError, "inputs and targets must be as many, got 3 and 4"),
        (np.zeros(()), np.zeros(1), ValueError, r"inputs must have a first axis .* got shape \(\)"),
        (np.zeros(1), np.zeros(()), ValueError, "targets must have a first axis"),
        ([[1.0]], np.zeros(1), TypeError, "inputs must be a NumPy array, got list; np.asarray makes one"),
        (np.zeros(1), (1,), TypeError, "targets must be a NumPy array, got tuple"),
    ],
)
def test_what_is_no_data_set_is_refused(inputs, targets, error, message):
    with pytest.raises(error, match=message):
        ArrayDataset(inputs, targets)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_num_classes_counts_the_names_or_up_to_the_largest_label(dtype):
    inputs, labels = np.zeros((3, 1)), np.array([0, 4, 1], dtype)
    assert ArrayDataset(inputs, labels).num_classes == 5
    assert ArrayDataset(inputs, labels, tuple("abcdefg")).num_classes == 7
    assert ArrayDataset(inputs[:0], labels[:0]).num_classes == 0


@pytest.mark.parametrize("targets", [np.zeros(3), np.zeros((3, 2), np.int64)])
def test_num_classes_needs_labels(targets):
    with pytest.raises(TypeError, match="counted from integer labels"):
        _ = ArrayDataset(np.zeros((3, 1)), targets).num_classes


def test_split_holds_out_every_nth_of_each_class_in_order():
    labels = np.array([0, 1, 0, 0, 1, 0, 1, 0, 0, 2])
    dataset = ArrayDataset(np.arange(10), labels, ("a", "b", "c"))
    rest, held_out = dataset.split(every=3)
    np.testing.assert_array_equal(held_out.inputs, [3, 6, 8])  # the third and sixth 0, the third 1, no 2
    np.testing.assert_array_equal(held_out.targets, [0, 1, 0])
    np.testing.assert_array_equal(rest.inputs, [0, 1, 2, 4, 5, 7, 9])
    assert rest.class_names == held_out.class_names == ("a", "b", "c")
    assert not np.shares_memory(rest.inputs, dataset.inputs)


def test_split_takes_targets_that_are_no_labels_as_one_class():
    rest, held_out = ArrayDataset(np.arange(7), np.linspace(0, 1, 7)).split(every=3)
    np.testing.assert_array_equal(held_out.inputs, [2, 5])
    np.testing.assert_array_equal(rest.inputs, [0, 1, 3, 4, 6])


def test_split_keeps_at_least_half():
    with pytest.raises(ValueError, match="every must be at least 2, got 1"):
        ArrayDataset(np.zeros(3), np.zeros(3)).split(every=1)


# digits


def test_the_shipped_file_holds_what_digits_md_says():
    text = (data_folder / "digits.md").read_text(encoding="utf-8")
    with (data_folder / "digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        assert set(arrays) == {"images", "labels"}
        for name, array in arrays.items():
            assert array.dtype == np.uint8
            assert f"{name}  {hashlib.sha256(array.tobytes()).hexdigest()}\n" in text
        assert arrays["images"].shape == (1797, 8, 8)
        assert arrays["images"].max() == 16
        assert np.bincount(arrays["labels"]).tolist() == class_counts
    assert len((data_folder / "digits.npz").read_bytes()) < 100_000
    assert "CC BY 4.0" in text


def test_all_digits_are_scaled_by_16_and_keep_their_order():
    dataset = digits("all")
    assert repr(dataset) == "ArrayDataset(inputs=float32(1797, 1, 8, 8), targets=int64(1797,))"
    assert dataset.inputs.min() == 0.0
    assert dataset.inputs.max() == 1.0
    assert dataset.num_classes == 10
    first_zero = """
        0  0  5 13  9  1  0  0
        0  0 13 15 10 15  5  0
        0  3 15  2  0 11  8  0
        0  4 12  0  0  8  8  0
        0  5  8  0  0  9  8  0
        0  4 11  0  1 12  7  0
        0  2 14  5 10 12  0  0
        0  0  6 13 10  0  0  0
    """
    expected = np.array(first_zero.split(), np.float32).reshape(1, 8, 8) / 16
    np.testing.assert_array_equal(dataset.inputs[0], expected, strict=True)
    assert dataset.targets[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_of_each_digit_every_fifth_image_is_for_testing():
    whole, train, test = digits("all"), digits(), digits("test")
    assert (len(train), len(test)) == (1442, 355)
    assert np.bincount(test.targets).tolist() == [count // 5 for count in class_counts]
    for digit in range(10):
        images = whole.inputs[whole.targets == digit]
        np.testing.assert_array_equal(test.inputs[test.targets == digit], images[4::5])
        remaining = [image for number, image in enumerate(images, start=1) if number % 5 != 0]
        np.testing.assert_array_equal(train.inputs[train.targets == digit], remaining)
    assert train.class_names == tuple("0123456789")


def test_images_are_enlarged_bilinearly():
    small, large = digits("test", dtype=np.float64).inputs, digits("test", image_size=16, dtype=np.float64).inputs
    assert large.shape == (355, 1, 16, 16)
    assert large.flags.c_contiguous

    def double(x: np.ndarray) -> np.ndarray:  # each new row lies a quarter of the old spacing from its nearest one
        before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
        return np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=1).reshape(-1, *x.shape[1:])

    expected = double(double(small.transpose(2, 3, 0, 1)).swapaxes(0, 1)).swapaxes(0, 1).transpose(2, 3, 0, 1)
    np.testing.assert_allclose(large, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("size", [9, 13, 32])
def test_enlarged_images_of_any_size_stay_in_range(size):
    images = digits("test", image_size=size).inputs
    assert images.shape == (355, 1, size, size)
    assert images.dtype == np.float32
    assert images.min() >= 0.0
    assert images.max() <= 1.0
    np.testing.assert_allclose(images.mean(), digits("test").inputs.mean(), rtol=0.02)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "validation"}, ValueError, "split must be 'train' or 'test' or 'all', got 'validation'"),
        ({"image_size": 7}, ValueError, "image_size must be at least 8, got 7"),
        ({"image_size": 16.0}, TypeError, "image_size must be an integer"),
        ({"dtype": np.uint8}, TypeError, "dtype must be float32 or float64, got uint8"),
    ],
)
def test_impossible_digits_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        digits(**options)


# mnist

pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4) * 11
labels = np.array([9, 0], np.uint8)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize(("split", "stem"), [("train", "train"), ("test", "t10k")])
def test_mnist_is_found_under_each_spelling(tmp_path, split, stem, mark, suffix):
    write_idx(tmp_path / f"{stem}-images{mark}idx3-ubyte{suffix}", pixels)
    write_idx(tmp_path / f"{stem}-labels{mark}idx1-ubyte{suffix}", labels)
    dataset = mnist(tmp_path, split)
    np.testing.assert_array_equal(dataset.inputs, (pixels[:, None] / 255).astype(np.float32), strict=True)
    np.testing.assert_array_equal(dataset.targets, labels.astype(np.int64), strict=True)
    assert dataset.class_names == tuple("0123456789")


def write_mnist(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    write_idx(folder / "train-images-idx3-ubyte", images)
    write_idx(folder / "train-labels-idx1-ubyte", labels)


def test_fashion_mnist_has_its_own_names(tmp_path):
    write_mnist(tmp_path, pixels, labels)
    dataset = mnist(str(tmp_path), name="fashion-mnist", dtype=np.float64)
    assert dataset.num_classes == 10
    names = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
    assert ", ".join(dataset.class_names) == names
    np.testing.assert_array_equal(dataset.inputs, pixels[:, None] / 255, strict=True)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_missing_mnist_file_says_what_to_put_where(tmp_path, name):
    with pytest.raises(
        FileNotFoundError, match=f"has no t10k-images-idx3-ubyte or .* put the four {name} files there"
    ) as e:
        mnist(tmp_path, "test", name=name)
    assert str(tmp_path) in str(e.value)
    assert "https://" in str(e.value)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", pixels)
    with pytest.raises(FileNotFoundError, match="has no t10k-labels-idx1-ubyte"):
        mnist(tmp_path, "test", name=name)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (pixels[0], labels, r"train-images-idx3-ubyte: images must be uint8\(N, H, W\), found uint8\(3, 4\)"),
        (pixels.astype(np.float32), labels, r"found float32\(2, 3, 4\)"),
        (pixels, labels[:1], r"train-labels-idx1-ubyte: labels must be integers \(2,\), .* found uint8\(1,\)"),
        (pixels, labels.astype(np.float32), r"found float32\(2,\)"),
        (pixels, np.array([3, 10], np.uint8), "labels must be 0 to 9, found 10"),
        (pixels, np.array([-1, 3], np.int8), "labels must be 0 to 9, found -1"),
    ],
)
def test_mnist_files_that_do_not_fit_are_refused(tmp_path, images, labels, message):
    write_mnist(tmp_path, images, labels)
    with pytest.raises(ValueError, match=message):
        mnist(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split must be 'train' or 'test', got 'all'"),
        ({"name": "MNIST"}, "name must be 'mnist' or 'fashion-mnist', got 'MNIST'"),
    ],
)
def test_unknown_choices_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        mnist(tmp_path, **options)


# from_arrays


def write_arrays(folder: Path, images: np.ndarray, labels: np.ndarray, split: str = "train") -> None:
    np.save(folder / f"{split}_images.npy", images)
    np.save(folder / f"{split}_labels.npy", labels)


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_of_bytes_are_scaled_and_get_a_channel_axis(tmp_path, split):
    write_arrays(tmp_path, np.asfortranarray(pixels), np.array([5, 2], np.int16), split)
    dataset = from_arrays(tmp_path, split)
    np.testing.assert_array_equal(dataset.inputs, (pixels[:, None] / 255).astype(np.float32), strict=True)
    np.testing.assert_array_equal(dataset.targets, np.array([5, 2], np.int64), strict=True)
    assert type(dataset.inputs) is type(dataset.targets) is np.ndarray
    assert dataset.inputs.flags.c_contiguous
    assert dataset.num_classes == 6


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
        (pixels.astype(np.int64), labels, r"train_images.npy: images must be .* found int64\(2, 3, 4\)"),
        (np.zeros(2, np.float32), labels, r"found float32\(2,\)"),
        (pixels, np.zeros(2), r"train_labels.npy: labels must be integers \(2,\), .* found float64\(2,\)"),
        (pixels, np.zeros((2, 1), np.int64), r"found int64\(2, 1\)"),
        (pixels, np.array([0, -7]), "labels must be 0 or more, found -7"),
        (pixels, np.array([0, 1 << 63], np.uint64), "labels must be 0 or more, found 9223372036854775808"),
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
