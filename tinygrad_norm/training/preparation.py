"""What a recipe is made into: a net, its optimizer, the loader of its images and the schedule of its learning rate."""

from __future__ import annotations

import copy
from typing import Any

from tinygrad_norm import optim, random
from tinygrad_norm.data import ArrayDataset, DataLoader, Prefetch, augmentation
from tinygrad_norm.models import create_model
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn import Module
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training.interrupt import closed
from tinygrad_norm.training.recipe import AUGMENTATIONS, OPTIMIZERS, Recipe


def prepare(recipe: Recipe, training: ArrayDataset) -> tuple[Module, optim.Optimizer, DataLoader]:
    """The net, its optimizer and the loader of its training images, all freshly seeded."""
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
    """The net of a recipe, for images of so many channels.

    Raises:
        ValueError: the net does not take such images, or an option that the recipe has for it.
    """
    own: dict[str, Any] = {"norm": recipe.norm, "norm_momentum": recipe.norm_momentum, "image_size": recipe.image_size}
    try:
        return create_model(recipe.model, classes, channels, **own, **recipe.options)
    except TypeError as error:  # of an option, which JSON or the command line made what it is
        raise ValueError(str(error)) from error


def make_optimizer(recipe: Recipe, model: Module) -> optim.Optimizer:
    """The optimizer of a net's parameters; biases and norms do not decay."""
    make, _ = OPTIMIZERS[recipe.optimizer]
    return make(optim.decay_groups(model, recipe.weight_decay), lr=recipe.lr)


def make_loader(recipe: Recipe, training: ArrayDataset) -> DataLoader:
    """Shuffled and augmented batches, prepared ahead. A short last one is left out: one image has no variance."""
    mix: Any = None
    if recipe.mixup:
        mix = augmentation.Mixup(recipe.mixup, training.num_classes)
    elif recipe.cutmix:
        mix = augmentation.CutMix(recipe.cutmix, training.num_classes)
    steps = [AUGMENTATIONS[name]() for name in recipe.augment]
    loader = DataLoader(
        training,
        recipe.batch_size,
        shuffle=True,
        drop_last=True,
        seed=recipe.seed,
        transform=augmentation.Compose(steps) if steps else None,
        mix=mix,
    )
    return Prefetch(loader)


def make_schedule(recipe: Recipe, optimizer: optim.Optimizer, steps_per_epoch: int) -> optim.LRScheduler | None:
    """The learning rate over all steps: up during the warm-up, then down to nothing or constant."""
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
    """How many numbers a net learns."""
    return sum(parameter.size for parameter in model.parameters())
