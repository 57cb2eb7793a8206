"""The handwritten digits that ship with the package."""

from __future__ import annotations

from importlib import resources
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_norm.checks import check_choice, check_integer
from tinygrad_norm.data.datasets import ArrayDataset
from tinygrad_norm.data.images import rescale, resize


def digits(
    split: Literal["train", "test", "all"] = "train", image_size: int = 8, dtype: DTypeLike = np.float32
) -> ArrayDataset:
    """Load the 1,797 handwritten digits that ship with the package.

    Of each class every fifth image is a test image: 1,442 to train, 355 to test, always the same. (The writers are not
    told apart, so the test images are by the writers of the training images.)

    Args:
        split: "train", "test", or "all" for the 1,797 in their own order.
        image_size: 8 or more; above 8, the images are enlarged by bilinear interpolation.
        dtype: of the images, float32 or float64.

    Returns:
        Images (N, 1, image_size, image_size) in [0, 1], and labels (N,) of int64.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
        1998, CC BY 4.0; digits.md tells more.

    Example:
        >>> train, test = data.digits("train"), data.digits("test")
        >>> train.inputs.shape, test.inputs.shape, train.class_names[:3]
        ((1442, 1, 8, 8), (355, 1, 8, 8), ('0', '1', '2'))
    """
    check_choice("digits: split", split, ("train", "test", "all"))
    image_size = check_integer("digits: image_size", image_size, 8)
    with (
        resources.files(__package__).joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        images = rescale(arrays["images"][:, None], 16, dtype)
        labels = arrays["labels"].astype(np.int64)
    whole = ArrayDataset(resize(images, image_size), labels, tuple("0123456789"))
    if split == "all":
        return whole
    train, test = whole.split(every=5)
    return train if split == "train" else test
