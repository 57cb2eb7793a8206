"""What was compiled is found again; where it cannot be kept, or is damaged, nothing ends."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.caching import FunctionCache

from tinygrad_norm.kernels.cpu import cache, compiler

RELU = """
import numpy as np
from tinygrad_norm.kernels import cpu
assert (cpu.activate(np.array([-1.0, 2.0]), ("relu", 0.0)) == [0, 2]).all()
"""
COMPILING = "tinygrad_norm: compiling kernels, which takes a while the first time\n"


def relu(folder: Path) -> str:
    """What a process that runs one kernel says on stderr."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-W", "error", "-c", RELU]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stderr


def test_a_damaged_file_is_compiled_again(tmp_path):
    assert relu(tmp_path) == COMPILING
    (kept,) = tmp_path.rglob("*.nbc")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert relu(tmp_path) == COMPILING
    assert relu(tmp_path) == ""


def fill(y):
    for i in range(y.size):
        y[i] = 1


@pytest.fixture(autouse=True)
def _not_yet_said():
    cache.say_once.cache_clear()


@pytest.fixture
def files(tmp_path):
    return cache._Files(str(tmp_path), "source-1.py311", "stamp")


def test_what_was_saved_under_a_key_is_loaded_by_it_alone(files):
    files.save(("float64", "cpu"), [1, 2])
    assert files.load(("float64", "cpu")) == [1, 2]
    assert files.load(("float32", "cpu")) is None


@pytest.mark.parametrize("length", [0, 10, 32, -1])
def test_a_file_that_was_cut_short_is_not_loaded(files, length):
    files.save("key", [1, 2])
    path = Path(files._path("key"))
    path.write_bytes(path.read_bytes()[:length])
    assert files.load("key") is None


def test_a_file_with_another_byte_is_not_loaded(files):
    files.save("key", [1, 2])
    path = Path(files._path("key"))
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    assert files.load("key") is None


@pytest.mark.parametrize("changed", [{"_source_stamp": "another"}, {"_index_name": "other-1.py311.nbi"}])
def test_what_was_made_from_other_files_is_not_loaded(files, changed):
    files.save("key", [1, 2])
    vars(files).update(changed)
    assert files.load("key") is None


def test_another_numba_compiles_again(files, monkeypatch):
    files.save("key", [1, 2])
    monkeypatch.setattr(numba, "__version__", "0.0")
    assert files.load("key") is None


def test_a_full_disk_is_told_once_and_ends_nothing(files, monkeypatch, capfd):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FunctionCache, "save_overload", full)
    for _ in range(2):
        cache.cache_of(fill).save_overload("signature", "compiled")
    assert capfd.readouterr().err == (
        "tinygrad_norm: compiled kernels cannot be kept, so they are compiled in each process: "
        "[Errno 28] No space left on device\n"
    )


def test_where_no_folder_can_be_written_kernels_are_compiled_all_the_same(monkeypatch, capfd):
    monkeypatch.setattr(FunctionCache._impl_class, "_locator_classes", [])
    kernel, y = compiler.Kernel(fill), np.zeros(3)
    kernel(y.size, y)
    np.testing.assert_array_equal(y, 1)
    compiler.Kernel(fill)
    assert capfd.readouterr().err == (
        "tinygrad_norm: no folder for compiled kernels can be written, so they are compiled in each process; "
        "NUMBA_CACHE_DIR can name one\n"
    )
