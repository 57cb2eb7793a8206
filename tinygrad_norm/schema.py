"""What a value read from a file has to look like: one check of all of it, before anything is made of it.

A form is a `Condition`, a dict or a list: a mapping with these entries, each of the form given, and no others (unless
`...` gives the form of any other that has text for its key), or a list whose items are all of the one form given.
"""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np


class Condition(NamedTuple):
    """What is allowed, in words and as a test."""

    words: str
    test: Callable[[Any], bool]


def optional(rule: Condition) -> Condition:
    """Return the rule, or None."""
    return Condition(f"{rule.words}, or None", lambda value: value is None or rule.test(value))


ANYTHING = Condition("anything", lambda value: True)
MAPPING = Condition("a dict", lambda value: isinstance(value, Mapping))
COUNT = Condition("an integer of at least 0", lambda value: _is_whole(value, 0))
AT_LEAST_1 = Condition("an integer of at least 1", lambda value: _is_whole(value, 1))
NUMBER = Condition("a number", lambda value: _is_number(value, Real))
FLAG = Condition("True or False", lambda value: isinstance(value, bool))
TEXT = Condition("text", lambda value: isinstance(value, str))
ARRAY = Condition("an array", lambda value: isinstance(value, np.ndarray))

MAX_TOKENS = 4_000_000
"""How many texts, brackets and commas a JSON text may have: each takes up to 80 bytes when it is read."""

MAX_DEPTH = 100
"""How many lists and dicts may lie inside each other in a JSON text."""

# A text, though it may lack its end, or a mark outside of texts. What is matched is not looked at twice.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_PLAIN = re.compile(r"[\w.-]{1,80}", re.ASCII)
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def check_form(value: Any, form: Any, name: str) -> None:
    """Check a value that was read from a file.

    Args:
        value: nested dicts, lists, numbers, text and arrays.
        form: what it should look like, see above.
        name: what an error calls the value; what is inside goes by its path.

    Raises:
        ValueError: it looks different; the message says where, what is wanted and what was found.
    """
    if isinstance(form, dict) and isinstance(value, Mapping):
        _check_entries(value, form, name)
    elif isinstance(form, list) and isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            check_form(item, form[0], f"{name}.{index}")
    elif not (isinstance(form, Condition) and form.test(value)):
        words = "a dict" if isinstance(form, dict) else "a list" if isinstance(form, list) else form.words
        raise ValueError(f"{name} is {words}, got {shorten(value)}")


def check_json(text: str) -> None:
    """Check, before a JSON text is read, that it takes no more memory than a small multiple of its length.

    Raises:
        ValueError: it has too many values, or they lie too deep inside each other.
    """
    depth = 0
    for number, token in enumerate(_TOKEN.finditer(text)):
        mark = text[token.start()]
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError(f"lists and dicts lie more than {MAX_DEPTH} deep inside each other")
        if number >= MAX_TOKENS:
            raise ValueError(f"it has more than {MAX_TOKENS:,} texts, brackets and commas")


def shorten(value: Any) -> str:
    """Return a value as an error message shows it, however long it is."""
    return _short.repr(value)


def cut_lines(text: str, length: int = 500) -> str:
    """Return a message in which no line is longer than this, whatever it quotes of a file."""
    lines = text.split("\n")
    return "\n".join(line if len(line) <= length else f"{line[:length]} ..." for line in lines)


def _check_entries(value: Mapping[Any, Any], form: Mapping[Any, Any], name: str) -> None:
    if missing := [key for key in form if key is not ... and key not in value]:
        raise ValueError(f"{name} lacks {', '.join(map(repr, missing))}; it has {shorten(list(value))}")
    for key, item in value.items():
        check_form(key, TEXT, f"a key of {name}")
        if key not in form and ... not in form:
            raise ValueError(f"{name} has {shorten(key)}, which is not known; known are {', '.join(map(repr, form))}")
        check_form(item, form.get(key, form.get(...)), f"{name}.{key if _PLAIN.fullmatch(key) else shorten(key)}")


def _is_whole(value: Any, lowest: int) -> bool:
    return _is_number(value, Integral) and lowest <= value <= sys.maxsize  # which is what an index can be


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
