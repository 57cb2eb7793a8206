"""Small runs of training, and who watches them."""

from __future__ import annotations

import json
import signal
from typing import Any

import numpy as np

from tinygrad_norm import nn, optim, random
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.training import Callback, Trainer
from tinygrad_norm.training.state import split_state

EPOCHS = 4


SCHEDULES: dict[str, Any] = {
    "none": lambda optimizer: None,
    "by epoch": lambda optimizer: optim.StepLR(optimizer, 1, 0.7),
    "by batch": lambda optimizer: optim.OneCycleLR(optimizer, 0.1, epochs=EPOCHS, steps_per_epoch=5),
    "on a plateau": lambda optimizer: optim.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
}


def noisy(batch, generator):
    return batch + generator.normal(size=batch.shape).astype(batch.dtype)


def a_dataset(examples=37, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, examples)
    return ArrayDataset((rng.normal(size=(examples, 6)) + targets[:, None]).astype(np.float32), targets)


class Run:
    """All that makes up a training run, freshly made: with everything that could go wrong on a resume."""

    def __init__(
        self, schedule: str = "none", optimizer: Any = optim.Adam, callbacks: Any = (), **options: Any
    ) -> None:
        self.model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1D(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
        self.optimizer = optimizer(self.model.parameters(), lr=0.05)
        self.loader = DataLoader(a_dataset(), 8, shuffle=True, seed=3, transform=noisy)
        self.validation: Any = DataLoader(a_dataset(10, seed=1), 4, shuffle=True, transform=noisy)
        self.trainer = Trainer(
            self.model,
            self.optimizer,
            nn.CrossEntropyLoss(),
            schedule=SCHEDULES[schedule](self.optimizer),
            callbacks=callbacks,
            **{"progress": False, "clip_norm": 2.0} | options,
        )

    def fit(self, epochs=EPOCHS):
        return self.trainer.fit(self.loader, epochs, self.validation)

    def resume(self, path):
        self.trainer.resume(path, self.loader)
        return self

    def state(self):
        """Every bit that the run consists of."""
        tree, arrays = split_state(
            [
                {name: np.asarray(array) for name, array in self.model.state_dict().items()},
                self.optimizer.state_dict(),
                self.loader.state_dict(),
                self.validation.state_dict(),
                self.trainer.schedule.state_dict() if self.trainer.schedule else None,
                self.trainer.state_dict(),
                random.state_dict(),
            ]
        )
        return json.dumps(tree), {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


class CtrlC(Callback):
    """Presses Ctrl-C once: in a batch of an epoch, when the epoch ends (batch 0), or in its validation (batch -1)."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.moment = (epoch, batch)

    def press(self, *moment: int) -> None:
        if moment == self.moment:
            self.moment = (0, 0)
            signal.raise_signal(signal.SIGINT)

    def on_batch_end(self, trainer, loss):
        self.press(trainer.epoch + 1, trainer.batch)

    def on_epoch_end(self, trainer, record):
        self.press(trainer.epoch, 0)
