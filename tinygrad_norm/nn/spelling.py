"""Answers to a wrong spelling: the known name that was probably meant."""

from __future__ import annotations

import difflib
import dis
from collections.abc import Iterable
from types import FrameType

IMPORT_FROM = dis.opmap["IMPORT_FROM"]


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to a word: the same but for capitals, else the most alike, else None."""
    by_lower = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of an error message, "; did you mean X?", or nothing where no known name is near."""
    match = closest(word, known)
    return f"; did you mean {match}?" if match else ""


def missing_name(module: str, name: str, known: Iterable[str], caller: FrameType) -> Exception:
    """Return the error for a module's `__getattr__` to raise about a name that it does not have.

    The interpreter turns an AttributeError under `from module import name` into words of its own, so that
    statement, told by the caller's current instruction, gets an ImportError; `getattr` and `hasattr` get the
    AttributeError that they expect.
    """
    words = f"module {module!r} has no attribute {name!r}{did_you_mean(name, known)}"
    if caller.f_code.co_code[caller.f_lasti] == IMPORT_FROM:
        return ImportError(words, name=module)
    return AttributeError(words, name=name)
