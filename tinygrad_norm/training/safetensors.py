"""Arrays by name in a safetensors file: written whole or not at all, and read only after each claim in it was checked.

Files written here carry a SHA-256 of themselves in the header's metadata, so that any altered byte is noticed.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from tinygrad_norm.dtypes import Array
from tinygrad_norm.files import open_regular, write_atomically
from tinygrad_norm.training.header import DTYPES, MAX_BYTES, check_json, header_of, refuse

DIGEST = "tinygrad_norm.sha256"
_UNSET = "0" * 64


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
        ValueError: a text is not Unicode, or names and metadata are too long or too many to be read again.

    Source: Hugging Face, Safetensors: the format, 2022, https://github.com/huggingface/safetensors#format
    """
    texts = dict(metadata or {})
    for key, text in texts.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"save_safetensors: metadata maps strings to strings, not {key!r} to {text!r}")
    if DIGEST in texts:
        raise ValueError(f"save_safetensors: the metadata name {DIGEST!r} is taken by the file's own checksum")
    arrays = {name: _storable(name, value) for name, value in mapping.items()}
    data = _serialized(arrays, {**texts, DIGEST: _UNSET})
    write_atomically(path, data.replace(_digest_field(_UNSET), _digest_field(hashlib.sha256(data).hexdigest()), 1))


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the arrays of a safetensors file, by name.

    Raises:
        ValueError: the file is no safetensors file, is cut short, or was altered.
    """
    return read_safetensors(path)[0]


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the arrays and the metadata of a safetensors file; raises what `load_safetensors` does."""
    with open_regular(path) as file:
        header = header_of(path, file)
        digest = header.metadata.get(DIGEST, _UNSET)
        checksum = hashlib.sha256(header.raw.replace(_digest_field(digest), _digest_field(_UNSET), 1))
        arrays = {}
        for entry in header.entries:
            flat = np.fromfile(file, entry.dtype, math.prod(entry.shape))
            if flat.nbytes != entry.end - entry.begin:
                refuse(path, "became shorter while it was read")
            checksum.update(flat.data)
            arrays[entry.name] = flat.reshape(entry.shape)
    if DIGEST in header.metadata and checksum.hexdigest() != digest:
        refuse(path, "was altered: its bytes do not match the SHA-256 in its header")
    return arrays, header.metadata


def _serialized(arrays: Mapping[str, Array], texts: Mapping[str, str]) -> bytes:
    """The file's bytes, unless its header is one that could not be read again."""
    try:
        data: bytes = save(dict(arrays), dict(texts))
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
