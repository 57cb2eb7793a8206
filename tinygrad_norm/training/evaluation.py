"""How good a trained classifier is: loss, accuracy, and which class it takes for which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn import CrossEntropyLoss, Module
from tinygrad_norm.nn.training_mode import in_inference
from tinygrad_norm.plan.captured import capture
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training.confusion import Integers, confusion_matrix
from tinygrad_norm.training.step import predict


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a classifier made of a data set.

    Args:
        accuracy: the share of the examples whose class it found, 0 to 1.
        loss: the mean cross-entropy.
        confusion: the counts, true class by predicted class.
        class_names: of the rows and columns.

    Example:
        >>> result = training.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), data.digits("test"))
        >>> result.confusion.shape, int(result.confusion.sum()), result.class_names[:3]
        ((10, 10), 355, ('0', '1', '2'))
    """

    accuracy: float
    loss: float
    confusion: Integers
    class_names: tuple[str, ...]


def evaluate(model: Module, dataset: ArrayDataset, batch_size: int = 128) -> Evaluation:
    """Measure a classifier in inference mode; the model is left as it was.

    Targets of -100, cross-entropy's `ignore_index`, do not count.

    Raises:
        ValueError: the data set is empty, or has other classes than the model; every target is ignored.
        FloatingPointError: the model gives NaN, which predicts no class.

    Example:
        >>> result = training.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), data.digits("test"))
        >>> 0 <= result.accuracy <= 1, result.loss > 0
        (True, True)
    """
    run = capture(predict)
    with in_inference(model), no_grad():
        logits = np.concatenate([run(model, images).numpy() for images, _ in DataLoader(dataset, batch_size)])
    classes, named = logits.shape[1], len(dataset.class_names)
    if dataset.num_classes > classes or (named and named != classes):
        raise ValueError(f"the model tells {classes} classes apart, the data set has {dataset.num_classes}")
    criterion = CrossEntropyLoss()
    loss = float(criterion(Tensor(logits), dataset.targets).item())
    counted = dataset.targets != criterion.ignore_index
    logits, targets = logits[counted], dataset.targets[counted]
    if count := np.count_nonzero(np.isnan(logits).any(axis=1)):
        raise FloatingPointError(f"evaluate: the model gives NaN for {count} of {len(dataset)} examples")
    confusion = confusion_matrix(logits.argmax(axis=1), targets, classes)
    accuracy = float(np.trace(confusion) / len(targets))
    return Evaluation(accuracy, loss, confusion, dataset.class_names or tuple(map(str, range(classes))))
