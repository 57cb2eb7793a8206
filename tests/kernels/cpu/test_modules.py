"""Kernels that are text: one file for each text, found again by another process, and none where none can be written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tinygrad_norm.kernels.cpu import modules

TEXT = "VALUE = 7\n"
USE = """
import numpy as np
from tinygrad_norm import derive

def norm(x, *, axes, eps=0.1):
    xp = x.__array_namespace__()
    return x / (xp.mean(xp.abs(x), axis=axes, keepdims=True) + eps)

print(derive(norm)(np.ones((3, 4)), axes=1).raw.sum())
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    modules.module_of.cache_clear()
    yield
    modules.module_of.cache_clear()


def test_a_text_has_one_file_and_one_module(tmp_path):
    module = modules.module_of("norm", TEXT)
    assert module.VALUE == 7
    assert modules.module_of("norm", TEXT) is module
    (file,) = (tmp_path / "kept" / "tinygrad_norm").iterdir()
    assert module.__file__ == str(file)
    assert file.read_text() == TEXT
    assert modules.module_of("norm", TEXT.replace("7", "8")).VALUE == 8


def test_a_damaged_file_is_written_again(tmp_path):
    (file,) = [modules.module_of("norm", TEXT).__file__]
    for damage in (b"VALUE = ", b"\xff"):
        with open(file, "wb") as damaged:
            damaged.write(damage)
        modules.module_of.cache_clear()
        assert modules.module_of("norm", TEXT).VALUE == 7
        with open(file) as mended:
            assert mended.read() == TEXT


def test_where_no_file_can_be_written_the_module_works_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    module = modules.module_of("norm", TEXT)
    assert module.VALUE == 7
    assert module.__file__.startswith("<")


@pytest.mark.parametrize(("variables", "folder"), [({"XDG_CACHE_HOME": "/cache"}, "/cache"), ({}, "/home/me/.cache")])
def test_without_a_folder_of_numbas_it_is_the_users(variables, folder, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert modules._folder().as_posix() == f"{folder}/tinygrad_norm"


def test_what_one_process_compiled_the_next_one_finds(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", USE]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True, env=environment) for _ in range(2)]
    assert [run.stdout for run in runs] == ["10.909090909090907\n"] * 2
    assert ["compiling kernels" in run.stderr for run in runs] == [True, False]


def test_two_processes_may_write_one_file_at_once(tmp_path):
    write = f"from tinygrad_norm.kernels.cpu.modules import module_of; print(module_of('norm', {TEXT!r}).VALUE)"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", write], stdout=subprocess.PIPE, env=environment) for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in running] == [b"7", b"7"]
    assert [path.suffix for path in (tmp_path / "tinygrad_norm").iterdir()] == [".py"]
