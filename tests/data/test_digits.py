from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
import pytest

from tinygrad_norm.data import digits

class_counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
data_folder = resources.files("tinygrad_norm.data")


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
        ({"split": "validation"}, ValueError, "split is 'train' or 'test' or 'all', got 'validation'"),
        ({"image_size": 7}, ValueError, "image_size is an integer of at least 8, got 7"),
        ({"image_size": 16.0}, TypeError, "image_size is an integer"),
        ({"dtype": np.uint8}, TypeError, "dtype is float32 or float64, got uint8"),
    ],
)
def test_impossible_digits_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        digits(**options)
