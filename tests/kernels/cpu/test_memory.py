"""Malloc keeps the memory of large arrays, if it is GNU's and nobody told it otherwise."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tinygrad_norm.kernels.cpu import memory

FAULTS = """
import resource, runpy, sys
import numpy as np
if len(sys.argv) > 2:
    runpy.run_path(sys.argv[1])["keep"]()
np.ones(2**22)  # 32 MB, 8192 pages
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(2**22)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
QUIET = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}


@pytest.fixture
def options(monkeypatch):
    """The options that malloc is told."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=lambda *option: told.append(option)))
    for name in os.environ.keys() - QUIET.keys():
        monkeypatch.delenv(name)
    return told


def test_malloc_is_told_to_take_no_pages_of_its_own_and_to_give_none_back(options):
    memory.keep()
    assert dict(options) == {-4: 0, -1: -1, -2: 2**28}  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD of malloc.h


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_environment_has_the_last_word(name, options, monkeypatch):
    monkeypatch.setenv(name, "1")
    memory.keep()
    assert options == []


def test_another_malloc_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    memory.keep()
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(ctypes, "CDLL", None)
    memory.keep()


def test_an_array_takes_the_pages_of_the_last_one():
    def faults(*arguments: str) -> int:
        command = [sys.executable, "-c", FAULTS, memory.__file__, *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=QUIET)
        return int(done.stdout)

    if platform.libc_ver()[0] == "glibc":
        assert faults("keep") < 100
