"""What a file claims of itself is compared with the bytes there are, before memory is taken for it."""

from __future__ import annotations

import json
import os
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
import safetensors.numpy

from tinygrad_norm.training import header, load_safetensors
from tinygrad_norm.training.header import check_json, read_header
from tinygrad_norm.training.safetensors import save_safetensors


def write_file(path, content, data=b""):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@contextmanager
def at_most(bytes_):
    """No more memory is taken than this."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < bytes_
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        {"x": entry(shape=(1 << 60,))},
        {"x": entry(shape=(1 << 60,), offsets=(0, 1 << 62))},
        {"x": entry(shape=(1 << 62, 1 << 62, 0), offsets=(0, 0))},
        {"x": entry(shape=(-2,))},
        {"x": entry(shape=(True, 2))},
        {"x": entry(shape=(2.0,))},
        {"x": entry(offsets=(8, 0))},
        {"x": entry(offsets=(0, 8, 8))},
        {"x": entry(), "y": entry(offsets=(4, 12))},
        {"x": entry(), "y": entry()},
        {"x": entry(offsets=(4, 12))},
        {"x": entry(dtype=["F32"])},
        {"x": [1, 2]},
        {"__metadata__": {"a": 1}},
        {"__metadata__": []},
        [1, 2],
        b"{",
        b"\xff\xfe",
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        "\ufeff{}".encode(),
        b"[" * 100_000,
        b"{" * 100_000,
        b'{"x": ' * 100_000 + b"1" + b"}" * 100_000,
        b'{"x": NaN}',
        b'{"x": -Infinity}',
        {"x": entry(shape=(1 << 64,))},
        json.dumps({"x": entry()}).replace("[2]", f"[{'9' * 5000}]").encode(),
        json.dumps({"x": entry()}).replace("[2]", f"[{'9' * 4000}]").encode(),
        b'{"\\ud800": 1}',
        b'{"__metadata__": {"a": "\\udfff"}}',
        {"n" * 10_000: [1, 2]},
        {"x": entry(dtype="F" * 10_000)},
        {"x": entry(shape=[2] * 1000)},
    ],
)
def test_a_false_header_is_refused(tmp_path, content):
    path = write_file(tmp_path / "false.safetensors", content, bytes(8))
    with pytest.raises(ValueError, match="is cut short, was altered or is no safetensors file: ") as caught:
        read_header(path)
    assert str(caught.value).startswith(f"{path} ")
    assert len(str(caught.value)) < 500


WHOLE = json.dumps(entry()).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"x": %s, "x": %s}' % (WHOLE, WHOLE), "header cannot be read .a name stands in it twice"),
        (b'{"__metadata__": {"a": "", "a": ""}, "x": %s}' % WHOLE, "a name stands in it twice"),
        ({"x": {**entry(), "more": 1}}, "'x' has more than dtype, shape and data_offsets: .*'more'"),
        ({"x": {**entry(), "path": 1, "name": 2}}, "'x' has more than dtype"),
        ({"x": entry(dtype="BF16", shape=(4,))}, "'x' in dtype BF16, which NumPy lacks; known are BOOL, I8"),
        ({"n" * 10_000: entry(dtype="F4", shape=(16,))}, "nnn' in dtype F4, which NumPy lacks"),
        ({"x": entry(shape=(1,) * 64 + (2,))}, "larger than an array can be"),
        ({"x": entry(), "y": entry(shape=(0, 1 << 63), offsets=(8, 8))}, "'y' in shape .*larger than an array can be"),
    ],
)
def test_what_the_package_takes_and_numpy_or_we_do_not(tmp_path, content, message):
    path = write_file(tmp_path / "false.safetensors", content, bytes(8))
    with pytest.raises(ValueError, match=message) as caught:
        read_header(path)
    assert str(caught.value).startswith(f"{path} ")
    assert len(str(caught.value)) < 500


def test_a_huge_claim_is_refused_before_memory_is_taken(tmp_path, monkeypatch):
    path = write_file(tmp_path / "file", {"x": entry(shape=(1 << 40,), offsets=(0, 1 << 42))}, bytes(8))
    monkeypatch.setattr(np, "fromfile", lambda *arguments: pytest.fail("memory was taken"))
    with pytest.raises(ValueError, match="cut short"):
        read_header(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("These are notes, and no arrays.")
    with pytest.raises(ValueError, match="is no safetensors file"):
        read_header(path)
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        read_header(tmp_path / "missing.safetensors")


def test_the_header_is_read_and_the_arrays_are_not(tmp_path):
    path = tmp_path / "file"
    save_safetensors(path, {"large": np.zeros((1000, 500)), "small": np.zeros(3, np.float32)}, {"note": "text"})
    with at_most(100_000):
        found = read_header(path)
    described = [(one.name, one.dtype, one.shape) for one in found.entries]
    assert described == [("large", np.float64, (1000, 500)), ("small", np.float32, (3,))]
    assert found.metadata["note"] == "text"
    assert path.read_bytes().startswith(found.raw)


def test_every_cut_inside_the_header_says_so(tmp_path):
    path = tmp_path / "file"
    save_safetensors(path, {"x": np.zeros(3)}, {"note": "text"})
    good, length = path.read_bytes(), len(read_header(path).raw)
    for cut in range(length):
        path.write_bytes(good[:cut])
        with pytest.raises(ValueError, match=r"file is cut short"):
            read_header(path)


def test_a_header_longer_than_the_format_allows_is_not_read(tmp_path):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write((100_000_001).to_bytes(8, "little"))
        file.truncate(200_000_000)  # takes no room on the disk
    with (
        at_most(100_000),
        pytest.raises(ValueError, match="is no safetensors file"),
    ):
        read_header(path)


@pytest.mark.parametrize("item", ["[]", "{}", '{"":0}', "1.5", '"abc"', '{"a":[1,{}]}'])
def test_a_header_of_many_values_is_refused_before_it_is_parsed(tmp_path, monkeypatch, item):
    monkeypatch.setattr(header, "MAX_TOKENS", 1000)
    text = json.dumps({"x": {**entry(), "more": None}}).replace("null", "[" + ",".join([item] * 100_000) + "]").encode()
    path = write_file(tmp_path / "file", text, bytes(8))
    with (
        at_most(3 * len(text) + 200_000),
        pytest.raises(ValueError, match="more than 1,000 texts, brackets and commas"),
    ):
        read_header(path)


def test_marks_inside_of_texts_do_not_count(monkeypatch):
    monkeypatch.setattr(header, "MAX_TOKENS", 20)
    check_json(json.dumps({"a": '"[{,' * 1000, "b\\": ["\\", '\\"'], "c": {}}))
    check_json("[" * 7 + "1,2,3" + "]" * 7)
    with pytest.raises(ValueError, match="more than 20"):
        check_json("[" * 10 + "1,2,3" + "]" * 10)
    check_json(json.dumps("x" * 100)[:-1])  # a text without an end is for the parser to refuse
    check_json('"' + "\\" * 101)


def test_depth_counts_what_is_open(monkeypatch):
    check_json("[" * 100 + "]" * 100)
    check_json("[[],[],{}]" * 200)
    with pytest.raises(ValueError, match="more than 100 deep"):
        check_json("[" * 101 + "]" * 101)


@pytest.mark.parametrize("seed", range(20))
def test_reads_what_the_safetensors_package_reads(tmp_path, seed):
    rng = np.random.default_rng(seed)
    arrays = {
        f"{number}.ünïcode, [brackets] and {{braces}}": rng.normal(size=rng.integers(0, 4, rng.integers(0, 4)))
        for number in range(rng.integers(0, 9))
    }
    safetensors.numpy.save_file(arrays, tmp_path / "theirs")
    found = load_safetensors(tmp_path / "theirs")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert [one.name for one in read_header(tmp_path / "theirs").entries if one.name not in arrays] == []


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe, not a file"):
        read_header(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe, not a file"):
        load_safetensors(tmp_path / "pipe")


def test_lists_that_were_closed_make_no_room_for_deeper_ones():
    with pytest.raises(ValueError, match="more than 100 deep"):
        check_json("[" + "[]," * 60 + "[" * 101 + "]" * 101 + "]")
