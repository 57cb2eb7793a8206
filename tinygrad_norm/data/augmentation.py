"""Random changes of a batch of images (N, C, H, W), all at once, for DataLoader's `transform` and `mix`.

Each draws from the generator it is given and from nothing else, keeps the type of the images, and leaves alone the
arrays that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.random import Generator

from tinygrad_norm.checks import (
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    Range,
    check_choice,
    check_integer,
    check_number,
    check_type,
)
from tinygrad_norm.data.checks import in_words
from tinygrad_norm.data.loader import Transform
from tinygrad_norm.dtypes import Array

PaddingMode = Literal["constant", "edge", "reflect"]

_ALPHA = Range("a finite number above 0; without mix=, nothing is mixed", POSITIVE.test)


class Compose:
    """One transform after the other.

    Raises:
        TypeError: one of them cannot be called.

    Example:
        >>> transform = data.Compose([data.RandomFlip(), data.RandomShift(2)])
        >>> transform(np.ones((4, 1, 8, 8), "float32"), np.random.default_rng(0)).shape
        (4, 1, 8, 8)
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)
        for transform in self.transforms:
            check_type("Compose: a transform", transform, Callable, "callable")

    def __call__(self, images: Array, generator: Generator) -> Array:
        for transform in self.transforms:
            images = transform(images, generator)
        return images

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


@dataclass(frozen=True)
class RandomCrop:
    """Pad each image on all sides, and cut its own size out of that at a random place.

    Args:
        padding: in pixels.
        mode: what to pad with: zeros ("constant"), the border ("edge"), or the image mirrored there ("reflect").

    Source: He et al., Deep Residual Learning for Image Recognition, 2015, section 4.2, with padding 4.

    Example:
        >>> crop = data.RandomCrop(padding=4, mode="reflect")
        >>> crop(np.ones((4, 3, 32, 32), "float32"), np.random.default_rng(0)).shape
        (4, 3, 32, 32)
    """

    padding: int
    mode: PaddingMode = "constant"

    def __post_init__(self) -> None:
        check_integer("RandomCrop: padding", self.padding, 0)
        check_choice("RandomCrop: mode", self.mode, get_args(PaddingMode))

    def __call__(self, images: Array, generator: Generator) -> Array:
        n, _, h, w = _shape("RandomCrop", images)
        if self.mode == "reflect" and self.padding >= min(h, w):
            raise ValueError(f"RandomCrop: {h}×{w} images mirrored give less than {self.padding} pixels of padding")
        pixels = (self.padding, self.padding)
        padded = np.pad(images, ((0, 0), (0, 0), pixels, pixels), mode=self.mode)
        corners = generator.integers(0, 2 * self.padding, (2, n, 1), endpoint=True)
        rows, columns = corners[0] + np.arange(h), corners[1] + np.arange(w)
        # (N, H, W, C): NumPy puts the axes of separated index arrays first.
        cropped = padded[np.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return cropped.transpose(0, 3, 1, 2)


@dataclass(frozen=True)
class RandomShift:
    """Move each image by up to `pixels`, up or down and left or right; zeros follow.

    Example:
        >>> images = np.ones((2, 1, 8, 8), "float32")
        >>> data.RandomShift(2)(images, np.random.default_rng(0)).shape
        (2, 1, 8, 8)
    """

    pixels: int

    def __post_init__(self) -> None:
        check_integer("RandomShift: pixels", self.pixels, 0)

    def __call__(self, images: Array, generator: Generator) -> Array:
        _shape("RandomShift", images)
        return RandomCrop(self.pixels)(images, generator)


@dataclass(frozen=True)
class RandomFlip:
    """Mirror each image left to right, with probability `p`.

    Example:
        >>> images = np.arange(3.0, dtype="float32").reshape(1, 1, 1, 3)
        >>> data.RandomFlip(p=1.0)(images, np.random.default_rng(0)).ravel()
        array([2., 1., 0.], dtype=float32)
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_number("RandomFlip: p", self.p, FRACTION)

    def __call__(self, images: Array, generator: Generator) -> Array:
        n, *_ = _shape("RandomFlip", images)
        flipped = generator.random((n, 1, 1, 1)) < self.p
        return np.where(flipped, images[..., ::-1], images)


@dataclass(frozen=True)
class RandomRotation:
    """Turn each image about its centre, by up to `degrees` either way; bilinear, and zeros come in at the corners.

    Example:
        >>> images = np.ones((2, 1, 8, 8), "float32")
        >>> data.RandomRotation(15)(images, np.random.default_rng(0)).shape
        (2, 1, 8, 8)
    """

    degrees: float

    def __post_init__(self) -> None:
        check_number(
            "RandomRotation: degrees", self.degrees, Range("a number from 0 to 180", lambda value: 0 <= value <= 180)
        )

    def __call__(self, images: Array, generator: Generator) -> Array:
        n, *_ = _shape("RandomRotation", images, floating=True)
        return rotate(images, generator.uniform(-self.degrees, self.degrees, n))


@dataclass(frozen=True)
class Cutout:
    """Set a square of each image to zero, around a random pixel; what is outside the image is cut off.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.

    Example:
        >>> images = np.ones((1, 1, 8, 8), "float32")
        >>> bool((data.Cutout(4)(images, np.random.default_rng(0)) == 0).any())
        True
    """

    size: int

    def __post_init__(self) -> None:
        check_integer("Cutout: size", self.size, 1)

    def __call__(self, images: Array, generator: Generator) -> Array:
        n, _, h, w = _shape("Cutout", images)
        if self.size > min(h, w):
            raise ValueError(f"Cutout: size is at most {min(h, w)}, for {h}×{w} images, got {self.size}")
        rows, columns = self._covered(n, h, generator), self._covered(n, w, generator)
        return np.where(rows[:, None, :, None] & columns[:, None, None, :], images.dtype.type(0), images)

    def _covered(self, n: int, length: int, generator: Generator) -> Array:
        """Return which pixels of an axis the square of each image covers: `size` of them around a random one."""
        offset = np.arange(length) - generator.integers(length, size=(n, 1)) + self.size // 2
        return (offset >= 0) & (offset < self.size)


@dataclass(frozen=True)
class GaussianNoise:
    """Add noise of standard deviation `std` to each value, for each of its own; nothing is clipped.

    Example:
        >>> noisy = data.GaussianNoise(0.1)(np.zeros((4, 1, 32, 32), "float32"), np.random.default_rng(0))
        >>> print(noisy.std().round(2))
        0.1
    """

    std: float

    def __post_init__(self) -> None:
        check_number("GaussianNoise: std", self.std, NOT_NEGATIVE)

    def __call__(self, images: Array, generator: Generator) -> Array:
        _shape("GaussianNoise", images, floating=True)
        noise = generator.standard_normal(images.shape, np.promote_types(images.dtype, np.float32))
        noisy: Array = images + (self.std * noise).astype(images.dtype)
        return noisy


@dataclass(frozen=True)
class _Mix:
    alpha: float
    num_classes: int

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_number(f"{name}: alpha", self.alpha, _ALPHA)
        check_integer(f"{name}: num_classes", self.num_classes, 2)

    def _check(self, images: Array, labels: Array, floating: bool) -> None:
        name = type(self).__name__
        n, *_ = _shape(name, images, floating)
        if labels.dtype.kind not in "iu" or labels.shape != (n,):
            raise ValueError(f"{name}: targets are integer labels ({n},), got {in_words(labels)}")
        if n and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(f"{name}: labels are 0 to {self.num_classes - 1}, got {labels.min()} to {labels.max()}")

    def _soft(self, labels: Array, partners: Array, share: float) -> Array:
        """`share` of an image's own class, and the rest of its partner's."""
        one_hot = np.eye(self.num_classes, dtype=np.float32)[labels]
        soft: Array = np.float32(share) * one_hot + np.float32(1 - share) * one_hot[partners]
        return soft


class Mixup(_Mix):
    """Mix each image with another of the batch, and their labels alike: λ of the one and 1 − λ of the other.

    λ is drawn once a batch, from the beta distribution with both parameters `alpha`. Returns the images and the targets
    (N, num_classes) of float32, each a distribution over the classes.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, 2017.

    Example:
        >>> images, labels = np.ones((4, 1, 8, 8), "float32"), np.array([0, 1, 2, 1])
        >>> images, targets = data.Mixup(0.2, num_classes=3)(images, labels, np.random.default_rng(0))
        >>> targets.shape, targets.sum(axis=1).round(3).tolist()
        ((4, 3), [1.0, 1.0, 1.0, 1.0])
    """

    def __call__(self, images: Array, labels: Array, generator: Generator) -> tuple[Array, Array]:
        self._check(images, labels, floating=True)
        share = generator.beta(self.alpha, self.alpha)
        partners = generator.permutation(len(images))
        number = images.dtype.type
        mixed = number(share) * images + number(1 - share) * images[partners]
        return mixed, self._soft(labels, partners, share)


class CutMix(_Mix):
    """Paste a rectangle of another image of the batch into each, and mix their labels as their areas are.

    The rectangle is the same for the batch: around a random pixel, 1 − λ of the area before what lies outside the image
    is cut off, λ drawn from the beta distribution with both parameters `alpha`. Returns the images and the targets
    (N, num_classes) of float32, each a distribution over the classes.

    Source: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, 2019.

    Example:
        >>> images, labels = np.ones((4, 1, 8, 8), "float32"), np.array([0, 1, 2, 1])
        >>> images, targets = data.CutMix(1.0, num_classes=3)(images, labels, np.random.default_rng(0))
        >>> targets.shape, targets.sum(axis=1).round(3).tolist()
        ((4, 3), [1.0, 1.0, 1.0, 1.0])
    """

    def __call__(self, images: Array, labels: Array, generator: Generator) -> tuple[Array, Array]:
        self._check(images, labels, floating=False)
        h, w = images.shape[2:]
        side = math.sqrt(1 - generator.beta(self.alpha, self.alpha))
        rows, columns = (_interval(length, side, generator) for length in (h, w))
        partners = generator.permutation(len(images))
        mixed = images.copy()
        mixed[:, :, rows, columns] = images[partners, :, rows, columns]
        pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
        return mixed, self._soft(labels, partners, 1 - pasted / (h * w))


def rotate(images: Array, degrees: Array) -> Array:
    """Turn each image (N, C, H, W) counter-clockwise by its angle, bilinearly, with zeros around."""
    n, _, h, w = images.shape
    y, x = np.arange(h)[:, None] - (h - 1) / 2, np.arange(w) - (w - 1) / 2
    angle = np.deg2rad(degrees)[:, None, None]
    cosine, sine = np.cos(angle), np.sin(angle)
    row, below = _cell(cosine * y + sine * x + (h - 1) / 2, h)
    column, right = _cell(cosine * x - sine * y + (w - 1) / 2, w)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))).transpose(0, 2, 3, 1)
    image, rotated = np.arange(n)[:, None, None], np.zeros((n, h, w, 1), images.dtype)
    for dy, vertical in enumerate((1 - below, below)):
        for dx, horizontal in enumerate((1 - right, right)):
            weight = (vertical * horizontal).astype(images.dtype)[..., None]
            rotated = rotated + weight * padded[image, row + dy, column + dx]
    return rotated.transpose(0, 3, 1, 2)


def _cell(place: Array, length: int) -> tuple[Array, Array]:
    """Return which pixel lies before each place on an axis with a zero before and after it, and how far before."""
    place = place.clip(-1, length)  # what lies beyond the zeros is zero as well
    pixel = np.floor(place).clip(None, length - 1)
    return pixel.astype(np.intp) + 1, place - pixel


def _interval(length: int, share: float, generator: Generator) -> slice:
    """Return about `share` of an axis, around a random pixel, within the axis."""
    half, centre = int(length * share) // 2, int(generator.integers(length))
    return slice(max(centre - half, 0), min(centre + half, length))


def _shape(name: str, images: Any, floating: bool = False) -> tuple[int, int, int, int]:
    check_type(f"{name}: the batch of images", images, np.ndarray, "a NumPy array")
    if images.ndim != 4:
        raise ValueError(f"{name}: images are (N, C, H, W), got shape {images.shape}")
    if floating and images.dtype.kind != "f":
        raise TypeError(f"{name}: images are of floating point, got {images.dtype}")
    n, c, h, w = images.shape
    return n, c, h, w
