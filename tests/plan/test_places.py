"""Whose code it is."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

import tinygrad_norm
from tinygrad_norm.plan.places import is_ours, is_users, is_users_file, lines_of_stores, users_line


def test_modules_of_python_and_of_packages_are_not_the_users():
    assert all(map(is_users, (__name__, None, "__main__", "not.imported")))
    assert not any(map(is_users, ("builtins", "sys", "json", "numpy", "tinygrad_norm.nn.module")))


@pytest.mark.parametrize("file", [json.__file__, np.__file__, tinygrad_norm.__file__, "<frozen importlib._bootstrap>"])
def test_nor_are_their_files(file):
    assert not is_users_file(file)
    assert is_ours(file) is (file == tinygrad_norm.__file__)
    assert is_users_file(file.replace("tinygrad_norm", "tinygrad_norm_of_mine")) is is_ours(file)


@pytest.mark.parametrize("file", [__file__, "<string>", "<stdin>", "notebook.py"])
def test_all_else_is(file):
    assert is_users_file(file)
    assert not is_ours(file)


def test_a_line_is_the_users_though_an_installed_function_runs():
    @functools.singledispatch
    def line(_):
        return users_line()

    assert line(1).startswith("test_places.py:")
    assert np.apply_along_axis(lambda _: users_line(), 0, np.ones(1)).item().startswith("test_places.py:")


def test_the_lines_of_stores():
    def stores(self, seen, given):
        nonlocal kept
        value = 1
        self.count = value
        kept = value
        seen.append(value)
        given["key"] = value
        return self.count

    kept = 0
    first = stores.__code__.co_firstlineno
    for name, below in (("count", 3), ("kept", 4), ("key", 6)):
        assert lines_of_stores([stores.__code__], name) == f"test_places.py:{first + below}"
    every = " or ".join(f"test_places.py:{first + line}" for line in (3, 4, 5))
    assert lines_of_stores([stores.__code__], "elements") == every
    assert lines_of_stores([(lambda x: x + kept).__code__], "elements") == ""
