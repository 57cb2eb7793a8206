"""Modules of kernels made from text: files of their own, so that what is compiled of them is kept, and found again.

A file's name holds the digest of its text. Two processes may write it at once: each writes another one, and moves it.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

_PACKAGE = f"{__package__}.generated"


@cache
def module_of(name: str, text: str) -> ModuleType:
    """The module of a text."""
    stem = f"{name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    try:
        file = str(_write(_folder() / f"{stem}.py", text))
    except (OSError, RuntimeError):  # nowhere to write, or no home: it is compiled in each process, as `cache.py` tells
        file = f"<{_PACKAGE}.{stem}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    module = ModuleType(f"{_PACKAGE}.{stem}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # where Numba looks when it loads what it has kept
    exec(compile(text, file, "exec"), module.__dict__)
    return module


def _folder() -> Path:
    """Where Numba keeps what it compiles, or a folder of the user's."""
    if folder := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(folder) / "tinygrad_norm"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_norm"


def _write(path: Path, text: str) -> Path:
    """Write a file unless it is there."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return path
    except (OSError, UnicodeDecodeError):
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with open(number, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(name, path)
    return path
