"""The images of a recipe: to train, to validate and to test with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tinygrad_norm.data import ArrayDataset, load
from tinygrad_norm.output import printable
from tinygrad_norm.tables import plural
from tinygrad_norm.training.recipe import Recipe


def load_data(recipe: Recipe, download: bool = False) -> tuple[ArrayDataset, ArrayDataset, ArrayDataset]:
    """The images to train, to validate and to test with.

    Raises:
        FileNotFoundError: the data are not there; the error says what to put where.
        ValueError: the data are malformed, too few to validate, or the test images are none or of another kind.
    """
    training, validation = load_training(recipe, download)
    test = load_split(recipe, "test", download)
    if not len(test) or test.inputs.shape[1:] != training.inputs.shape[1:]:
        shapes = f"test images have shape {test.inputs.shape}, the training images {training.inputs.shape}"
        raise ValueError(f"{recipe.data}: the {shapes}; there must be some, of the same channels and size")
    check_classes(
        f"{printable(recipe.data)}: the training images have", training.num_classes, training.class_names, test
    )
    return training, validation, test


def load_split(recipe: Recipe, split: Literal["train", "test"], download: bool = False) -> ArrayDataset:
    """The images of one split, at the size the recipe says; raises what `data.load` does."""
    return load(recipe.data, split, folder=recipe.data_folder, image_size=recipe.image_size, download=download)


def load_training(recipe: Recipe, download: bool = False) -> tuple[ArrayDataset, ArrayDataset]:
    """The images to train and to validate with; raises what `load_data` does."""
    training, validation = load_split(recipe, "train", download).split(recipe.validation_every)
    if not len(validation):
        needed = f"no class has validation_every={recipe.validation_every} training images"
        raise ValueError(f"{recipe.data}: {needed}, so none is left to validate; lower it, or give more images")
    return training, validation


def check_classes(owner: str, classes: int, names: tuple[str, ...], dataset: ArrayDataset) -> None:
    """Raise a ValueError unless labels are of these classes; without names, any that are not too many will do."""
    found, named = dataset.num_classes, dataset.class_names
    if found > classes or (named and (found != classes or (names and named != names))):
        known, given = (
            f"{plural(count, 'class', 'classes')}{f' ({_listed(words)})' if words else ''}"
            for count, words in ((classes, names), (found, named))
        )
        raise ValueError(f"{owner} {known}, these images {given}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(printable(name, 40) for name in names[:10]) + (" and so on" if len(names) > 10 else "")
