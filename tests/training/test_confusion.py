from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.training.confusion import confusion_matrix, confusion_table


def test_counts_by_hand():
    found = confusion_matrix([0, 2, 1, 1, 2, 0], [0, 2, 2, 1, 2, 1], 4)
    assert found.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]
    assert found.dtype == np.int64


def test_no_examples_are_a_matrix_of_zeros():
    assert confusion_matrix(np.zeros(0, int), np.zeros(0, int), 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("predictions", "targets", "error", "message"),
    [
        ([0.5, 1.0], [0, 1], TypeError, "predictions are integers"),
        ([0, 1], [True, False], TypeError, "targets are integers"),
        ([[0, 1]], [0, 1], ValueError, "one class number for each example"),
        ([0, 1, 1], [0, 1], ValueError, "as many, got 3 and 2"),
        ([0, 2], [0, 1], ValueError, "predictions are classes from 0 to 1, got 2"),
        ([0, 1], [0, -1], ValueError, "targets are classes from 0 to 1, got -1"),
    ],
)
def test_what_are_no_classes_is_refused(predictions, targets, error, message):
    with pytest.raises(error, match=message):
        confusion_matrix(predictions, targets, 2)


def test_table_has_a_row_for_each_true_class_and_dots_for_zeros():
    lines = confusion_table([[12, 0, 1], [0, 3, 1], [0, 0, 0]], ("cat", "dog", "hen")).splitlines()
    assert [line.split() for line in lines] == [
        ["predicted", "cat", "dog", "hen", "found"],
        ["cat", "12", "·", "1", "92.3%"],
        ["dog", "·", "3", "1", "75.0%"],
        ["hen", "·", "·", "·", "-"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_heads_are_as_long_as_it_takes_to_tell_them_apart():
    names = ("maple bud", "maple bush", "oak")
    assert confusion_table(np.eye(3, dtype=int), names).splitlines()[0].split() == [
        *("predicted", "maple", "bud", "maple", "bus", "oak", "found")
    ]
    assert "  long-nam  oak  " in confusion_table(np.eye(2, dtype=int), ("long-named", "oak")).splitlines()[0]


def test_names_out_of_files_do_not_reach_the_terminal_as_they_are():
    names = ("\x1b[31mred", "two\nlines", "n" * 20_000)
    few, many = confusion_table(np.ones((3, 3), int), names), confusion_table(np.ones((30, 30), int), names * 10)
    for table in (few, many):
        assert all(line.isprintable() and len(line) < 120 for line in table.splitlines())
        assert "\\x1b[31mred" in table
    assert len(few.splitlines()) == 4
    assert len(many.splitlines()) == 11


def test_of_many_classes_only_the_commonest_confusions_are_told():
    matrix = np.diag(np.full(30, 50))
    for number in range(12):
        matrix[number, number + 1] = number + 1
    lines = confusion_table(matrix).splitlines()
    assert lines[1].strip() == "12 × 11 taken for 12"
    assert lines[-1].strip() == "3 × 2 taken for 3"
    assert len(lines) == 11
    assert confusion_table(np.eye(30, dtype=int)) == "no confusions"


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        (np.zeros((2, 3)), (), r"a square, got shape \(2, 3\)"),
        (np.zeros((0, 0)), (), "a square"),
        (np.eye(2), ("one",), "2 classes got 1 class names"),
    ],
)
def test_a_matrix_that_is_none_is_refused(matrix, names, message):
    with pytest.raises(ValueError, match=message):
        confusion_table(matrix, names)
