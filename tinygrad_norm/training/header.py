"""The header of a safetensors file, believed only after each claim in it was checked against the bytes there are.

A file is an 8-byte length, a JSON header (dtype, shape and byte range of each array, and metadata), and the arrays'
bytes end to end. Nothing here takes more memory than a small multiple of the header.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np

from tinygrad_norm.files import open_regular
from tinygrad_norm.schema import shorten

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
SURROGATE = re.compile("[\ud800-\udfff]")


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
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8:
        refuse(path, f"is cut short, or not a safetensors file: its {size} bytes hold no header")
    if length > size - 8:
        refuse(path, f"is cut short, or not a safetensors file: a header of {length} bytes in a file of {size}")
    if length > MAX_BYTES:
        refuse(path, f"is not a safetensors file: its header of {length:,} bytes is longer than {MAX_BYTES:,}")
    text = file.read(length)
    entries, metadata = _parse(path, text)
    _check_coverage(path, entries, size - 8 - length)
    return Header(prefix + text, entries, metadata)


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


def _parse(path: Any, header: bytes) -> tuple[list[Entry], dict[str, str]]:
    """The entries in the order of their bytes, and the metadata."""
    try:
        text = header.decode()
        check_json(text)
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except ValueError as error:
        refuse(path, f"is not a safetensors file, or was altered: its header cannot be read ({error})")
    if not isinstance(fields, dict):
        refuse(path, "is not a safetensors file: its header is no JSON object")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        refuse(path, "was altered: its metadata does not map names to text")
    for value in (*fields, *metadata, *metadata.values()):
        if SURROGATE.search(value):
            refuse(path, f"was altered: {shorten(value)} is no Unicode text")
    entries = [_parse_entry(path, name, field) for name, field in fields.items()]
    return sorted(entries, key=lambda entry: (entry.begin, entry.end)), metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands in it twice")
    return fields


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


def _parse_entry(path: Any, name: str, field: Any) -> Entry:
    called = shorten(name)
    if not isinstance(field, dict) or set(field) != {"dtype", "shape", "data_offsets"}:
        refuse(path, f"was altered: {called} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        refuse(path, f"has {called} in dtype {shorten(dtype)}, which NumPy lacks; known are {', '.join(DTYPES)}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        refuse(path, f"was altered: {called} has shape {shorten(shape)} and data_offsets {shorten(offsets)}")
    if len(shape) > 64 or math.prod(max(length, 1) for length in shape) > sys.maxsize:
        refuse(path, f"has {called} in shape {shorten(shape)}, larger than an array can be")
    entry = Entry(name, DTYPES[dtype], tuple(shape), *offsets)
    claimed, given = math.prod(shape) * entry.dtype.itemsize, entry.end - entry.begin
    if claimed != given:
        claims = f"claims {dtype} of shape {shorten(entry.shape)}, {claimed} bytes, and has {given}"
        refuse(path, f"was altered: {called} {claims}")
    return entry


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value <= sys.maxsize for value in values)


def _check_coverage(path: Any, entries: list[Entry], available: int) -> None:
    """The arrays must lie end to end and fill the file."""
    end = 0
    for entry in entries:
        if entry.begin != end:
            what = "overlaps the array before it" if entry.begin < end else "leaves a gap before it"
            refuse(path, f"was altered: {shorten(entry.name)} {what} (bytes {entry.begin} to {entry.end})")
        end = entry.end
    if end > available:
        refuse(path, f"is cut short: its arrays take {end} bytes, and {available} are there")
    if end < available:
        refuse(path, f"was altered: {available - end} bytes follow the last array")
