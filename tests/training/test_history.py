from __future__ import annotations

import math

import pytest

from tinygrad_norm.training.history import History


def test_an_accuracy_that_is_missing_is_nan_where_the_loss_is():
    history = History([
        {"epoch": 1, "lr": 0.1, "train_loss": 2.0, "val_loss": math.nan},
        {"epoch": 2, "lr": 0.1, "train_loss": 2.0, "val_loss": 1.0, "val_accuracy": 0.5},
    ])  # fmt: skip
    first, second = history.column("val_accuracy")
    assert math.isnan(first)
    assert second == 0.5
    with pytest.raises(ValueError, match=r"no 'train_accuracy', only .*; there is an accuracy of class numbers"):
        history.column("train_accuracy")


def test_column():
    history = History([{"epoch": 1, "lr": 0.1, "train_loss": 2.0}, {"epoch": 2, "lr": 0.1, "train_loss": 1.5}])
    assert history.column("train_loss") == [2.0, 1.5]
    with pytest.raises(ValueError, match="epoch 1 measured no 'val_loss', only epoch, lr, train_loss; give fit"):
        history.column("val_loss")
