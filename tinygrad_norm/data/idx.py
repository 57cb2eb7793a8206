"""IDX, the file format of MNIST: a magic number, the dimensions, then the values, all big-endian."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from tinygrad_norm.checks import check_type
from tinygrad_norm.dtypes import Array, StrPath

TYPE_CODES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
MAX_DIMENSIONS = 64  # as many as a NumPy array can have; the format itself would allow 255
CHUNK_SIZE = 1 << 20


def read_idx(path: StrPath, max_bytes: int = 1 << 32) -> Array:
    """Read an IDX file, plain or gzip-compressed (told by its content, not its name).

    Memory is taken only as data arrives and never beyond the declared size, so a header that lies and a decompression
    bomb are harmless.

    Args:
        path: the file.
        max_bytes: the largest size, in bytes, that the header may declare.

    Returns:
        A writable, C-contiguous array in the byte order of this machine.

    Raises:
        ValueError: the file is not exactly one well-formed IDX array of at most `max_bytes`.

    Source: the description of the format at the end of LeCun, Cortes and Burges, "The MNIST database".

    Example:
        >>> data.write_idx("labels.gz", np.array([3, 1, 4], "uint8"))
        >>> data.read_idx("labels.gz")
        array([3, 1, 4], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _read_array(file, path, max_bytes)
        try:
            with gzip.open(file) as stream:
                return _read_array(stream, path, max_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: a damaged gzip file: {error}") from error


def write_idx(path: StrPath, array: Array) -> None:
    """Write an array as an IDX file, compressed if the name ends in ".gz".

    The same array always gives the same bytes.

    Raises:
        TypeError: `array` is no NumPy array, or of a type that the format lacks.
        ValueError: it has no dimension, or one beyond 32 bits.

    Example:
        >>> from pathlib import Path
        >>> data.write_idx("labels", np.array([3, 1, 4], "uint8"))
        >>> Path("labels").read_bytes().hex(" ")
        '00 00 08 01 00 00 00 03 03 01 04'
    """
    check_type("write_idx: array", array, np.ndarray, "a NumPy array")
    code = next((code for code, name in TYPE_CODES.items() if np.dtype(name) == array.dtype.newbyteorder("=")), None)
    if code is None:
        raise TypeError(f"IDX has no type for {array.dtype}; allowed: {', '.join(TYPE_CODES.values())}")
    if array.ndim == 0 or max(array.shape) >= 1 << 32:
        raise ValueError(f"an IDX array has 1 to {MAX_DIMENSIONS} dimensions below 2**32, got shape {array.shape}")
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    content = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    Path(path).write_bytes(gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content)


def _read_array(stream: io.BufferedIOBase, path: Path, max_bytes: int) -> Array:
    magic = _read(stream, 4)
    if len(magic) < 4:
        raise ValueError(f"{path}: {len(magic)} bytes are too few for an IDX file, which begins with 4 of magic number")
    zeros, code, ndim = struct.unpack(">HBB", magic)
    if zeros != 0:
        raise ValueError(f"{path}: not an IDX file: it begins with {magic[:2].hex(' ')}, allowed is 00 00")
    if code not in TYPE_CODES:
        allowed = ", ".join(f"0x{code:02x} ({name})" for code, name in TYPE_CODES.items())
        raise ValueError(f"{path}: unknown IDX type code 0x{code:02x}; allowed: {allowed}")
    if not 1 <= ndim <= MAX_DIMENSIONS:
        raise ValueError(f"{path}: an IDX array with {ndim} dimensions; allowed are 1 to {MAX_DIMENSIONS}")

    sizes = _read(stream, 4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(f"{path}: ends after {len(sizes)} of the {4 * ndim} bytes that tell its {ndim} dimensions")
    shape = struct.unpack(f">{ndim}I", sizes)
    dtype = np.dtype(TYPE_CODES[code])
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > max_bytes:
        raise ValueError(f"{path}: declares shape {shape} of {dtype}, more than the allowed {max_bytes} bytes")

    declared = math.prod(shape) * dtype.itemsize
    data = _read(stream, declared + 1)  # one more, to see that nothing follows; it also makes gzip check its sum
    if len(data) != declared:
        found = "more" if len(data) > declared else f"only {len(data)}"
        raise ValueError(f"{path}: shape {shape} of {dtype} takes {declared} bytes, but the file holds {found}")
    array = np.frombuffer(data, dtype.newbyteorder(">")).reshape(shape)
    return array.astype(dtype, copy=False)


def _read(stream: io.BufferedIOBase, count: int) -> bytearray:
    """Read `count` bytes, or as many as there are: in chunks, since one large read would allocate before it looks."""
    data = bytearray()
    while len(data) < count and (chunk := stream.read(min(count - len(data), CHUNK_SIZE))):
        data += chunk
    return data
