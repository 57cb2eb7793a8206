"""The picture of the values that share a statistic."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from tinygrad_norm.viz.sharing import picture


def sides(svg):
    return [each.get("class") for each in ElementTree.fromstring(svg).iter("polygon")]


def test_a_block_shows_three_sides():
    shared = np.zeros((2, 3, 4), bool)
    shared[:, :, -1] = True
    found = sides(picture(shared, ("N", "H · W", "C")))
    assert found.count("front") + found.count("front shared") == 3 * 4
    assert [found.count(f"{side} shared") for side in ("front", "top", "side")] == [3, 2, 2 * 3]


def test_a_matrix_is_flat():
    svg = picture(np.eye(3, dtype=bool)[None], ("", "<rest>", "axes"))
    assert sides(svg).count("front shared") == 3
    assert len(sides(svg)) == 9
    texts = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert texts == ["axes →", "<rest> ↓"]


def test_nothing_is_drawn_outside_of_the_picture():
    svg = ElementTree.fromstring(picture(np.zeros((4, 4, 6), bool), ("N", "H · W", "C")))
    width, height = float(svg.get("width")), float(svg.get("height"))
    for polygon in svg.iter("polygon"):
        for point in polygon.get("points").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
