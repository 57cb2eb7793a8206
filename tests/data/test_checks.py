from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.data.checks import check_labels, in_words

PATH = Path("labels.npy")


def test_labels_that_fit_pass():
    check_labels(PATH, np.array([0, 2, 1], np.uint8), 3)
    check_labels(PATH, np.array([0, 2, 1]), 3, 3)
    check_labels(PATH, np.zeros(0, np.int64), 0, 1)


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        (np.array([0.0, 1.0]), None, r"labels are integers \(2,\), one per image, found float64\(2,\)"),
        (np.array([[0, 1]]), None, r"found int64\(1, 2\)"),
        (np.array([0, 1, 2]), None, r"integers \(2,\)"),
        (np.array([0, -1]), None, "labels are 0 or more, found -1"),
        (np.array([0, 2]), 2, "labels are 0 to 1, found 2"),
        (np.array([0, 2**63], np.uint64), None, "labels are 0 or more, found 9223372036854775808"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, classes, words):
    with pytest.raises(ValueError, match=f"labels.npy: .*{words}"):
        check_labels(PATH, labels, 2, classes)


def test_an_array_in_words():
    assert in_words(np.zeros((2, 3), np.float32)) == "float32(2, 3)"
    assert in_words(np.zeros(0, bool)) == "bool(0,)"
