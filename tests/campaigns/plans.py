"""Training replayed beside training op by op: every net of the zoo, norm, optimizer, schedule, clipping and so on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.campaigns.campaign import Kind
from tests.training.recorded_runs import a_trainer, drawn, images, written
from tinygrad_norm.data import DataLoader
from tinygrad_norm.models import list_models
from tinygrad_norm.models.norms import OF_IMAGES, OF_ROWS
from tinygrad_norm.models.registry import MODELS

EPOCHS = 3


def small(rng: np.random.Generator, folder: Path) -> None:
    """A small net."""
    compare(folder, drawn(rng))


def of_the_zoo(rng: np.random.Generator, folder: Path) -> None:
    """A net of the zoo with one of its norms."""
    net = str(rng.choice(list_models()))
    norm = str(rng.choice([*(OF_ROWS if MODELS[net].of_rows else OF_IMAGES), "none"]))
    compare(folder, drawn(rng) | {"net": net, "norm": norm})


def compare(folder: Path, choice: dict[str, object]) -> None:
    """Complain if the two leave other bytes, or if the steps are not replayed in the end."""
    shape = (1, 17, 17) if "net" in choice else (1, 6, 5)
    ends: list[str] = []
    for name, capture in (("eager", False), ("captured", True)):
        trainer, loader = a_trainer(folder / name, capture, choice)
        try:
            trainer.fit(loader, EPOCHS, DataLoader(images(20, shape), 8))
            ends.append("")
        except (FloatingPointError, ValueError) as error:  # it may diverge, or the net refuse the norm
            ends.append(f"{type(error).__name__}: {error}")
        why = getattr(trainer.take_step, "why", "")
    assert ends[0] == ends[1], f"{choice}: {ends[0] or 'it trains'}, captured {ends[1] or 'it trains'}"
    assert ends[0] or not why, f"{choice}: {why}"
    assert written(folder / "eager") == written(folder / "captured"), f"{choice}: other bytes"


KINDS = [Kind("plans", "a small net", 200, small), Kind("plans", "the zoo", 200, of_the_zoo)]
