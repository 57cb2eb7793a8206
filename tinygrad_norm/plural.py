"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, one: str, more: str = "") -> str:
    """So many of something: "1 epoch", "2 epochs", "1,000 batches" where `more` says "batches"."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"
