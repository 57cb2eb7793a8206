from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_norm.data import read_idx, write_idx

# Two images of 1×3 pixels, written out by hand.
image_file = bytes.fromhex("00000803 00000002 00000001 00000003 000102 fdfeff")
images = np.array([[[0, 1, 2]], [[253, 254, 255]]], np.uint8)

types = ["uint8", "int8", "int16", "int32", "float32", "float64"]
orders: tuple[Literal["<", ">"], ...] = ("<", ">")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "array-idx"


@pytest.mark.parametrize("content", [image_file, gzip.compress(image_file)], ids=["plain", "gzip"])
def test_reads_the_written_out_file_whatever_its_name(path, content):
    path.write_bytes(content)
    array = read_idx(path)
    np.testing.assert_array_equal(array, images, strict=True)
    assert array.flags.writeable
    assert array.flags.c_contiguous


def test_writes_the_written_out_file(path):
    write_idx(path, images)
    assert path.read_bytes() == image_file


@pytest.mark.parametrize(
    ("code", "values", "dtype"),
    [
        ("08", "80", "uint8"),
        ("09", "80", "int8"),
        ("0b", "8001", "int16"),
        ("0c", "80000001", "int32"),
        ("0d", "3f800001", "float32"),
        ("0e", "3ff0000000000001", "float64"),
    ],
)
def test_each_type_is_big_endian_in_the_file_and_native_in_memory(path, code, values, dtype):
    path.write_bytes(bytes.fromhex(f"0000 {code} 01 00000001 {values}"))
    array = read_idx(path)
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.isnative
    assert int(array.view(f"u{array.itemsize}")[0]) == int(values, 16)


@given(
    array=st.sampled_from([np.dtype(name).newbyteorder(order) for name in types for order in orders]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=5))
    ),
    suffix=st.sampled_from(["", ".gz"]),
    transposed=st.booleans(),
)
def test_what_is_written_is_read_back_bit_for_bit(tmp_path_factory, array, suffix, transposed):
    path = tmp_path_factory.getbasetemp() / f"round-trip{suffix}"
    array = array.T if transposed else array
    write_idx(path, array)
    back = read_idx(path)
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.tobytes() == array.astype(back.dtype).tobytes()  # NaN payloads included
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == (suffix == ".gz")


def test_compressed_files_are_reproducible(path, monkeypatch):
    written = []
    for now in (0.0, 1e9):
        monkeypatch.setattr("time.time", lambda now=now: now)
        write_idx(path.with_suffix(".gz"), images)
        written.append(path.with_suffix(".gz").read_bytes())
    assert written[0] == written[1]


malformed = {
    "empty": (b"", "0 bytes are too few"),
    "cut in the magic number": (image_file[:3], "3 bytes are too few"),
    "not IDX": (b"PK\x03\x04" + image_file, "begins with 50 4b, allowed is 00 00"),
    "second zero missing": (b"\0\1" + image_file[2:], "begins with 00 01, allowed is 00 00"),
    "unknown type": (b"\0\0\x0a" + image_file[3:], r"type code 0x0a; allowed: 0x08 \(uint8\)"),
    "no dimension": (bytes.fromhex("00000800 ff"), "0 dimensions; allowed are 1 to 64"),
    "too many dimensions": (b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"x", "65 dimensions; allowed are 1 to 64"),
    "cut in the dimensions": (image_file[:13], "9 of the 12 bytes that tell its 3 dimensions"),
    "no values": (image_file[:16], r"\(2, 1, 3\) of uint8 takes 6 bytes, but the file holds only 0"),
    "one byte short": (image_file[:-1], "takes 6 bytes, but the file holds only 5"),
    "one byte long": (image_file + b"\0", "takes 6 bytes, but the file holds more"),
    "little-endian dimensions": (
        bytes.fromhex("00000803 02000000 01000000 03000000 000102 fdfeff"),
        r"declares shape \(33554432, 16777216, 50331648\) of uint8, more than the allowed 4294967296 bytes",
    ),
    "more than any memory": (b"\0\0\x0e\x40" + b"\xff" * 256, "more than the allowed"),
    "empty, but too large for an array": (b"\0\0\x08\x04" + b"\0" * 4 + b"\xff" * 12, "more than the allowed"),
}


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("content", "message"), malformed.values(), ids=malformed.keys())
def test_a_malformed_file_is_refused_by_name(path, content, message, compressed):
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


whole = gzip.compress(image_file, mtime=0)
damaged = {
    "only the gzip magic": whole[:2],
    "cut in the data": whole[:20],
    "cut before the checksum": whole[:-8],
    "wrong checksum": whole[:-8] + b"\0\0\0\0" + whole[-4:],
    "wrong length": whole[:-4] + b"\0\0\0\7",
    "altered data": whole[:12] + b"\xff\xff" + whole[14:],
    "followed by something else": whole + b"something else",
}


@pytest.mark.parametrize("content", damaged.values(), ids=damaged.keys())
def test_a_damaged_gzip_file_is_refused_by_name(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged gzip file") as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("declared", [6, 1 << 31], ids=["bomb", "boast"])
def test_memory_is_bound_by_the_data_and_by_the_declared_size(path, declared):
    """A small file that unpacks to 64 MiB it does not declare, or declares 2 GiB that it does not hold."""
    content = struct.pack(">II", 0x0801, declared) + (bytes(64 << 20) if declared == 6 else b"few")
    path.write_bytes(gzip.compress(content))
    del content
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"takes {declared} bytes"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_the_limit_is_the_largest_size_allowed(path):
    path.write_bytes(image_file)
    np.testing.assert_array_equal(read_idx(path, max_bytes=6), images)
    with pytest.raises(ValueError, match="more than the allowed 5 bytes"):
        read_idx(path, max_bytes=5)


def test_a_missing_file_is_a_missing_file(path):
    with pytest.raises(FileNotFoundError):
        read_idx(path)


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros(2, np.int64), TypeError, "no type for int64; allowed: uint8, int8, int16, int32, float32, float64"),
        (np.zeros(2, np.bool_), TypeError, "no type for bool"),
        (np.array([None]), TypeError, "no type for object"),
        ([1, 2], TypeError, "array is a NumPy array, got list"),
        (np.float32(1) * np.ones(()), TypeError, "array is a NumPy array, got float64"),
        (np.array(1.0), ValueError, r"1 to 64 dimensions below 2\*\*32, got shape \(\)"),
        (np.zeros((0, 1 << 32), np.uint8), ValueError, r"got shape \(0, 4294967296\)"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(path, array, error, message):
    path.write_bytes(image_file)
    with pytest.raises(error, match=message):
        write_idx(path, array)
    assert path.read_bytes() == image_file
