"""The arena: nothing that is alive lies on anything else that is."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm.plan.memory import ALIGNMENT, Interval, place

intervals = st.lists(
    st.tuples(st.integers(1, 5000), st.integers(0, 30), st.integers(0, 10)).map(
        lambda each: Interval(each[0], each[1], each[1] + each[2])
    ),
    max_size=40,
)


@given(intervals)
def test_what_lives_together_lies_apart(given):
    offsets, size = place(given)
    for step in range(45):
        alive = sorted(
            (offset, offset + each.nbytes)
            for offset, each in zip(offsets, given, strict=True)
            if each.first <= step <= each.last
        )
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(alive))
    assert size == max([offset + each.nbytes for offset, each in zip(offsets, given, strict=True)], default=0)
    assert all(offset % ALIGNMENT == 0 for offset in offsets)


def test_memory_is_used_again():
    one, other, both = Interval(640, 0, 1), Interval(640, 2, 3), Interval(64, 0, 3)
    assert place([one, other, both]) == ([0, 0, 640], 704)


def test_of_nothing_there_is_no_memory():
    assert place([]) == ([], 0)
