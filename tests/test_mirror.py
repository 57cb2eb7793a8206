"""Tests mirror the package, file for file: every module has the file that tests it, every file a module that it tests.

A test file is named after its module, `test_<module>.py`, in the folder of the same name; where it would grow too long,
a part of it stands beside, `test_<module>_<part>.py`.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "tinygrad_norm"
FOLDERS = (
    *("", "certificate", "cli", "data", "definitions", "doctor", "experiments"),
    *("models", "nn", "ops", "optim", "training", "viz"),
)
WITHOUT_A_TEST_FILE = {
    "__init__": "hands on what other modules define; whoever tests these imports through it",
}
OF_NO_MODULE = {
    "models/test_torchvision": "all nets that torchvision has, too",
    "models/test_zoo": "what holds for every net",
    "ops/test_empty": "every op, of nothing",
    "ops/test_special_values": "every op, of NaN, infinities and zeros",
    "test_documents": "the documents",
    "test_examples": "the examples",
    "test_mirror": "this rule",
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
    return {path for path in paths if str(PurePosixPath(path).parent) == (folder or ".")}


MODULES = {module for module in names(PACKAGE, "*.py") if PurePosixPath(module).name not in WITHOUT_A_TEST_FILE}
FILES = names(TESTS, "test_*.py")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_has_its_test_file(folder):
    modules = within(MODULES, folder)
    assert modules, f"tinygrad_norm/{folder} has no modules"
    assert sorted(module for module in modules if mirror_of(module) not in FILES) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_test_file_has_its_module(folder):
    mirrored = set(map(mirror_of, MODULES))
    strays = {test for test in within(FILES, folder) if not is_part_of(test, mirrored)}
    assert sorted(strays - OF_NO_MODULE.keys()) == []


def test_what_is_excepted_is_there_and_needs_to_be():
    mirrored = set(map(mirror_of, MODULES))
    assert [test for test in OF_NO_MODULE if test not in FILES or is_part_of(test, mirrored)] == []


def test_every_test_file_holds_tests():
    test = re.compile(r"^ *def test_\w+\(", re.MULTILINE)
    assert [path for path in FILES if not test.search((TESTS / f"{path}.py").read_text(encoding="utf-8"))] == []
