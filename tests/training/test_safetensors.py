from __future__ import annotations

import json
import os
import tracemalloc
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_norm import Tensor, nn, schema
from tinygrad_norm.training import safetensors as safetensors_file
from tinygrad_norm.training.safetensors import (
    DIGEST,
    DTYPES,
    load_safetensors,
    read_header,
    read_safetensors,
    save_safetensors,
)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "layers.0.weight": rng.normal(size=(5, 3)).astype(np.float32),
        "scalar": np.array(7, dtype=np.int64),
        "empty": np.zeros((3, 0, 2), dtype=np.float64),
        "flags": np.array([True, False, True]),
    }


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_round_trip_gives_writable_arrays(tmp_path, arrays):
    path = tmp_path / "arrays.safetensors"
    save_safetensors(path, arrays)
    found = load_safetensors(path)
    assert_equal(found, arrays)
    assert all(array.flags.writeable for array in found.values())
    assert not np.shares_memory(found["layers.0.weight"], found["flags"])


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(DTYPES.values())).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    )
)
def test_every_dtype_and_shape_survives(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("any") / "one.safetensors"
    save_safetensors(path, {"x": array})
    assert load_safetensors(path)["x"].tobytes() == array.tobytes()
    assert load_safetensors(path)["x"].shape == array.shape


def test_tensors_are_written_as_arrays_are(tmp_path):
    weight = Tensor([[1.5, 2.0]], requires_grad=True)
    save_safetensors(tmp_path / "x", {"weight": weight, "mean": weight.detach()})
    assert_equal(load_safetensors(tmp_path / "x"), {"weight": weight.numpy(), "mean": weight.numpy()})


def test_memory_order_and_byte_order_do_not_matter(tmp_path):
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    views = {"transposed": x.T, "every second": x[:, ::2], "reversed": x[::-1], "big-endian": x.astype(">f4")}
    save_safetensors(tmp_path / "views", views)
    for name, array in load_safetensors(tmp_path / "views").items():
        np.testing.assert_array_equal(array, views[name])


def test_exchanges_files_with_the_safetensors_package(tmp_path, arrays):
    save_safetensors(tmp_path / "ours", arrays, {"author": 'a "quoted" name'})
    assert_equal(safetensors.numpy.load_file(tmp_path / "ours"), arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "theirs", {"author": "them"})
    found, metadata = read_safetensors(tmp_path / "theirs")
    assert_equal(found, arrays)
    assert metadata == {"author": "them"}


def test_metadata_comes_back(tmp_path, arrays):
    save_safetensors(tmp_path / "file", arrays, {"note": 'line\nbreak, "quotes", ünïcode'})
    assert read_safetensors(tmp_path / "file")[1]["note"] == 'line\nbreak, "quotes", ünïcode'


def test_any_altered_byte_is_noticed(tmp_path, arrays):
    path = tmp_path / "file.safetensors"
    save_safetensors(path, arrays, {"note": "text"})
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    name_begins = good.index(DIGEST.encode())  # where it is altered, the file looks like one without a checksum
    for position in {*range(len(good))} - {*range(name_begins, name_begins + len(DIGEST))}:
        altered = bytearray(good)
        altered[position] ^= int(rng.integers(1, 256))
        path.write_bytes(altered)
        with pytest.raises(ValueError, match=r"file\.safetensors (was altered|is )|in dtype|larger than"):
            load_safetensors(path)


def test_any_length_but_the_full_one_is_refused(tmp_path, arrays):
    path = tmp_path / "file.safetensors"
    save_safetensors(path, arrays)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(ValueError, match=r"file\.safetensors is cut short"):
            load_safetensors(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(ValueError, match="is cut short, was altered"):
        load_safetensors(path)


def test_what_cannot_be_stored_leaves_the_old_file(tmp_path, arrays):
    path = tmp_path / "file.safetensors"
    save_safetensors(path, arrays)
    cases: list[tuple[Any, Any, type[Exception]]] = [
        ({"x": np.array([object()])}, None, TypeError),
        ({"x": np.zeros(2, dtype=np.longdouble)}, None, TypeError),
        ({"x": np.array(["text"])}, None, TypeError),
        ({3: np.zeros(2)}, None, TypeError),
        ({"__metadata__": np.zeros(2)}, None, ValueError),
        ({}, {"a": 1}, TypeError),
        ({"\ud800": np.zeros(2)}, None, ValueError),
        ({}, {"a": "\udfff"}, ValueError),
        ({}, {"tinygrad_norm.sha256": "0"}, ValueError),
    ]
    for mapping, metadata, error in cases:
        with pytest.raises(error, match="save_safetensors"):
            save_safetensors(path, mapping, metadata)
    assert_equal(load_safetensors(path), arrays)
    assert os.listdir(tmp_path) == ["file.safetensors"]


def test_a_header_that_could_not_be_read_again_is_not_written(tmp_path, arrays, monkeypatch):
    path = tmp_path / "file.safetensors"
    save_safetensors(path, arrays)
    monkeypatch.setattr(safetensors_file, "MAX_BYTES", 1000)
    monkeypatch.setattr(schema, "MAX_TOKENS", 50)
    with pytest.raises(ValueError, match=r"names and metadata take [\d,]+ bytes, and at most 1,000 may"):
        save_safetensors(path, {}, {"long": "x" * 1000})
    with pytest.raises(
        ValueError, match="names and metadata are too many, put numbers into arrays: it has more than 50"
    ):
        save_safetensors(path, {str(number): np.zeros(0) for number in range(7)})
    with pytest.raises(ValueError, match=r"save_safetensors: .*(header too large|at most 1,000 may)"):
        save_safetensors(path, {}, {"long": "x" * 100_000_000})
    monkeypatch.undo()
    assert_equal(load_safetensors(path), arrays)


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(tmp_path, arrays, monkeypatch):
    path = tmp_path / "file.safetensors"
    save_safetensors(path, arrays)
    read = np.fromfile

    def cut(file, dtype, count):
        os.truncate(path, path.stat().st_size - 1)
        return read(file, dtype, count)

    monkeypatch.setattr(np, "fromfile", cut)
    with pytest.raises(ValueError, match=r"file\.safetensors became shorter while it was read"):
        load_safetensors(path)


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
        (b'{"x": %s, "x": %s}' % (WHOLE, WHOLE), "is cut short, was altered or is no .*: a name stands in it twice"),
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
    monkeypatch.setattr(schema, "MAX_TOKENS", 1000)
    text = json.dumps({"x": {**entry(), "more": None}}).replace("null", "[" + ",".join([item] * 100_000) + "]").encode()
    path = write_file(tmp_path / "file", text, bytes(8))
    with (
        at_most(3 * len(text) + 200_000),
        pytest.raises(ValueError, match="more than 1,000 texts, brackets and commas"),
    ):
        read_header(path)


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


def test_swapped_arguments_are_told_apart(tmp_path, arrays):
    path, model = tmp_path / "file", nn.Linear(2, 3)
    for second in (model, arrays):
        words = f"safetensors: path is that of a file, and comes first, got {type(second).__name__}$"
        with pytest.raises(TypeError, match=f"^save_{words}"):
            save_safetensors(second, path)
        with pytest.raises(TypeError, match=f"^load_{words}"):
            load_safetensors(second)
    with pytest.raises(TypeError, match=r"^save_safetensors: mapping is arrays by name, .*, got Linear$"):
        save_safetensors(path, model)
    assert not path.exists()


def test_the_same_arrays_and_texts_are_the_same_bytes(tmp_path):
    texts = {f"text {number}": 'é \\ " \u2028' for number in range(9)}
    for name, order in (("a", texts), ("b", dict(reversed(texts.items())))):
        save_safetensors(tmp_path / name, {"x": np.ones((2, 3)), "y": np.arange(5)}, order)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_safetensors(tmp_path / "a")[1].items() >= texts.items()
