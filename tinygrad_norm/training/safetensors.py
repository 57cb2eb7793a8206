"""Arrays by name in a safetensors file: written whole or not at all, and read only after each claim in it was checked.

The `safetensors` package checks the claims. It takes the last of two arrays of one name, and fields that it does not
know; both are refused here, as signs of a file that was altered, and so are dtypes that NumPy lacks. Files written here
carry a SHA-256 of themselves in the header's metadata, so that any altered byte of an array is noticed.

Source: Hugging Face, Safetensors: the format, 2022, https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tinygrad_norm.checks import check_path, check_type
from tinygrad_norm.dtypes import Array, StrPath, plain
from tinygrad_norm.files import open_regular, write_atomically
from tinygrad_norm.schema import check_json, cut_lines, shorten

MAX_BYTES = 100_000_000
"""The longest header, which is the format's own limit."""

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "C64": np.dtype("<c8"),
}

DIGEST = "tinygrad_norm.sha256"
_UNSET = "0" * 64


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


def save_safetensors(path: StrPath, mapping: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write the arrays (or tensors) of `mapping` to `path`; an old file there survives any failure.

    Args:
        path: the file; by custom it ends in ".safetensors".
        mapping: array by name. Memory order is not kept, values are.
        metadata: text by name, for the file's header.

    Raises:
        TypeError: an argument is of another type, a name is no string, or an array has a dtype that the format lacks.
        ValueError: a text is not Unicode, or names and metadata are too long or too many to be read again.

    Example:
        >>> save_safetensors("arrays.safetensors", {"a": np.arange(3.0)}, metadata={"unit": "metre"})
        >>> load_safetensors("arrays.safetensors")
        {'a': array([0., 1., 2.])}
    """
    check_path("save_safetensors", path)
    check_type("save_safetensors: mapping", mapping, Mapping, "arrays by name, as model.state_dict() gives")
    texts = dict(metadata or {})
    for key, text in texts.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"save_safetensors: metadata maps strings to strings, got {key!r} to {text!r}")
    if DIGEST in texts:
        raise ValueError(f"save_safetensors: the metadata name {DIGEST!r} is taken by the file's own checksum")
    arrays = {name: _storable(name, value) for name, value in mapping.items()}
    data = _serialized(arrays, {**texts, DIGEST: _UNSET})
    write_atomically(path, data.replace(_digest_field(_UNSET), _digest_field(hashlib.sha256(data).hexdigest()), 1))


def load_safetensors(path: StrPath) -> dict[str, Array]:
    """Read the arrays of a safetensors file, by name.

    Raises:
        TypeError: `path` is no path.
        ValueError: the file is no safetensors file, is cut short, or was altered.

    Example:
        >>> save_safetensors("linear.safetensors", nn.Linear(3, 2).state_dict())
        >>> {name: array.shape for name, array in load_safetensors("linear.safetensors").items()}
        {'bias': (2,), 'weight': (2, 3)}
    """
    check_path("load_safetensors", path)
    return read_safetensors(path)[0]


def read_safetensors(path: StrPath) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the arrays and the metadata of a safetensors file; raises what `load_safetensors` does."""
    with open_regular(path) as file:
        header = _header_of(path, file)
        digest = header.metadata.get(DIGEST, _UNSET)
        checksum = hashlib.sha256(header.raw.replace(_digest_field(digest), _digest_field(_UNSET), 1))
        arrays = {}
        for entry in header.entries:
            flat = np.fromfile(file, entry.dtype, math.prod(entry.shape))
            if flat.nbytes != entry.end - entry.begin:
                _refuse(path, "became shorter while it was read")
            checksum.update(flat.data)
            arrays[entry.name] = flat.reshape(entry.shape)
    if DIGEST in header.metadata and checksum.hexdigest() != digest:
        _refuse(path, "was altered: its bytes do not match the SHA-256 in its header")
    return arrays, header.metadata


def read_header(path: StrPath) -> Header:
    """Read what a safetensors file says of its arrays, and none of them.

    Raises:
        ValueError: it is no safetensors file, is cut short, or was altered where that shows.
    """
    with open_regular(path) as file:
        return _header_of(path, file)


def _header_of(path: StrPath, file: BinaryIO) -> Header:
    """Read the header of an open file, which is left at the first array; raises what `read_header` does."""
    prefix = file.read(8)
    length, most = int.from_bytes(prefix, "little"), min(MAX_BYTES, os.fstat(file.fileno()).st_size)
    text = file.read(length) if length <= most else b""
    try:
        check_json(text.decode())  # first, for the package takes many times the memory of a text of many values
        with safe_open(os.fspath(path), "np"):
            fields = json.loads(text, object_pairs_hook=_unique)
    except (SafetensorError, ValueError) as error:
        _refuse(path, f"is cut short, was altered or is no safetensors file: {cut_lines(str(error), 200)}")
    metadata = fields.pop("__metadata__", None) or {}
    entries = [_entry(path, name, field) for name, field in fields.items()]
    return Header(prefix + text, sorted(entries, key=lambda entry: (entry.begin, entry.end)), metadata)


def _refuse(path: StrPath, what: str) -> NoReturn:
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
        _refuse(path, f"was altered: {shorten(name)} has more than dtype, shape and data_offsets: {shorten([*field])}")
    if dtype not in DTYPES:
        _refuse(path, f"has {shorten(name)} in dtype {dtype}, which NumPy lacks; known are {', '.join(DTYPES)}")
    if len(shape) > 64 or math.prod(max(length, 1) for length in shape) > sys.maxsize:
        _refuse(path, f"has {shorten(name)} in shape {shorten(shape)}, larger than an array can be")
    return Entry(name, DTYPES[dtype], tuple(shape), *field["data_offsets"])


def _serialized(arrays: Mapping[str, Array], texts: Mapping[str, str]) -> bytes:
    """Return the file's bytes, unless its header is one that could not be read again."""
    try:
        data = _in_order(save(dict(arrays), dict(texts)))
    except (SafetensorError, UnicodeError) as error:
        raise ValueError(f"save_safetensors: {error}") from error
    length = int.from_bytes(data[:8], "little")
    if length > MAX_BYTES:
        raise ValueError(f"save_safetensors: names and metadata take {length:,} bytes, and at most {MAX_BYTES:,} may")
    try:
        check_json(data[8 : 8 + length].decode())
    except ValueError as error:
        raise ValueError(
            f"save_safetensors: names and metadata are too many, put numbers into arrays: {error}"
        ) from None
    return data


def _in_order(data: bytes) -> bytes:
    """Return a file's bytes with its metadata by name, which the package writes in another order each time."""
    length = int.from_bytes(data[:8], "little")
    fields = json.loads(data[8 : 8 + length])
    fields = {"__metadata__": dict(sorted(fields.pop("__metadata__", {}).items())), **fields}
    header = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)  # where the arrays begin
    return b"".join((len(header).to_bytes(8, "little"), header, memoryview(data)[8 + length :]))


def _storable(name: str, value: Any) -> Array:
    """Return `value` as the format wants it: one block in C order, little-endian."""
    if not isinstance(name, str):
        raise TypeError(f"save_safetensors: names are strings, got {name!r}")
    if name == "__metadata__":
        raise ValueError("save_safetensors: the format keeps the name '__metadata__' for itself; use another")
    value = getattr(value, "raw", value)
    array = np.asarray(plain(value) if isinstance(value, np.ma.MaskedArray) else value)
    little = array.dtype.newbyteorder("<")
    if little not in DTYPES.values():
        allowed = ", ".join(dtype.name for dtype in DTYPES.values())
        raise TypeError(f"save_safetensors: {name!r} has dtype {array.dtype}; the format has {allowed}")
    return np.asarray(array, dtype=little, order="C")


def _digest_field(digest: str) -> bytes:
    # A quotation mark inside any other text of the header is escaped, so only the field itself can look like this.
    return f'"{DIGEST}":"{digest}"'.encode()
