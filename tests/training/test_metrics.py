from __future__ import annotations

import numpy as np

from tinygrad_norm.training.metrics import Totals


def test_means_weigh_batches_by_their_examples():
    totals = Totals()
    totals.add(1.0, np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), np.array([0, 0, 0]))
    totals.add(5.0, np.array([[0.1, 0.9]]), np.array([1]))
    assert totals.means() == {"loss": 2.0, "accuracy": 0.75}


def test_there_is_no_accuracy_without_labels():
    totals = Totals()
    totals.add(0.5, np.zeros((4, 3)), np.zeros((4, 3)))
    totals.add(0.5, np.zeros((4, 1)), np.zeros((4, 1), dtype=np.int64))  # 0 or 1 for one logit: no classes to compare
    assert totals.means() == {"loss": 0.5}


def test_ignored_labels_and_pixels():
    output = np.random.default_rng(0).normal(size=(2, 3, 2, 2))
    target = output.argmax(axis=1)
    target[0, 0, 0] = -100
    target[1, 1, 1] = (target[1, 1, 1] + 1) % 3
    totals = Totals()
    totals.add(1.0, output, target)
    assert totals.means() == {"loss": 1.0, "accuracy": 6 / 7}
