from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.data import mnist, write_idx

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
        (pixels[0], labels, r"train-images-idx3-ubyte: images are uint8\(N, H, W\), found uint8\(3, 4\)"),
        (pixels.astype(np.float32), labels, r"found float32\(2, 3, 4\)"),
        (pixels, labels[:1], r"train-labels-idx1-ubyte: labels are integers \(2,\), .* found uint8\(1,\)"),
        (pixels, labels.astype(np.float32), r"found float32\(2,\)"),
        (pixels, np.array([3, 10], np.uint8), "labels are 0 to 9, found 10"),
        (pixels, np.array([-1, 3], np.int8), "labels are 0 to 9, found -1"),
    ],
)
def test_mnist_files_that_do_not_fit_are_refused(tmp_path, images, labels, message):
    write_mnist(tmp_path, images, labels)
    with pytest.raises(ValueError, match=message):
        mnist(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split is 'train' or 'test', got 'all'"),
        ({"name": "MNIST"}, "name is 'mnist' or 'fashion-mnist', got 'MNIST'"),
    ],
)
def test_unknown_choices_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        mnist(tmp_path, **options)
