from __future__ import annotations

import pytest

from tinygrad_norm.training.history import History


def test_column():
    history = History([{"epoch": 1, "lr": 0.1, "train_loss": 2.0}, {"epoch": 2, "lr": 0.1, "train_loss": 1.5}])
    assert history.column("train_loss") == [2.0, 1.5]
    with pytest.raises(ValueError, match="epoch 1 measured no 'val_loss', only epoch, lr, train_loss; give fit"):
        history.column("val_loss")
