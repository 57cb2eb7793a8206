from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_norm import Tensor
from tinygrad_norm.training import header
from tinygrad_norm.training import safetensors as safetensors_file
from tinygrad_norm.training.header import DTYPES
from tinygrad_norm.training.safetensors import DIGEST, load_safetensors, read_safetensors, save_safetensors


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
    monkeypatch.setattr(header, "MAX_TOKENS", 50)
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
