"""Text for people to read: tables in columns, and nouns with their numbers."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]], align: str = "<>") -> str:
    """Return rows of cells as lines of text, in columns of equal width.

    Args:
        rows: all of one length.
        align: "<" or ">" for each column, to the left or to the right; the last serves all that follow.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = align.ljust(len(widths), align[-1])
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=False)).rstrip()
        for row in rows
    )


def plural(number: int, one: str, more: str = "") -> str:
    """Return a number and its noun: "1 epoch", "2 epochs", "1,000 batches" where `more` says "batches"."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"
