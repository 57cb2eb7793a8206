"""Small runs of a trainer whose steps are replayed or eager, of every kind of part that it has."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_norm import manual_seed, models, nn, optim
from tinygrad_norm.data import ArrayDataset, DataLoader, Prefetch, augmentation
from tinygrad_norm.training import Trainer

NORMS = {
    "batch": nn.BatchNorm2D,
    "layer": nn.LayerNorm2D,
    "group": lambda channels: nn.GroupNorm(2, channels),
    "instance": nn.InstanceNorm2D,
    "renorm": nn.BatchRenorm2D,
    "power": nn.PowerNorm,
}
OPTIMIZERS = {
    "sgd": lambda groups: optim.SGD(groups, 0.05, momentum=0.9, nesterov=True),
    "adamw": lambda groups: optim.AdamW(groups, 1e-3, amsgrad=True),
    "rmsprop": lambda groups: optim.RMSprop(groups, 1e-3, centered=True),
    "lookahead": lambda groups: optim.Lookahead(optim.Adam(groups, 1e-3), k=2),
}
SCHEDULES = {
    "none": lambda optimizer: None,
    "cosine": lambda optimizer: optim.CosineAnnealingLR(optimizer, 24, per_batch=True),
    "onecycle": lambda optimizer: optim.OneCycleLR(optimizer, 0.01, 24, cycle_momentum=False),
    "plateau": lambda optimizer: optim.ReduceLROnPlateau(optimizer, patience=0),
}


def a_net(norm: str, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        nn.Conv2D(1, 4, 3, padding=1),
        NORMS[norm](4),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(4 * 6 * 5, 3),
    )


def a_net_of_the_zoo(name: str, norm: str | None) -> nn.Module:
    """One of the zoo for images of 17 pixels, so narrow that a step takes milliseconds."""
    narrow: dict[str, Any] = {} if name in ("mlp", "lenet5") else {"width": 0.125}
    return models.create_model(name, 3, 1, norm=norm, image_size=17, **narrow)


def images(count: int, shape: tuple[int, ...] = (1, 6, 5)) -> ArrayDataset:
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(count, *shape)).astype(np.float32)
    return ArrayDataset(inputs, generator.integers(0, 3, count))


def a_trainer(folder: Any, capture: bool, choice: dict[str, Any]) -> tuple[Trainer, Any]:
    manual_seed(3)
    of_zoo = "net" in choice
    model = a_net_of_the_zoo(choice["net"], choice["norm"]) if of_zoo else a_net(choice["norm"], choice["dropout"])
    optimizer = OPTIMIZERS[choice["optimizer"]](optim.decay_groups(model, choice["decay"]))
    mix = augmentation.Mixup(0.5, 3) if choice["mix"] else None
    data = images(45, (1, 17, 17) if of_zoo else (1, 6, 5))
    loader: Any = DataLoader(data, 8, shuffle=True, mix=mix, seed=2)  # the last batch has 5
    folder.mkdir(exist_ok=True)
    trainer = Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(label_smoothing=choice["smoothing"]),
        schedule=SCHEDULES[choice["schedule"]](optimizer),
        clip_norm=choice["clip_norm"],
        clip_adaptive=choice["clip_adaptive"],
        log=folder / "log.jsonl",
        checkpoint=folder / "checkpoint.safetensors",
        progress=False,
        capture=capture,
    )
    return trainer, Prefetch(loader) if choice["prefetch"] else loader


def drawn(generator: np.random.Generator) -> dict[str, Any]:
    options: dict[str, list[Any]] = {
        "norm": [*NORMS],
        "optimizer": [*OPTIMIZERS],
        "schedule": [*SCHEDULES],
        "dropout": [0.0, 0.3],
        "decay": [0.0, 0.02],
        "mix": [False, True],
        "smoothing": [0.0, 0.1],
        "clip_norm": [None, 0.5],
        "clip_adaptive": [None, 0.02],
        "prefetch": [False, True],
    }
    return {name: values[generator.integers(len(values))] for name, values in options.items()}


def written(folder: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
