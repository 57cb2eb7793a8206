"""How figures are written, wherever they stand."""

from __future__ import annotations

import math

import pytest

from tinygrad_norm.viz import formats


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (formats.size, 0, "0 B"),
        (formats.size, 999, "999 B"),
        (formats.size, 1000, "1.0 kB"),
        (formats.size, 1536, "1.5 kB"),
        (formats.size, 25_000_000, "25.0 MB"),
        (formats.size, 1.5e12, "1,500.0 GB"),
        (formats.flops, 256, "256 FLOP"),
        (formats.flops, 1_234_567, "1.23 MFLOP"),
        (formats.flops, 2e13, "20 TFLOP"),
        (formats.seconds, 0.0, "0 µs"),
        (formats.seconds, 7e-3, "7 ms"),
        (formats.seconds, 1.5, "1.5 s"),
        (formats.gradient, 1e-4, "0.0001"),
        (formats.gradient, math.nan, "nan"),
        (formats.shape, (2, 3), "2 × 3"),
        (formats.shape, (), "scalar"),
    ],
)
def test_a_figure_has_one_form(write, value, text):
    assert write(value) == text


def test_the_width_of_an_arrow_grows_with_each_byte():
    assert [formats.width(nbytes) for nbytes in (0, 1, 100, 1000, 10_000)] == [0.8, 0.8, 0.8, 1.3, 1.8]
    assert formats.width(262_144) < formats.width(999_999)


@pytest.mark.parametrize(
    ("write", "number", "words"),
    [
        (formats.scaled, 999_999, "1 M"),
        (formats.seconds, 0.99999, "1 s"),
        (formats.size, 999_999, "1.0 MB"),
        (formats.size, 999.7, "1.0 kB"),
        (formats.scaled, 999.4, "999 "),
    ],
)
def test_a_unit_is_chosen_after_rounding(write, number, words):
    assert write(number) == words
