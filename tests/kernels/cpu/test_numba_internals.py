"""What the kernels use of Numba beyond its public names is there, and the version is one that was tried.

Nothing is imported from the kernels: where a name is gone, that would fail before it could be told which.
"""

from __future__ import annotations

import ast
import re
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from llvmlite.binding import address_of_symbol
from numba.core.registry import cpu_target

ROOT = Path(__file__).parents[3]
KERNELS = ROOT / "tinygrad_norm/kernels/cpu"
INTERNALS = KERNELS / "numba_internals.py"
CONSTANTS = {
    node.targets[0].id: ast.literal_eval(node.value)
    for node in ast.parse(INTERNALS.read_text()).body
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
}


def imported(path):
    """The name of each object that a file imports, by the name that it has there."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def used():
    """Names of objects: those imported, those that any file of the kernels takes of them, and those listed."""
    objects = {name: path for name, path in imported(INTERNALS).items() if path.startswith("numba.")}
    yield from objects.values()
    for path in KERNELS.glob("*.py"):
        inside = {name for name, of in imported(path).items() if of.endswith(f"numba_internals.{name}")}
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in inside:
                yield f"{objects[node.value.id]}.{node.attr}"
    for owner, names in CONSTANTS["ATTRIBUTES"].items():
        yield from (f"{owner}.{name}" for name in names.split())


def find(path):
    """The object of that name."""
    module, _, name = path.rpartition(".")
    try:
        return import_module(path)
    except ImportError:
        return getattr(find(module), name)


def has(owner: Any, name: str) -> bool:
    """Whether instances or the class have the attribute: the code of a class's `__init__` names those of instances."""
    codes = [getattr(vars(base).get("__init__"), "__code__", None) for base in getattr(owner, "__mro__", ())]
    return hasattr(owner, name) or any(name in code.co_names for code in codes if code)


@pytest.mark.parametrize("path", sorted(set(used())))
def test_numba_has(path):
    owner, _, name = path.rpartition(".")
    assert has(find(owner), name), f"numba {version('numba')} has no {path}"


def test_a_name_that_is_gone_is_noticed():
    assert has(find("numba.core.caching.IndexDataCacheFile"), "_source_stamp")
    assert not has(find("numba.core.caching.IndexDataCacheFile"), "_gone")
    assert not has(find("numba.core.cgutils"), "gone")


def test_numba_has_the_module_of_openmp_and_the_c_function():
    import_module(CONSTANTS["OPENMP"])
    assert cpu_target.target_context  # which makes the C functions known to LLVM
    assert address_of_symbol(CONSTANTS["GEMM"])


def test_what_is_private_is_imported_in_one_file():
    for path in (ROOT / "tinygrad_norm").rglob("*.py"):
        private = [name for name in imported(path).values() if re.match(r"numba\.(?!types\.|extending\.)\w+\.", name)]
        assert path == INTERNALS or not private, path


def test_the_installed_version_and_those_asked_for_are_ones_that_were_tried():
    oldest, newest = CONSTANTS["TRIED"]
    installed = tuple(map(int, version("numba").split(".")[:2]))
    assert oldest <= installed <= newest, "try the kernels' tests with it, and write it down as TRIED"
    fast = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["fast"]
    assert f"numba>={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}" in fast
