"""The header of a safetensors file, believed only after each claim in it was checked against the bytes there are.

The `safetensors` package checks the claims. It takes the last of two arrays of one name, and fields that it does not
know; both are refused here, as signs of a file that was altered, and so are dtypes that NumPy lacks.

Source: Hugging Face, Safetensors: the format, 2022, https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from safetensors import SafetensorError, safe_open

from tinygrad_norm.files import open_regular
from tinygrad_norm.schema import cut_lines, shorten

MAX_BYTES = 100_000_000
"""The longest header, which is the format's own limit."""

MAX_TOKENS = 4_000_000
"""How many texts, brackets and commas a JSON text may have: each takes up to 80 bytes when it is read."""

MAX_DEPTH = 100
"""How many lists and dicts may lie inside each other in a JSON text."""

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "C64": np.dtype("<c8"),
}
# A text, though it may lack its end, or a mark outside of texts. What is matched is not looked at twice.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)


class Entry(NamedTuple):
    """What the header says of one array; `begin` and `end` count from the end of the header."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """What stands before the arrays: `raw` is all of its bytes, and the entries lie in the order of theirs."""

    raw: bytes
    entries: list[Entry]
    metadata: dict[str, str]


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read what a safetensors file says of its arrays, and none of them.

    Raises:
        ValueError: it is no safetensors file, is cut short, or was altered where that shows.
    """
    with open_regular(path) as file:
        return header_of(path, file)


def header_of(path: str | os.PathLike[str], file: BinaryIO) -> Header:
    """Read the header of an open file, which is left at the first array; raises what `read_header` does."""
    try:
        with safe_open(os.fspath(path), "np"):
            prefix = file.read(8)
            text = file.read(int.from_bytes(prefix, "little"))
    except SafetensorError as error:
        refuse(path, f"is cut short, was altered or is no safetensors file: {cut_lines(str(error), 200)}")
    try:
        check_json(text.decode())
        fields = json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        refuse(path, f"was altered: its header cannot be read ({error})")
    metadata = fields.pop("__metadata__", None) or {}
    entries = [_entry(path, name, field) for name, field in fields.items()]
    return Header(prefix + text, sorted(entries, key=lambda entry: (entry.begin, entry.end)), metadata)


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


def refuse(path: str | os.PathLike[str], what: str) -> NoReturn:
    """Raise a ValueError about a file."""
    raise ValueError(f"{os.fspath(path)} {what}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands in it twice")
    return fields


def _entry(path: Any, name: str, field: dict[str, Any]) -> Entry:
    dtype, shape = field["dtype"], field["shape"]
    if len(field) > 3:
        refuse(path, f"was altered: {shorten(name)} has more than dtype, shape and data_offsets: {shorten([*field])}")
    if dtype not in DTYPES:
        refuse(path, f"has {shorten(name)} in dtype {dtype}, which NumPy lacks; known are {', '.join(DTYPES)}")
    if len(shape) > 64 or math.prod(max(length, 1) for length in shape) > sys.maxsize:
        refuse(path, f"has {shorten(name)} in shape {shorten(shape)}, larger than an array can be")
    return Entry(name, DTYPES[dtype], tuple(shape), *field["data_offsets"])
