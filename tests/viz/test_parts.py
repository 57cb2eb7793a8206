"""The parts of a drawing: items in boxes, the nodes for which they stand, and copies that stand for more."""

from __future__ import annotations

from typing import Any

from tests.viz.nets import item, node
from tinygrad_norm.viz.parts import Box, Item, copied, items_in, shared_length


def box(*parts):
    return Box("box1", "box", "module", [each.last for each in parts], parts=list(parts))


def test_items_are_found_in_boxes_in_order():
    one, two, three = (item(node(name)) for name in ("One", "Two", "Three"))
    assert list(items_in([box(one, box(two)), three])) == [one, two, three]
    assert list(items_in([])) == []


def test_an_item_has_the_output_of_its_last_node_and_the_names_of_all():
    found = item(node("One"), node("Two"), others=[[node("Three"), node("Four")], [node("Five")]])
    assert found.last.name == "Two"
    assert list(found.folded_nodes) == ["Three0", "Four0", "Five0"]
    assert found.all_nodes == ["One0", "Two0", "Three0", "Four0", "Five0"]


def test_an_output_has_its_own_name_alone():
    assert Item("output0", "output", "output", [node("Last")], others=[[node("Other")]]).all_nodes == ["output0"]


def test_a_copy_stands_for_others_and_the_first_does_not():
    inner = item(node("One"))
    first = box(inner)
    copy: Any = copied(first)
    copy.others.append([node("Two")])
    copy.parts[0].others.append([node("Three")])
    copy.parts.append(item(node("Four")))
    assert (first.others, first.parts, inner.others) == ([], [inner], [])
    assert copy.parts[0].nodes is inner.nodes
    assert isinstance(copy, Box)


def test_what_two_paths_share_from_the_start():
    assert shared_length(("a", "b", "c"), ("a", "b", "d", "c")) == 2
    assert shared_length(("a", "b"), ("a", "b", "c")) == 2
    assert shared_length(("b", "a"), ("a", "b")) == shared_length((), ("a",)) == 0
