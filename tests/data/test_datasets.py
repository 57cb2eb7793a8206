from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tinygrad_norm.data import ArrayDataset


def test_indexing_takes_the_same_examples_of_both_arrays():
    dataset = ArrayDataset(np.arange(10.0).reshape(5, 2), np.array([4, 3, 2, 1, 0]))
    assert len(dataset) == 5
    for index in (2, -1, slice(1, 4), [3, 0, 3], np.array([4, 1]), np.array([True, False, False, True, True])):
        inputs, targets = dataset[index]
        np.testing.assert_array_equal(inputs, dataset.inputs[index], strict=True)
        np.testing.assert_array_equal(4 - inputs[..., 0] / 2, targets)


def test_it_is_frozen_and_tells_its_shapes():
    dataset = ArrayDataset(np.zeros((3, 1, 8, 8), np.float32), np.zeros(3, np.int64))
    assert repr(dataset) == "ArrayDataset(inputs=float32(3, 1, 8, 8), targets=int64(3,))"
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.targets = np.ones(3)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("inputs", "targets", "error", "message"),
    [
        (np.zeros((3, 2)), np.zeros(4), ValueError, "inputs and targets are as many, got 3 and 4"),
        (np.zeros(()), np.zeros(1), ValueError, r"inputs has a first axis .* got shape \(\)"),
        (np.zeros(1), np.zeros(()), ValueError, "targets has a first axis"),
        ([[1.0]], np.zeros(1), TypeError, "inputs is a NumPy array, as np.asarray makes one, got list"),
        (np.zeros(1), (1,), TypeError, "targets is a NumPy array, .* got tuple"),
    ],
)
def test_what_is_no_data_set_is_refused(inputs, targets, error, message):
    with pytest.raises(error, match=message):
        ArrayDataset(inputs, targets)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_num_classes_counts_the_names_or_up_to_the_largest_label(dtype):
    inputs, labels = np.zeros((3, 1)), np.array([0, 4, 1], dtype)
    assert ArrayDataset(inputs, labels).num_classes == 5
    assert ArrayDataset(inputs, labels, tuple("abcdefg")).num_classes == 7
    assert ArrayDataset(inputs[:0], labels[:0]).num_classes == 0


@pytest.mark.parametrize("targets", [np.zeros(3), np.zeros((3, 2), np.int64)])
def test_num_classes_needs_labels(targets):
    with pytest.raises(TypeError, match="counted from integer labels"):
        _ = ArrayDataset(np.zeros((3, 1)), targets).num_classes


def test_split_holds_out_every_nth_of_each_class_in_order():
    labels = np.array([0, 1, 0, 0, 1, 0, 1, 0, 0, 2])
    dataset = ArrayDataset(np.arange(10), labels, ("a", "b", "c"))
    rest, held_out = dataset.split(every=3)
    np.testing.assert_array_equal(held_out.inputs, [3, 6, 8])  # the third and sixth 0, the third 1, no 2
    np.testing.assert_array_equal(held_out.targets, [0, 1, 0])
    np.testing.assert_array_equal(rest.inputs, [0, 1, 2, 4, 5, 7, 9])
    assert rest.class_names == held_out.class_names == ("a", "b", "c")
    assert not np.shares_memory(rest.inputs, dataset.inputs)


def test_split_takes_targets_that_are_no_labels_as_one_class():
    rest, held_out = ArrayDataset(np.arange(7), np.linspace(0, 1, 7)).split(every=3)
    np.testing.assert_array_equal(held_out.inputs, [2, 5])
    np.testing.assert_array_equal(rest.inputs, [0, 1, 3, 4, 6])


def test_split_keeps_at_least_half():
    with pytest.raises(ValueError, match="every is an integer of at least 2, got 1"):
        ArrayDataset(np.zeros(3), np.zeros(3)).split(every=1)
