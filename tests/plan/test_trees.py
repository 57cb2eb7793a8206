"""Trees: what is in tuples, lists and dicts."""

from __future__ import annotations

from typing import NamedTuple

from tinygrad_norm.plan.trees import leaves, mapped


class Pair(NamedTuple):
    one: int
    other: list[int]


TREE = {"a": [1, (2, 3)], "b": Pair(4, [5]), "c": {}, "d": 6}


def test_leaves_are_met_from_left_to_right():
    assert [*leaves(TREE)] == [1, 2, 3, 4, 5, 6]
    assert [*leaves("text")] == ["text"]


def test_a_tree_keeps_its_form():
    doubled = mapped(lambda each: 2 * each, TREE)
    assert doubled == {"a": [2, (4, 6)], "b": Pair(8, [10]), "c": {}, "d": 12}
    assert type(doubled["b"]) is Pair
