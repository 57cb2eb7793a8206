from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import is_recording, nn
from tinygrad_norm.data import ArrayDataset
from tinygrad_norm.training.evaluation import evaluate

LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]]))
LABELS = np.array([0, 1, 1, 2, 0])


def test_loss_accuracy_and_confusion_by_hand():
    found = evaluate(nn.Identity(), ArrayDataset(LOGITS, LABELS), batch_size=2)
    assert found.accuracy == 3 / 5
    assert found.loss == pytest.approx(-np.log([0.7, 0.8, 0.2, 0.4, 0.2]).mean())
    assert found.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert found.class_names == ("0", "1", "2")
    assert evaluate(nn.Identity(), ArrayDataset(LOGITS, LABELS, ("a", "b", "c"))).class_names == ("a", "b", "c")


def test_ignored_labels_count_nowhere():
    labels = np.array([0, 1, -100, 2, -100])
    found = evaluate(nn.Identity(), ArrayDataset(LOGITS, labels), batch_size=2)
    assert found.accuracy == 1.0
    assert found.loss == pytest.approx(-np.log([0.7, 0.8, 0.4]).mean())
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="no mean, as every target is ignore_index"):
        evaluate(nn.Identity(), ArrayDataset(LOGITS, np.full(5, -100)))


def test_nan_is_no_prediction():
    logits = LOGITS.copy()
    logits[[1, 3], 2] = np.nan
    with pytest.raises(FloatingPointError, match="evaluate: the model gives NaN for 2 of 5 examples"):
        evaluate(nn.Identity(), ArrayDataset(logits, LABELS), batch_size=2)
    assert evaluate(nn.Identity(), ArrayDataset(logits, np.array([0, -100, 1, -100, 0]))).accuracy == 1 / 3


def test_a_model_with_other_classes_is_refused():
    for dataset in (ArrayDataset(LOGITS, LABELS + 1), ArrayDataset(LOGITS, LABELS, ("a", "b", "c", "d"))):
        with pytest.raises(ValueError, match="the model tells 3 classes apart, the data set has 4"):
            evaluate(nn.Identity(), dataset)


def test_each_module_is_left_in_its_mode_and_nothing_is_recorded():
    class Watched(nn.Identity):
        def forward(self, x):
            seen.append((self.training, is_recording()))
            return super().forward(x)

    seen: list[tuple[bool, bool]] = []
    model = nn.Sequential(nn.BatchNorm1D(3), nn.Dropout(0.5), Watched())
    model[1].eval()
    evaluate(model, ArrayDataset(LOGITS.astype(np.float32), LABELS))
    assert seen == [(False, False)]
    assert [module.training for module in model] == [True, False, True]
    assert is_recording()
