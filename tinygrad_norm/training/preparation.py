"""Preparation of a run, from its recipe: images, net, optimizer, loader, and the schedule of the learning rate."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

from tinygrad_norm import optim, random
from tinygrad_norm.data import ArrayDataset, DataLoader, Prefetch, augmentation, load
from tinygrad_norm.models import create_model
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn import Module
from tinygrad_norm.output import printable
from tinygrad_norm.tables import plural
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training.interrupt import closed
from tinygrad_norm.training.recipe import AUGMENTATIONS, OPTIMIZERS, Recipe


def prepare(recipe: Recipe, training: ArrayDataset) -> tuple[Module, optim.Optimizer, DataLoader]:
    """Return the net, its optimizer and the loader of its training images, all freshly seeded."""
    random.manual_seed(recipe.seed)
    model = make_model(recipe, training.inputs.shape[1], training.num_classes)
    return model, make_optimizer(recipe, model), make_loader(recipe, training)


def rehearse(model: Module, loader: DataLoader) -> None:
    """Run a copy of the net on a first batch, as in training: what fails there fails now, and nothing is changed."""
    generator = random.state_dict()
    try:
        with no_grad(), closed(iter(loader)) as batches:
            images, _ = next(batches)
            copy.deepcopy(model).train()(Tensor(images))
    finally:
        random.load_state_dict(generator)


def make_model(recipe: Recipe, channels: int, classes: int) -> Module:
    """Return the net of a recipe, for images of so many channels.

    Raises:
        ValueError: the net does not take such images, or an option that the recipe has for it.
    """
    own: dict[str, Any] = {"norm": recipe.norm, "norm_momentum": recipe.norm_momentum, "image_size": recipe.image_size}
    try:
        return create_model(recipe.model, classes, channels, **own, **recipe.options)
    except TypeError as error:  # of an option, which JSON or the command line made what it is
        raise ValueError(str(error)) from error


def make_optimizer(recipe: Recipe, model: Module) -> optim.Optimizer:
    """Return the optimizer of a net's parameters; biases and norms do not decay."""
    make, _ = OPTIMIZERS[recipe.optimizer]
    return make(optim.decay_groups(model, recipe.weight_decay), lr=recipe.lr)


def make_loader(recipe: Recipe, training: ArrayDataset) -> DataLoader:
    """Return shuffled and augmented batches, prepared ahead, but for a short last one: one image has no variance."""
    kinds = (augmentation.Mixup, recipe.mixup), (augmentation.CutMix, recipe.cutmix)
    mix = next((kind(alpha, training.num_classes) for kind, alpha in kinds if alpha), None)
    steps = augmentation.Compose([AUGMENTATIONS[name]() for name in recipe.augment]) if recipe.augment else None
    options: dict[str, Any] = {"shuffle": True, "drop_last": True, "seed": recipe.seed}
    loader = DataLoader(training, recipe.batch_size, transform=steps, mix=mix, **options)
    return Prefetch(loader)


def make_schedule(recipe: Recipe, optimizer: optim.Optimizer, steps_per_epoch: int) -> optim.LRScheduler | None:
    """Return the learning rate over all steps: up during the warm-up, then down to nothing or constant."""
    total = recipe.epochs * steps_per_epoch
    if recipe.schedule == "onecycle":
        return optim.OneCycleLR(optimizer, recipe.lr, total, pct_start=recipe.warmup, cycle_momentum=False)
    rising = min(round(recipe.warmup * total), total - 1)
    phases: list[optim.LRScheduler] = []
    if rising:
        phases.append(optim.LinearWarmup(optimizer, rising, start_factor=0.01, per_batch=True))
    if recipe.schedule == "cosine":
        phases.append(optim.CosineAnnealingLR(optimizer, total - rising, per_batch=True))
    if len(phases) < 2:
        return phases[0] if phases else None
    return optim.SequentialLR(optimizer, phases, [rising])


def count_parameters(model: Module) -> int:
    """Return how many numbers a net learns."""
    return sum(parameter.size for parameter in model.parameters())


def load_data(recipe: Recipe, download: bool = False) -> tuple[ArrayDataset, ArrayDataset, ArrayDataset]:
    """Return the images to train, to validate and to test with.

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
    """Return the images of one split, at the size the recipe says; raises what `data.load` does."""
    return load(recipe.data, split, folder=recipe.data_folder, image_size=recipe.image_size, download=download)


def load_training(recipe: Recipe, download: bool = False) -> tuple[ArrayDataset, ArrayDataset]:
    """Return the images to train and to validate with; raises what `load_data` does."""
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
