"""What a checkpoint says of the run that wrote it, believed as far as it fits what the file holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_norm.data import ArrayDataset
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.nn import Module
from tinygrad_norm.nn.budget import TooManyParametersError, at_most
from tinygrad_norm.schema import ANYTHING, ARRAY, AT_LEAST_1, COUNT, MAPPING, TEXT, check_form, cut_lines
from tinygrad_norm.tables import plural
from tinygrad_norm.training.checkpoint import CheckpointContent, load_parts, read_checkpoint
from tinygrad_norm.training.preparation import check_classes, make_model
from tinygrad_norm.training.recipe import Recipe

CHECKPOINT = "checkpoint.safetensors"
CHANGEABLE = ("epochs", "data_folder")
"""What of its recipe may be another when a run goes on: nothing that was done would have been done otherwise."""

Changes = dict[str, list[Any]]
"""What a run was begun with and goes on with, by the name in the recipe."""

EXTRA = {"recipe": MAPPING, "channels": AT_LEAST_1, "classes": AT_LEAST_1, "class_names": [TEXT]}
POSITION = {"epoch": COUNT, "batch": COUNT, ...: ANYTHING}


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A run as its checkpoint tells of it.

    Args:
        path: the checkpoint.
        recipe: what was to be done.
        channels, classes, class_names: of the images that were learned from.
        epoch, batch: whole epochs done, and batches of the next.
        content: all that the checkpoint holds.
    """

    path: Path
    recipe: Recipe
    channels: int
    classes: int
    class_names: tuple[str, ...]
    epoch: int
    batch: int
    content: CheckpointContent

    @contextmanager
    def at_most_its_parameters(self) -> Iterator[None]:
        """Refuse a net that is made within the block as soon as it would be larger than what the file holds.

        Raises:
            ValueError: it would be, or the recipe is of no net that can be made.
        """
        sizes = [array.size for array in self.content.states["model"].values()]
        try:
            with at_most(len(sizes), sum(sizes)):
                yield
        except TooManyParametersError as error:
            holds = f"the net that it describes is larger than its {len(sizes)} arrays of {sum(sizes):,} elements"
            raise ValueError(f"{self.path} was altered: {holds} ({error})") from error
        except ValueError as error:
            reason = cut_lines(str(error))
            raise ValueError(f"{self.path}: the net that it describes cannot be made: {reason}") from error

    def net(self) -> Module:
        """Rebuild the net, in inference mode. Nothing is unpickled.

        Raises:
            ValueError: the recipe is of no net that can be made, or of another one than the weights are.
        """
        with self.at_most_its_parameters():
            model = make_model(self.recipe, self.channels, self.classes)
        load_parts(self.path, {"model": model}, saved=self.content)
        return model.eval()

    def check_data(self, dataset: ArrayDataset) -> None:
        """Raise a ValueError unless images have the channels and the classes of those that the net learned from.

        Labels without names are taken to be the same classes if they are not too many.
        """
        if (found := dataset.inputs.shape[1]) != self.channels:
            raise ValueError(f"{self.path} is for images of {self.channels} channels, these have {found}")
        check_classes(f"{self.path} knows", self.classes, self.class_names, dataset)


def find_checkpoint(path: StrPath, purpose: str) -> Path:
    """Return the checkpoint that is meant by a file, or by the folder of a run.

    Raises:
        FileNotFoundError: there is none "to go on from", or what else the purpose is.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no file or folder {os.fspath(path)}, so no checkpoint to {purpose}")
    found = Path(path, CHECKPOINT) if Path(path).is_dir() else Path(path)
    if not found.is_file():
        raise FileNotFoundError(f"{os.fspath(path)} holds no checkpoint to {purpose}")
    return found


def read_run(path: StrPath) -> SavedRun:
    """Read what a checkpoint says of its run.

    Raises:
        ValueError: the file is no checkpoint, was not written by `train`, or is cut short or altered.
    """
    saved = read_checkpoint(path)
    if not isinstance(saved.extra, dict) or "recipe" not in saved.extra:
        raise ValueError(f"{os.fspath(path)} holds no recipe: it was not written by `tinygrad-norm train`")
    extra, position = {"class_names": (), **saved.extra}, saved.states.get("trainer", {"epoch": 0, "batch": 0})
    try:
        check_form(extra, EXTRA, "what `train` saved")
        check_form(saved.states.get("model"), {...: ARRAY}, "the state of model")
        check_form(position, POSITION, "the state of trainer")
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} was not written by `tinygrad-norm train`: {error}") from error
    try:
        recipe = Recipe.from_dict(extra["recipe"])
    except (TypeError, ValueError) as error:
        reason = cut_lines(str(error))
        raise ValueError(f"{os.fspath(path)}: its recipe is not one of this version: {reason}") from error
    classes, names = extra["classes"], tuple(extra["class_names"])
    epoch, batch = position["epoch"], position["batch"]
    return SavedRun(Path(path), recipe, extra["channels"], classes, names, epoch, batch, saved)


def changes(recipe: Recipe, saved: SavedRun) -> Changes:
    """Return what a recipe changes of a saved run that is to go on.

    Raises:
        ValueError: something else than `CHANGEABLE`, since only a run that goes on as it began ends as it would have
            ended; or fewer epochs than were begun.
    """
    wanted, found = recipe.to_dict(), saved.recipe.to_dict()
    if saved.recipe.model != recipe.model:
        raise ValueError(f"{saved.path} is a checkpoint of {saved.recipe.model}, not of {recipe.model}")
    changed = {name: [found[name], wanted[name]] for name in wanted if wanted[name] != found[name]}
    if fixed := [name for name in changed if name not in CHANGEABLE]:
        listed = ", ".join(f"{name}={found[name]!r} (here {wanted[name]!r})" for name in fixed)
        allowed = f"only {' and '.join(CHANGEABLE)} may change"
        raise ValueError(f"{saved.path} was trained with {listed}; {allowed} when a run goes on, or it starts anew")
    if recipe.epochs < (begun := saved.epoch + (saved.batch > 0)):
        raise ValueError(f"{saved.path} has begun {plural(begun, 'epoch')}; epochs={recipe.epochs} is fewer")
    return changed
