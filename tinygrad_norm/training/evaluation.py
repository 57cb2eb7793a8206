"""How good a trained classifier is: loss, accuracy, and which class it takes for which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tinygrad_norm import ops
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.nn import Module
from tinygrad_norm.tape import no_grad
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training.confusion import Matrix, confusion_matrix


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier made of a data set.

    Args:
        accuracy: the share of the examples whose class it found, 0 to 1.
        loss: the mean cross-entropy.
        confusion: the counts, true class by predicted class.
        class_names: of the rows and columns.
    """

    accuracy: float
    loss: float
    confusion: Matrix
    class_names: tuple[str, ...]


def evaluate(model: Module, dataset: ArrayDataset, batch_size: int = 128) -> Evaluation:
    """Measure a classifier in inference mode; the model is left as it was.

    Raises:
        ValueError: the data set is empty, or has other classes than the model.
    """
    with inference(model):
        logits = np.concatenate([model(Tensor(images)).numpy() for images, _ in DataLoader(dataset, batch_size)])
    classes, named = logits.shape[1], len(dataset.class_names)
    if dataset.num_classes > classes or (named and named != classes):
        raise ValueError(f"the model tells {classes} classes apart, the data set has {dataset.num_classes}")
    confusion = confusion_matrix(logits.argmax(axis=1), dataset.targets, classes)
    return Evaluation(
        accuracy=float(np.trace(confusion) / len(dataset)),
        loss=float(ops.cross_entropy(logits, dataset.targets).item()),
        confusion=confusion,
        class_names=dataset.class_names or tuple(map(str, range(classes))),
    )


@contextmanager
def inference(model: Module) -> Iterator[None]:
    """Inference mode without a tape, and afterwards each module in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
