"""A folder of images, one folder a class, read by Pillow."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_norm.checks import check_choice, check_integer
from tinygrad_norm.data.datasets import ArrayDataset, Split
from tinygrad_norm.data.images import rescale
from tinygrad_norm.dtypes import Array, StrPath
from tinygrad_norm.output import printable

# Pillow reads many more, some through other programs; these are what data sets consist of.
PILLOW = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP", ".ppm": "PPM", ".pgm": "PPM"}
LITTER = ("Thumbs.db", "desktop.ini")  # what systems leave in folders of images, besides hidden files


def image_folder(
    folder: StrPath,
    split: Split = "train",
    image_size: int | None = None,
    grey: bool = False,
    dtype: DTypeLike = np.float32,
) -> ArrayDataset:
    """Load the images `FOLDER/train/CLASS/*.png` (or .jpg, .bmp, .webp, .ppm), or those of `FOLDER/test`.

    The classes are the folders of `train`, sorted by name; `test` may lack some, but has no others. What is transparent
    becomes white, and a photograph stands as its camera was held. All images are in memory at once.

    Args:
        image_size: resize the shorter side to this many pixels, and take the square in the middle; None takes the
            images as they are, which must then be of one size.
        grey: make one channel of them, instead of three.
        dtype: of the images, float32 or float64.

    Returns:
        Images (N, 3 or 1, H, W) in [0, 1], and labels (N,) of int64.

    Raises:
        FileNotFoundError: a folder is missing; says what to put where.
        ModuleNotFoundError: Pillow is not installed.
        ValueError: a class is empty or, in `test`, unknown; a file is no image, is damaged, or is larger than Pillow
            allows.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> for name in ("train/cat", "train/dog"):
        ...     Path(name).mkdir(parents=True)
        ...     Image.new("RGB", (10, 8)).save(f"{name}/1.png")
        >>> images = data.image_folder(".", image_size=8)
        >>> images.inputs.shape, images.class_names
        ((2, 3, 8, 8), ('cat', 'dog'))
    """
    check_choice("image_folder: split", split, ("train", "test"))
    if image_size is not None:
        image_size = check_integer("image_folder: image_size", image_size, 1)
    _import_pillow()
    classes = _class_folders(Path(folder) / "train")
    names = tuple(path.name for path in classes)
    if split == "test":
        classes = _class_folders(Path(folder) / "test")
        if unknown := [path for path in classes if path.name not in names]:
            known = ", ".join(printable(name, 40) for name in names)
            raise ValueError(f"{printable(unknown[0])}: no class of {Path(folder) / 'train'}, which has {known}")
    files = [(file, names.index(path.name)) for path in classes for file in _image_files(path)]
    images = _stack([file for file, _ in files], image_size, grey)
    labels = np.array([label for _, label in files], np.int64)
    return ArrayDataset(rescale(images.transpose(0, 3, 1, 2), 255, dtype), labels, names)


def _import_pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a folder of images needs Pillow: pip install 'tinygrad-norm[images]'", name=error.name
        ) from error
    return Image


def _class_folders(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) if folder.is_dir() else []
    if not found:
        raise FileNotFoundError(
            f"{folder} has no class folders: put the images there, one folder a class, as {folder / 'CLASS' / '1.png'}"
        )
    return found


def _image_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in LITTER)
    for path in files:
        if path.suffix.lower() not in PILLOW or not path.is_file():
            raise ValueError(
                f"{printable(path)}: not an image of a kind that is read: {', '.join(PILLOW)}; move it elsewhere"
            )
    if not files:
        raise ValueError(f"{printable(folder)}: a class without images; put some there, or delete the folder")
    return files


def _stack(paths: list[Path], image_size: int | None, grey: bool) -> Array:
    """Return all images (N, H, W, C) as bytes, each written to its place as soon as it is read."""
    first = _read_image(paths[0], image_size, grey)
    images = np.empty((len(paths), *first.shape), np.uint8)
    for place, path in zip(images, paths, strict=True):
        image = _read_image(path, image_size, grey)
        if image.shape != place.shape:
            (h, w, _), (height, width, _) = image.shape, first.shape
            sizes = f"{w}×{h} pixels, but {printable(paths[0])} has {width}×{height}"
            raise ValueError(f"{printable(path)}: {sizes}; give image_size to bring them to one size")
        place[:] = image
    return images


def _read_image(path: Path, image_size: int | None, grey: bool) -> Array:
    """Return one image (H, W, C); whatever Pillow makes of a damaged or huge file is an error that names the file."""
    image_module = _import_pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            with image_module.open(path, formats=list(PILLOW.values())) as image:
                pixels = np.asarray(_prepare(image, image_size, grey))
    except Exception as error:
        raise ValueError(f"{printable(path)}: not a readable image: {printable(error)}") from error
    return pixels.reshape(*pixels.shape[:2], 1 if grey else 3)


def _prepare(image: Any, image_size: int | None, grey: bool) -> Any:
    from PIL import Image, ImageOps

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        raise ValueError(f"mode {image.mode} has more than 8 bits a channel; save it with 8, or use train_images.npy")
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("L" if grey else "RGB")
    if image_size is None:
        return image
    return ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
