"""Mutants that change nothing a caller can see, as found by hand among survivors: `equivalent_mutants.txt`.

There, after the reason (`# ...`), each is written as the campaign prints a survivor: its file and function, and below
the lines that it changes (`- ...`) and what they become (`+ ...`). Once they are written otherwise, it counts again.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("equivalent_mutants.txt")


class Fault(NamedTuple):
    """What names a mutant: a file of the package, a function in it, and its lines before and after."""

    file: str
    function: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file} {self.function}\n- {self.before}\n+ {self.after}"


def equivalents() -> dict[Fault, str]:
    """Each fault in the table, and why nobody can tell."""
    found = {}
    reason = place = before = ""
    for line in TABLE.read_text().splitlines():
        kind, _, text = line.partition(" ")
        if kind == "#":
            reason = text
        elif kind == "-":
            before = text
        elif kind == "+":
            file, _, function = place.partition(" ")
            found[Fault(file, function, before, text)] = reason
        else:
            place = line
    return found
