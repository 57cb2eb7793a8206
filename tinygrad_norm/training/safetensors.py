"""Arrays by name in a safetensors file: written whole or not at all, and read only after each claim in it was checked.

A file is an 8-byte length, a JSON header (dtype, shape and byte range of each array), and the arrays' bytes end to end.
Files written here also carry a SHA-256 of themselves in the header's metadata, so that any altered byte is noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from safetensors.numpy import save

from tinygrad_norm.files import write_atomically

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "C64": np.dtype("<c8"),
}
DIGEST = "tinygrad_norm.sha256"
_UNSET = "0" * 64


class _Entry(NamedTuple):
    """What the header says of one array; `begin` and `end` count from the end of the header."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def save_safetensors(
    path: str | os.PathLike[str], mapping: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the arrays (or tensors) of `mapping` to `path`; an old file there survives any failure.

    Args:
        path: the file; by custom it ends in ".safetensors".
        mapping: array by name. Memory order is not kept, values are.
        metadata: text by name, for the file's header.

    Raises:
        TypeError: a name is no string, or an array has a dtype that the format lacks.

    Source: https://github.com/huggingface/safetensors#format
    """
    texts = dict(metadata or {})
    for key, text in texts.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"save_safetensors: metadata maps strings to strings, not {key!r} to {text!r}")
    if DIGEST in texts:
        raise ValueError(f"save_safetensors: the metadata name {DIGEST!r} is taken by the file's own checksum")
    arrays = {name: _storable(name, value) for name, value in mapping.items()}
    data = save(arrays, {**texts, DIGEST: _UNSET})
    write_atomically(path, data.replace(_digest_field(_UNSET), _digest_field(hashlib.sha256(data).hexdigest()), 1))


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the arrays of a safetensors file, by name.

    Raises:
        ValueError: the file is no safetensors file, is cut short, or was altered.
    """
    return read_safetensors(path)[0]


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the arrays and the metadata of a safetensors file; raises what `load_safetensors` does."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix, header = _read_header(path, file, size)
        entries, metadata = _parse_header(path, header)
        _check_coverage(path, entries, size - len(prefix) - len(header))
        digest = metadata.get(DIGEST, _UNSET)
        checksum = hashlib.sha256(prefix + header.replace(_digest_field(digest), _digest_field(_UNSET), 1))
        arrays = {}
        for entry in entries:
            flat = np.fromfile(file, entry.dtype, math.prod(entry.shape))
            checksum.update(flat.data)
            arrays[entry.name] = flat.reshape(entry.shape)
    if DIGEST in metadata and checksum.hexdigest() != digest:
        _refuse(path, "was altered: its bytes do not match the SHA-256 in its header")
    return arrays, metadata


def _storable(name: str, value: Any) -> Array:
    """`value` as the format wants it: one block in C order, little-endian."""
    if not isinstance(name, str):
        raise TypeError(f"save_safetensors: names are strings, not {name!r}")
    if name == "__metadata__":
        raise ValueError("save_safetensors: the format keeps the name '__metadata__' for itself; use another")
    array = np.asarray(getattr(value, "raw", value))
    little = array.dtype.newbyteorder("<")
    if little not in DTYPES.values():
        allowed = ", ".join(dtype.name for dtype in DTYPES.values())
        raise TypeError(f"save_safetensors: {name!r} has dtype {array.dtype}; the format has {allowed}")
    return np.asarray(array, dtype=little, order="C")


def _digest_field(digest: str) -> bytes:
    # A quotation mark inside any other text of the header is escaped, so only the field itself can look like this.
    return f'"{DIGEST}":"{digest}"'.encode()


def _read_header(path: Any, file: BinaryIO, size: int) -> tuple[bytes, bytes]:
    prefix = file.read(8)
    if len(prefix) < 8:
        _refuse(path, f"is not a safetensors file: its {size} bytes are less than the 8 that a header's length takes")
    length = int.from_bytes(prefix, "little")
    if length > size - 8:
        _refuse(path, f"is cut short, or not a safetensors file: a header of {length} bytes in a file of {size}")
    return prefix, file.read(length)


def _parse_header(path: Any, header: bytes) -> tuple[list[_Entry], dict[str, str]]:
    """The entries in the order of their bytes, and the metadata."""
    try:
        fields = json.loads(header, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"is not a safetensors file, or was altered: its header cannot be read ({error})")
    if not isinstance(fields, dict):
        _refuse(path, "is not a safetensors file: its header is no JSON object")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        _refuse(path, "was altered: its metadata does not map names to text")
    entries = [_parse_entry(path, name, field) for name, field in fields.items()]
    return sorted(entries, key=lambda entry: (entry.begin, entry.end)), metadata


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands in it twice")
    return fields


def _parse_entry(path: Any, name: str, field: Any) -> _Entry:
    if not isinstance(field, dict) or set(field) != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"was altered: {name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _refuse(path, f"has {name!r} in dtype {dtype!r}, which NumPy lacks; known are {', '.join(DTYPES)}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        _refuse(path, f"was altered: {name!r} has shape {shape} and data_offsets {offsets}")
    if len(shape) > 64 or math.prod(max(length, 1) for length in shape) > sys.maxsize:
        _refuse(path, f"has {name!r} in shape {tuple(shape)}, larger than an array can be")
    entry = _Entry(name, DTYPES[dtype], tuple(shape), *offsets)
    claimed, given = math.prod(shape) * entry.dtype.itemsize, entry.end - entry.begin
    if claimed != given:
        _refuse(path, f"was altered: {name!r} claims {dtype} of shape {entry.shape}, {claimed} bytes, and has {given}")
    return entry


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_coverage(path: Any, entries: list[_Entry], available: int) -> None:
    """The arrays must lie end to end and fill the file."""
    end = 0
    for entry in entries:
        if entry.begin != end:
            what = "overlaps the array before it" if entry.begin < end else "leaves a gap before it"
            _refuse(path, f"was altered: {entry.name!r} {what} (bytes {entry.begin} to {entry.end})")
        end = entry.end
    if end > available:
        _refuse(path, f"is cut short: its arrays take {end} bytes, and {available} are there")
    if end < available:
        _refuse(path, f"was altered: {available - end} bytes follow the last array")


def _refuse(path: Any, what: str) -> NoReturn:
    raise ValueError(f"{Path(path)} {what}")
