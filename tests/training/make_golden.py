"""Write golden/checkpoint.safetensors, once for each version of the format: `python tests/training/make_golden.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinygrad_norm import nn, optim, random
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.training import BestWeights, Trainer

GOLDEN = Path(__file__).parent / "golden" / "checkpoint.safetensors"


def make_trainer() -> tuple[Trainer, DataLoader, DataLoader]:
    """A trainer with all that a checkpoint can hold, the loader to train with and the one to validate with."""
    random.manual_seed(0)
    rng = np.random.default_rng(0)
    data = ArrayDataset(rng.normal(size=(10, 3)).astype(np.float32), np.arange(10) % 2)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1D(4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    trainer = Trainer(
        model,
        optimizer,
        nn.CrossEntropyLoss(),
        schedule=optim.StepLR(optimizer, 1),
        callbacks=[BestWeights()],
        progress=False,
        extra={"curve": np.arange(3.0), "names": ("a", 1), "best": float("inf")},
    )
    return trainer, DataLoader(data, 4, shuffle=True), DataLoader(data, 4)


def main() -> None:
    trainer, loader, validation = make_trainer()
    trainer.fit(loader, 2, validation)
    trainer.save_checkpoint(GOLDEN)


if __name__ == "__main__":
    main()
