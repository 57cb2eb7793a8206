from __future__ import annotations

from tinygrad_norm.tables import format_table, plural


def test_one_and_many():
    assert [plural(n, "epoch") for n in (0, 1, 2000)] == ["0 epochs", "1 epoch", "2,000 epochs"]
    assert [plural(n, "batch", "batches") for n in (1, 2)] == ["1 batch", "2 batches"]


def test_the_first_column_stands_to_the_left_and_the_others_to_the_right():
    rows = [("net", "size", "seconds"), ("a", "1,000", "2"), ("longer", "7", "")]
    assert format_table(rows) == "net      size  seconds\na       1,000        2\nlonger      7"


def test_each_column_is_aligned_as_asked_and_no_line_ends_in_a_blank():
    rows = [("a", "b", "c", "d"), ("long", "long", "x", "long"), ("", "", "", "")]
    assert format_table(rows, "><<>").split("\n") == ["   a  b     c     d", "long  long  x  long", ""]
