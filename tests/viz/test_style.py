"""The visual language: each kind has its look, each colour its twin by dark, and text can be read on all of them."""

from __future__ import annotations

import re

import pytest

from tests.viz.nets import item, node, small_graph
from tinygrad_norm.viz.outline import outline
from tinygrad_norm.viz.style import (
    BACKWARD,
    BOX,
    DARK,
    FORWARD,
    GROUND,
    LOOKS,
    LOST,
    RAMP,
    TEXT,
    kinds,
    look_of,
    style_sheet,
)


def brightness(colour):
    """The relative luminance of a colour, as the Web Content Accessibility Guidelines define it."""
    parts = [part / 255 for part in bytes.fromhex(colour[1:])]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dim, bright = sorted(map(brightness, (one, other)))
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("kind", LOOKS)
def test_text_and_lines_can_be_seen_by_light_and_by_dark(kind):
    look = LOOKS[kind]
    for text, ground, fill, line in (
        (TEXT[0], GROUND[0], look.fill, look.line),
        (TEXT[1], GROUND[1], look.dark_fill, look.dark_line),
    ):
        assert contrast(text, fill) > 7
        assert contrast(line, ground) > 3
        assert contrast(line, fill) > 3


def test_kinds_are_told_apart_by_more_than_colour():
    """By shape or by dashes; a fused op has two borders besides, and an input and an output are alike."""
    forms = {(look.shape, look.style) for look in LOOKS.values()}
    assert len(forms) == len({look.title for look in LOOKS.values()}) - 1
    assert LOOKS["op"][1:] == LOOKS["fused"][1:]
    assert LOOKS["input"] == LOOKS["output"]


def test_every_colour_has_its_twin_by_dark():
    for light, dark in (TEXT, GROUND, BOX, FORWARD, BACKWARD):
        assert DARK[light] == dark
    for look in LOOKS.values():
        assert (DARK[look.line], DARK[look.fill]) in {
            (look.dark_line, look.dark_fill),
            (look.dark_line, GROUND[1]),
        }
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for pair in DARK.items() for colour in pair)


def test_the_ramp_goes_from_dim_to_bright_and_what_is_lost_is_none_of_it():
    steps = [brightness(colour) for colour in RAMP]
    assert steps == sorted(steps)
    assert steps[-1] > 20 * steps[0]
    assert LOST not in RAMP


def test_the_sheet_has_two_colours_for_each_name():
    rules = dict(re.findall(r"--([a-z-]+):light-dark\((#\w+,#\w+)\);", style_sheet()))
    assert {"ground", "text", "box", "forward", "backward", "lost"} <= rules.keys()
    assert {name for kind in LOOKS for name in (kind, f"{kind}-line")} <= rules.keys()
    assert rules["saved"] == "#FBEEF5,#3B2030"
    assert rules["saved-line"] == "#A8527F,#CC79A7"
    assert rules["backward"] == ",".join(BACKWARD)


def test_an_op_that_is_fused_looks_like_one_and_a_module_of_it_does_not():
    found = [
        look_of(item(node(fused=fused), kind=kind)) for kind in ("op", "module", "tensor") for fused in (False, True)
    ]
    assert found == ["op", "fused", "module", "module", "tensor", "tensor"]


@pytest.mark.parametrize(
    ("direction", "depth", "expected"),
    [
        ("forward", None, ["fused", "parameter", "input", "output"]),
        ("both", None, ["fused", "parameter", "input", "output", "saved"]),
        ("both", 1, ["module", "input", "output"]),
    ],
)
def test_a_drawing_has_the_looks_of_what_is_in_it(direction, depth, expected):
    assert kinds(outline(small_graph(direction), depth), direction) == expected
