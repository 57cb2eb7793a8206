"""What draws is never taken from the working folder; what it draws is in test_drawing.py."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from tinygrad_norm.viz import render


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """A working folder with a pygraphviz and a dot that leave a mark."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pygraphviz.py").write_text("open('mark', 'w')")
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\n: > mark\necho drawn\n")
    program.chmod(0o755)
    return tmp_path


def test_a_module_in_the_working_folder_is_not_imported(strange, monkeypatch):
    monkeypatch.setattr(render, "find_spec", lambda name: name)
    monkeypatch.setenv("PATH", "")
    with suppress(OSError):  # where the real one is not installed
        render.render("digraph {}", "svg")
    assert not (strange / "mark").exists()


@pytest.mark.parametrize("path", ["", ".", f"{os.pathsep}nowhere", "./", os.curdir + os.pathsep + os.devnull])
def test_a_program_in_the_working_folder_is_not_run(path, strange, monkeypatch):
    monkeypatch.setattr(render, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", path)
    with pytest.raises(render.NoRendererError):
        render.render("digraph {}", "svg")
    assert not (strange / "mark").exists()
    monkeypatch.setenv("PATH", str(strange), prepend=os.pathsep)  # by its full name it is the user's own
    assert render.render("digraph {}", "svg") == b"drawn\n"


def test_the_search_path_keeps_what_is_absolute(monkeypatch):
    first, second = f"{os.sep}first", f"{os.sep}second"
    monkeypatch.setenv("PATH", os.pathsep.join([first, ".", "", "bin", "~/bin", second]))
    assert render.search_path() == os.pathsep.join([first, second])
    monkeypatch.setenv("PATH", ".")
    assert render.search_path() == os.devnull
