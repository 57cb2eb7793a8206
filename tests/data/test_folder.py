from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygrad_norm.data import image_folder, load


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def plain(value: int, height: int = 4, width: int = 4) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cats and a dog to train, a dog to test."""
    for number, name in enumerate(["train/dog/1.png", "train/cat/b.png", "train/cat/a.PNG", "test/dog/9.bmp"]):
        save(tmp_path / name, plain(10 * number))
    return tmp_path


def test_classes_are_sorted_by_name_and_images_by_file(folder):
    train, test = image_folder(folder), image_folder(folder, "test")
    assert train.class_names == test.class_names == ("cat", "dog")
    assert train.targets.tolist() == [0, 0, 1]
    assert (train.inputs[:, 0, 0, 0] * 255).round().tolist() == [20, 10, 0]
    assert test.targets.tolist() == [1]
    assert test.num_classes == 2
    assert repr(train) == "ArrayDataset(inputs=float32(3, 3, 4, 4), targets=int64(3,))"


def test_pixels_come_as_they_are_scaled(tmp_path, rng):
    pixels = rng.integers(256, size=(5, 7, 3), dtype=np.uint8)
    save(tmp_path / "train" / "a" / "1.png", pixels)
    dataset = image_folder(tmp_path, dtype=np.float64)
    np.testing.assert_array_equal(dataset.inputs[0], pixels.transpose(2, 0, 1) / 255, strict=True)
    assert dataset.inputs.flags.c_contiguous


def test_grey_makes_one_channel(tmp_path, rng):
    pixels = rng.integers(256, size=(5, 5), dtype=np.uint8)
    save(tmp_path / "train" / "a" / "1.png", pixels)
    assert image_folder(tmp_path, grey=True).inputs.shape == (1, 1, 5, 5)
    np.testing.assert_array_equal(image_folder(tmp_path, grey=True).inputs[0, 0] * 255, pixels)
    np.testing.assert_array_equal(image_folder(tmp_path).inputs[0] * 255, [pixels] * 3)


def test_the_square_in_the_middle_is_taken_and_resized(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 200
    pixels[:, :4] = 99
    save(tmp_path / "train" / "wide" / "1.png", pixels)
    save(tmp_path / "train" / "high" / "1.png", pixels.swapaxes(0, 1))
    for size, blurred in ((4, 1), (8, 0), (20, 2)):  # Pillow's weights reach beyond the square
        images = image_folder(tmp_path, image_size=size).inputs
        assert images.shape == (2, 3, size, size)
        inner = slice(blurred, size - blurred)
        np.testing.assert_array_equal(images[:, :, inner, inner], np.float32(200 / 255))


def test_images_of_several_sizes_need_an_image_size(folder):
    save(folder / "train" / "dog" / "2.png", plain(0, 5, 6))
    with pytest.raises(ValueError, match=r"dog.2.png: 6×5 pixels, but .*a.PNG has 4×4; give image_size"):
        image_folder(folder)
    assert len(image_folder(folder, image_size=4)) == 4


def test_what_is_transparent_becomes_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = 10, 20, 30, 255
    save(tmp_path / "train" / "a" / "1.png", pixels)
    image = image_folder(tmp_path).inputs[0] * 255
    assert image[:, 0, 0].tolist() == [10, 20, 30]
    assert (image[:, 1] == 255).all()


def test_a_photograph_stands_as_its_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    save(tmp_path / "train" / "a" / "1.jpg", pixels, exif=exif)
    image = image_folder(tmp_path).inputs[0]
    assert image.shape == (3, 16, 8)
    assert image[:, :8].min() > 0.9
    assert image[:, 8:].max() < 0.1


def test_litter_of_systems_is_passed_over(folder):
    for name in ("train/cat/.DS_Store", "train/cat/Thumbs.db", "train/.cache/1.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert len(image_folder(folder)) == 3


def test_a_class_that_training_lacks_is_refused(folder):
    save(folder / "test" / "horse" / "1.png", plain(0))
    with pytest.raises(ValueError, match=r"test.horse: no class of .*train, which has cat, dog"):
        image_folder(folder, "test")


def test_names_in_errors_do_not_reach_the_terminal_as_they_are(folder):
    save(folder / "train" / "\x1b[31m" / "1.png", plain(0))
    save(folder / "test" / "two\nlines" / "1.png", plain(0))
    with pytest.raises(ValueError, match=r"test.two\\nlines: no class of .*train, which has \\x1b\[31m, cat, dog"):
        image_folder(folder, "test")
    (folder / "train" / "\x1b[31m" / "\x1b[2J.gif").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"train.\\x1b\[31m.\\x1b\[2J.gif: not an image"):
        image_folder(folder)


def test_an_empty_class_is_refused(folder):
    (folder / "train" / "bird").mkdir()
    with pytest.raises(ValueError, match=r"train.bird: a class without images"):
        image_folder(folder)


@pytest.mark.parametrize("name", ["notes.txt", "scan.tiff", "folder.png/"])
def test_what_is_no_image_is_named(folder, name):
    path = folder / "train" / "cat" / name
    path.mkdir() if name.endswith("/") else path.write_bytes(b"x")
    with pytest.raises(ValueError, match=rf"{path.name}: not an image of a kind that is read: .png, .jpg"):
        image_folder(folder)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "another format"])
def test_an_unreadable_file_is_named(folder, rng, damage):
    path = folder / "train" / "cat" / "c.png"
    save(path, rng.integers(256, size=(40, 40, 3), dtype=np.uint8))
    whole, other = path.read_bytes(), io.BytesIO()
    Image.fromarray(plain(0)).save(other, "TIFF")  # Pillow could read it, but what it reads is limited on purpose
    contents = {"cut": whole[:2000], "garbage": b"\x00" * 50, "empty": b"", "another format": other.getvalue()}
    path.write_bytes(contents[damage])
    with pytest.raises(ValueError, match=r"c.png: not a readable image"):
        image_folder(folder, image_size=4)


def test_more_than_eight_bits_are_refused(tmp_path):
    save(tmp_path / "train" / "a" / "1.png", np.full((2, 2), 40_000, np.uint16))
    with pytest.raises(ValueError, match=r"1.png: not a readable image: mode I;16 has more than 8 bits a channel"):
        image_folder(tmp_path)


@pytest.mark.parametrize("times", [1.5, 3])
def test_a_decompression_bomb_is_refused(folder, monkeypatch, times):
    """Pillow warns beyond its limit, and refuses beyond twice that; both are errors here."""
    save(folder / "train" / "cat" / "c.png", plain(0, 20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(400 / times))
    with pytest.raises(ValueError, match=r"c.png: not a readable image: .*decompression bomb"):
        image_folder(folder, image_size=4)


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_folders_say_what_to_put_where(folder, split):
    (folder / split).rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match=rf"{split} has no class folders: put the images there, .*CLASS.1.png"):
        image_folder(folder, split)


def test_without_pillow_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs Pillow: pip install 'tinygrad-norm\[images\]'"):
        image_folder(folder)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "val"}, ValueError, "split is 'train' or 'test', got 'val'"),
        ({"image_size": 0}, ValueError, "image_size is an integer of at least 1, got 0"),
        ({"image_size": 8.0}, TypeError, "image_size is an integer"),
        ({"dtype": np.uint8}, TypeError, "dtype is float32 or float64, got uint8"),
    ],
)
def test_impossible_options_are_refused(folder, options, error, message):
    with pytest.raises(error, match=message):
        image_folder(folder, **options)


def test_load_takes_a_folder_of_images(folder):
    dataset = load(folder, "test", image_size=6)
    assert dataset.inputs.shape == (1, 3, 6, 6)
    assert dataset.class_names == ("cat", "dog")
    np.testing.assert_array_equal(load(str(folder)).inputs, image_folder(folder).inputs)
