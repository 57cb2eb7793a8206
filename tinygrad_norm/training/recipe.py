"""Recipes: all that a run of the zoo depends on, as values that JSON can say, and each model's own defaults."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tinygrad_norm import optim
from tinygrad_norm.checks import (
    BELOW_ONE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    check_integer,
    check_number,
    check_type,
    did_you_mean,
    refuse_unknown,
)
from tinygrad_norm.data import augmentation
from tinygrad_norm.data.loader import Transform
from tinygrad_norm.data.registry import names as data_sets
from tinygrad_norm.models import list_models
from tinygrad_norm.models.norms import OF_IMAGES, WITH_MOMENTUM, refuse_unfit
from tinygrad_norm.models.registry import MODELS
from tinygrad_norm.schema import shorten

OPTIMIZERS: dict[str, tuple[Callable[..., optim.Optimizer], float]] = {  # and the learning rate unless one is given
    "adam": (optim.Adam, 1e-3),
    "adamw": (optim.AdamW, 1e-3),
    "rmsprop": (optim.RMSprop, 3e-4),
    "sgd": (lambda groups, lr: optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True), 0.05),
}
SCHEDULES = ("onecycle", "cosine", "constant")
NORMS = (*OF_IMAGES, "none")
AUGMENTATIONS: dict[str, Callable[[], Transform]] = {
    "shift": lambda: augmentation.RandomShift(2),
    "crop": lambda: augmentation.RandomCrop(4),
    "flip": augmentation.RandomFlip,
    "rotate": lambda: augmentation.RandomRotation(10),
    "cutout": lambda: augmentation.Cutout(8),
    "noise": lambda: augmentation.GaussianNoise(0.05),
}

_NUMBERS = {
    "norm_momentum": FRACTION,
    "lr": POSITIVE,
    "warmup": BELOW_ONE,
    "weight_decay": NOT_NEGATIVE,
    "clip_norm": POSITIVE,
    "clip_adaptive": POSITIVE,
    "label_smoothing": BELOW_ONE,
    "mixup": NOT_NEGATIVE,
    "cutmix": NOT_NEGATIVE,
}
_FROM_DATA = "the data say it"
_NO_OPTIONS = {  # of create_model, for a recipe says them elsewhere
    "norm": "use --norm",
    "norm_momentum": "use --norm-momentum",
    "image_size": "use --image-size",
    "in_channels": _FROM_DATA,
    "num_classes": _FROM_DATA,
}
_LARGEST = 1e15  # of a number among the options: no net takes one that large, and arithmetic with it would overflow
_LOWEST = {"image_size": 1, "validation_every": 2, "epochs": 1, "batch_size": 1, "seed": 0}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a run of the zoo depends on; two runs of one recipe on one machine are alike, bit for bit.

    Args:
        model: a name from `list_models()`.
        norm: a name that `create_model` knows, such as "batch" or "none"; None is the model's own.
        norm_momentum: how much a new batch weighs in running statistics; None is the layer's own.
        options: what else `create_model` takes, by name.
        data: a data set's name, or a folder, of which the absolute path is kept.
        data_folder: where data sets that do not ship with the package lie; of no matter to what is learned.
        image_size: the height and width of the images.
        validation_every: of each class, every so-manieth training image is held out to validate.
        epochs: how often each training image is seen.
        batch_size: images a step.
        optimizer: "adam", "adamw", "rmsprop" or "sgd" (with Nesterov momentum 0.9).
        lr: the highest learning rate.
        schedule: "onecycle" or "cosine", which go down to nothing, by batches, or "constant".
        warmup: the part of all steps in which the learning rate rises to `lr`.
        weight_decay: of weights; biases and norms are spared.
        clip_norm: the largest norm of all gradients together; None for no limit.
        clip_adaptive: the largest norm of the gradient of each unit, as a part of that of its weights; None for none.
        label_smoothing: the part of each target that is spread over all classes.
        augment: names from `AUGMENTATIONS`, applied in this order.
        mixup: Mixup's alpha; 0 is none.
        cutmix: CutMix's alpha; 0 is none.
        seed: of the weights, of dropout, of the order of the data and of augmentation.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value out of range, or a name that is unknown; the error says which one was probably meant.

    Example:
        >>> recipe = training.Recipe(model="lenet5", norm="group", epochs=3)
        >>> recipe.optimizer, recipe.batch_size
        ('adamw', 64)
    """

    model: str
    norm: str | None = None
    norm_momentum: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    data: str = "digits"
    data_folder: str = "datasets"
    image_size: int = 32
    validation_every: int = 10
    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float = 2e-3
    schedule: str = "onecycle"
    warmup: float = 0.25
    weight_decay: float = 0.05
    clip_norm: float | None = None
    clip_adaptive: float | None = None
    label_smoothing: float = 0.05
    augment: tuple[str, ...] = ("shift",)
    mixup: float = 0.0
    cutmix: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("model", list_models()), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            _check_name(name, getattr(self, name), known)
        if self.norm is not None:
            refuse_unfit(self.norm, MODELS[self.model].of_rows)
            _check_name("norm", self.norm, NORMS)
        if isinstance(self.augment, str) or not isinstance(self.augment, (tuple, list)):
            raise TypeError(f"augment is a tuple of names, got {self.augment!r}")
        for name in self.augment:
            _check_name("augment", name, AUGMENTATIONS)
        tidy: dict[str, Any] = {name: str(getattr(self, name)) for name in ("data", "data_folder")}  # Paths are welcome
        if tidy["data"] not in data_sets and os.path.isdir(tidy["data"]):
            tidy["data"] = os.path.abspath(tidy["data"])  # to be found from another working folder too
        for name, allowed in _NUMBERS.items():
            if (value := getattr(self, name)) is not None or name not in (
                "norm_momentum",
                "clip_norm",
                "clip_adaptive",
            ):
                tidy[name] = check_number(name, value, allowed)
        tidy |= {name: check_integer(name, getattr(self, name), lowest) for name, lowest in _LOWEST.items()}
        tidy |= {"augment": tuple(self.augment), "options": _plain(self.options)}
        for name, value in tidy.items():
            object.__setattr__(self, name, value)  # a frozen dataclass may still tidy up what it was given
        if given := [name for name in _NO_OPTIONS if name in self.options]:
            raise ValueError(f"{given[0]} is no option of the net in a recipe: {_NO_OPTIONS[given[0]]}")
        own = inspect.signature(MODELS[self.model].__init__).parameters["norm"].default
        if self.norm_momentum is not None and (self.norm or own) not in WITH_MOMENTUM:
            keeping = ", ".join(sorted(WITH_MOMENTUM))
            raise ValueError(
                f"norm_momentum is for norms that keep running statistics ({keeping}), got it for {self.norm or own!r}"
            )
        if self.mixup and self.cutmix:
            raise ValueError(f"mixup and cutmix exclude each other, got mixup={self.mixup} and cutmix={self.cutmix}")

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe in values that JSON knows."""
        return dataclasses.asdict(self) | {"augment": list(self.augment)}

    @classmethod
    def from_dict(cls, values: Any) -> Recipe:
        """Return the recipe that `to_dict` described.

        Raises:
            TypeError, ValueError: it is no such description, or not one that this version knows.
        """
        if not isinstance(values, Mapping) or "model" not in values:
            raise ValueError("a recipe is a dict with at least a 'model'")
        refuse_unknown("Recipe", values, FIELDS)
        return cls(**values)


FIELDS = tuple(entry.name for entry in dataclasses.fields(Recipe))

# What suits 1,298 digits at 32×32 (every tenth of the 1,442 validates); all else is as Recipe says.
DEFAULTS: dict[str, dict[str, Any]] = {
    "mlp": {"epochs": 30},
    "lenet5": {"epochs": 15, "lr": 4e-3},
    "baseline_cnn": {"epochs": 10},
    "alexnet": {"epochs": 12, "lr": 1e-3},
    "vgg16": {"epochs": 10, "lr": 1e-3},
    "resnet18": {"epochs": 8},
    "efficientnet_b0": {"epochs": 15, "batch_size": 32, "options": {"stochastic_depth": 0.0}},
    "convnext_tiny": {
        "epochs": 12,
        "batch_size": 32,
        "lr": 1e-3,
        "schedule": "cosine",
        "warmup": 0.2,
        "options": {"stochastic_depth": 0.0, "layer_scale": 0.1},  # at 1e-6, blocks take long to come to anything
    },
}
PHOTOS = ("cifar10", "cifar100")  # may be mirrored and shifted further than digits


def recipe_for(model: str, **changes: Any) -> Recipe:
    """Return a model's own recipe, with changes.

    The defaults are for digits. Another optimizer brings its own learning rate, and CIFAR its augmentation, unless
    they are among the changes.

    Raises:
        TypeError, ValueError: as Recipe does, or a change that a recipe does not have.

    Example:
        >>> recipe = training.recipe_for("mlp", epochs=2)
        >>> recipe.model, recipe.epochs, recipe.optimizer
        ('mlp', 2, 'adamw')
    """
    _check_name("model", model, list_models())
    refuse_unknown("Recipe", changes, FIELDS)
    recipe = Recipe(model=model, **DEFAULTS.get(model, {}))
    if "optimizer" in changes and changes["optimizer"] != recipe.optimizer:
        _check_name("optimizer", changes["optimizer"], OPTIMIZERS)
        changes = {"lr": OPTIMIZERS[changes["optimizer"]][1]} | changes
    if changes.get("data") in PHOTOS:
        changes = {"augment": ("crop", "flip")} | changes
    if "options" in changes:
        changes["options"] = {**recipe.options, **_plain(changes["options"])}
    return dataclasses.replace(recipe, **changes)


def _check_name(what: str, name: Any, known: Collection[str]) -> None:
    check_type(what, name, str, f"a name, one of {', '.join(known)}")
    if name not in known:
        raise ValueError(f"{what} is one of {', '.join(known)}, got {shorten(name)}{did_you_mean(name, known)}")


def _plain(options: Any) -> dict[str, Any]:
    """Return a copy of the options, as JSON would give them back."""
    check_type("options", options, Mapping, "a dict of what create_model takes")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(options), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"options hold what JSON can say, got {shorten(dict(options))} ({error})") from error
    for name, value in plain.items():
        if isinstance(value, (int, float)) and not -_LARGEST <= value <= _LARGEST:
            raise ValueError(f"options: {name} is a number of at most {_LARGEST:g}, got {shorten(value)}")
    return plain
