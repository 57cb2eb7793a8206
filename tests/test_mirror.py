"""Tests mirror the package, file for file: every module has the file that tests it, every file a module that it tests.

A test file is named after its module, `test_<module>.py`, in the folder of the same name; where it would grow too long,
a part of it stands beside, `test_<module>_<part>.py`.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "tinygrad_norm"
WITHOUT_A_TEST_FILE = {
    "__init__": "hands on what other modules define; whoever tests these imports through it",
    "kernels/cpu/generated/*": "written by a program: derivation/test_builtin compares them to the byte",
    "kernels/cpu/window": "a named tuple and nothing else",
}
"""Modules by their names, or by their paths, and why."""

OF_NO_MODULE = {
    "conformance/test_compiling_peers": "the peers of the benchmarks, where JAX and onnxruntime are",
    "kernels/cpu/test_certificate": "that a certificate runs every kernel",
    "kernels/cpu/test_names": "the names of all kernels",
    "kernels/test_kernels": "which kernels an array gets",
    "models/test_torchvision": "all nets that torchvision has, too",
    "models/test_zoo": "what holds for every net",
    "ops/test_empty": "every op, of nothing",
    "ops/test_special_values": "every op, of NaN, infinities and zeros",
    "test_doctests": "the examples in docstrings",
    "test_documents": "the documents",
    "test_examples": "the examples",
    "test_guides": "the guide for who comes from PyTorch",
    "test_mirror": "this rule",
    "test_notebooks": "the notebooks of the book, as their pages run them",
    "test_notebooks_in_marimo": "the same in marimo, where it is",
    "test_package": "the package as it is installed and imported",
    "test_smoke": "a bit of everything, before each commit",
}
"""Test files of more than a module, and what they test."""


def names(folder: Path, pattern: str) -> set[str]:
    """The paths of all Python files whose name matches, below a folder and without their suffix."""
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(pattern)}


def mirror_of(module: str) -> str:
    """The path of the file that tests a module: that of `viz/dot` is viz/test_dot, that of `__main__` test_main."""
    path = PurePosixPath(module)
    return str(path.with_name(f"test_{path.name.strip('_')}"))


def is_part_of(test: str, mirrored: set[str]) -> bool:
    """Whether a test file is one of those, or a part of one."""
    return any(test == whole or test.startswith(f"{whole}_") for whole in mirrored)


def within(paths: set[str], folder: str) -> set[str]:
    return {path for path in paths if str(PurePosixPath(path).parent) == folder}


def excepted(pattern: str) -> set[str]:
    """The modules of that name, or of that path."""
    return {each for each in names(PACKAGE, "*.py") if fnmatch(each, pattern) or fnmatch(each, f"*/{pattern}")}


MODULES = names(PACKAGE, "*.py").difference(*map(excepted, WITHOUT_A_TEST_FILE))
FILES = names(TESTS, "test_*.py")
FOLDERS = sorted({str(PurePosixPath(module).parent) for module in MODULES})


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_has_its_test_file(folder):
    assert sorted(module for module in within(MODULES, folder) if mirror_of(module) not in FILES) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_test_file_has_its_module(folder):
    mirrored = set(map(mirror_of, MODULES))
    strays = {test for test in within(FILES, folder) if not is_part_of(test, mirrored)}
    assert sorted(strays - OF_NO_MODULE.keys()) == []


def test_what_is_excepted_is_there_and_needs_to_be():
    mirrored = set(map(mirror_of, MODULES))
    assert [test for test in OF_NO_MODULE if test not in FILES or is_part_of(test, mirrored)] == []
    for pattern in WITHOUT_A_TEST_FILE:
        assert excepted(pattern), f"no module is {pattern}"
        assert not set(map(mirror_of, excepted(pattern))) & FILES - mirrored, f"{pattern} has a test file"


def test_every_test_file_holds_tests():
    test = re.compile(r"^ *def test_\w+\(", re.MULTILINE)
    assert [path for path in FILES if not test.search((TESTS / f"{path}.py").read_text(encoding="utf-8"))] == []
